package lemmy

import (
	"context"
	"fmt"
	"strings"
)

// Size says how much [World.Fill] makes.
type Size struct {
	Instances, Communities, Followers, Activities int
	// Even gives every community and instance the same share of followers and activities.
	Even bool
}

// Big is a large server as it was in 2026.
var Big = Size{Instances: 3_700, Communities: 1_000, Followers: 300_000, Activities: 2_000_000}

// FilledDomain is that of the n-th instance of [World.Fill], counted from 1.
func FilledDomain(n int) string { return fmt.Sprintf("i-%05d.example", n) }

// fills are run in turn; $1 is the size of what the statement makes. All have four arguments: what is made, instances,
// communities, a key.
//
// As on real servers, a few instances and communities have most of the followers: the square of a random share picks
// them, or the share itself where [Size.Even] says so. Every tenth instance has no site row, every hundredth person no shared inbox.
var fills = []struct {
	what string
	of   func(Size) int
	text string
}{
	{"instances", func(s Size) int { return s.Instances }, `
		insert into instance (domain, {published}, {updated})
		select 'i-' || lpad(n::text, 5, '0') || '.example', now() - interval '1 year', now() - n % 40 * interval '1 hour'
		from generate_series(1, $1::int) n`},
	{"sites", func(s Size) int { return s.Instances }, `
		insert into site (name, {ap_id}, inbox_url, public_key, instance_id)
		select 'remote', 'https://' || domain || '/', 'https://' || domain || '/inbox', '', id
		from instance
		where domain like 'i-%' and right(domain, 9) <> '0.example'
		order by id
		limit $1::int`},
	{"communities", func(s Size) int { return s.Communities }, `
		insert into community (name, {ap_id}, private_key, public_key, inbox_url, instance_id)
		select 'c' || n, 'https://{home}/c/c' || n, $4::text, '', 'https://{home}/c/c' || n || '/inbox', (select id from instance where domain = '{home}')
		from generate_series(1, $1::int) n`},
	{"persons", func(s Size) int { return s.Followers }, `
		insert into person (name, {ap_id}, local, public_key, {inboxes}, instance_id)
		select 'p' || n, 'https://' || i.domain || '/u/p' || n, false, '', {inboxes_of}, i.id
		from (
		  select n, 1 + floor(power((n::bigint * 7919 % 100003) / 100003.0, {share}) * $2::int)::int as at
		  from generate_series(1, $1::int) n
		) p
		join (select id, domain, right(left(domain, -8), 5)::int as at from instance where domain like 'i-%') i using (at)`},
	{"follows", func(s Size) int { return s.Followers }, `
		insert into {follows}
		select c.id, p.id, now() - interval '1 month', {accepted}
		from (
		  select n, 1 + floor(power((n::bigint * 104729 % 99991) / 99991.0, {share}) * $3::int)::int as at
		  from generate_series(1, $1::int) n
		) f
		join (select id, name from person where name ~ '^p[0-9]+$') p on p.name = 'p' || f.n
		join (select id, name from community where name ~ '^c[0-9]+$' and local) c on c.name = 'c' || f.at`},
	// The ids before these were pruned; every 97th is that of a transaction that was rolled back.
	{"activities", func(s Size) int { return s.Activities }, `
		insert into sent_activity
		  (id, ap_id, data, sensitive, {published}, send_inboxes, send_community_followers_of, send_all_instances, actor_type, actor_apub_id)
		select n, 'https://{home}/activities/announce/' || n,
		  ('{"actor":"' || c.{ap_id} || '","to":["https://www.w3.org/ns/activitystreams#Public"],"object":{"type":"Like","id":"https://{home}/activities/like/' || n ||
		   '"},"cc":["' || c.{ap_id} || '/followers"],"type":"Announce","id":"https://{home}/activities/announce/' || n || '"}')::json,
		  false, now() - interval '7 days' * (1 - (n - first) / span::float8), '{}', c.id, n % 5000 = 0, 'community', c.{ap_id}
		from (
		  select n, $1::int * 3::bigint as first, $1::int * 97::bigint / 96 + 97 as span,
		    1 + floor(power((n * 15485863 % 99991) / 99991.0, {share}) * $3::int)::int as community
		  from generate_series($1::int * 3::bigint + 1, $1::int * 3::bigint + $1::int * 97::bigint / 96 + 97) n
		  where n % 97 <> 0
		  order by n
		  limit $1::int
		) a
		join (select id, name, {ap_id} from community where name ~ '^c[0-9]+$' and local) c on c.name = 'c' || a.community`},
}

// Fill makes a server of that size in the statements of a minute or two, beside what is there. Every activity is for the
// followers of a community; a week of them is there, with gaps, and none that is older. Its communities have the key of the
// site.
func (w *World) Fill(ctx context.Context, size Size) error {
	key, err := PKCS8.write(w.Site.Key)
	if err != nil {
		return err
	}
	for _, f := range fills {
		err := w.Exec(ctx, w.fillSQL(f.text, size), f.of(size), size.Instances, size.Communities, key)
		if err != nil {
			return fmt.Errorf("make %d %s: %w", f.of(size), f.what, err)
		}
	}
	if err := w.Exec(ctx, `select setval('sent_activity_id_seq', coalesce((select max(id) from sent_activity), 1))`); err != nil {
		return err
	}
	for n := range size.Communities {
		w.Actors = append(w.Actors, Actor{Kind: "community", APID: fmt.Sprintf("https://%s/c/c%d", Home, n+1), Key: w.Site.Key})
	}
	return w.Exec(ctx, `analyze`)
}

// fillSQL puts in what else differs between the lines. The query in front tells Postgres the types of arguments that a
// statement does not use.
func (w *World) fillSQL(text string, size Size) string {
	words := []string{"{home}", Home, "{share}", map[bool]string{false: "2", true: "1"}[size.Even]}
	if w.Line == V10 {
		words = append(words,
			"{inboxes}", "inbox_url",
			"{inboxes_of}", "'https://' || i.domain || case when n % 100 = 0 then '/u/p' || n else '' end || '/inbox'",
			"{follows}", "community_actions (community_id, person_id, followed_at, follow_state)",
			"{accepted}", "'Accepted'::community_follower_state")
	} else {
		words = append(words,
			"{inboxes}", "inbox_url, shared_inbox_url",
			"{inboxes_of}", "'https://' || i.domain || '/u/p' || n || '/inbox', case when n % 100 <> 0 then 'https://' || i.domain || '/inbox' end",
			"{follows}", "community_follower (community_id, person_id, published, pending)",
			"{accepted}", "false")
	}
	return "with argument as (select $1::int, $2::int, $3::int, $4::text)" + strings.NewReplacer(words...).Replace(text)
}
