package e2e

import (
	"strings"
	"testing"

	"github.com/fedsender/fedsender/targets"
)

func TestHostileRows_AreDeadLetteredWithAReasonAndTheirNeighboursDelivered(t *testing.T) {
	s := newScene(t, 3, 2)
	actor := s.world.Actors[0]
	s.exec(`insert into fedsender.actor (ap_id, key_id, private_key_pem) values
		('https://home.example/u/nokey', 'https://home.example/u/nokey#main-key', null),
		('https://home.example/u/badpem', 'https://home.example/u/badpem#main-key', E'-----BEGIN PRIVATE KEY-----\nbm9uc2Vuc2U=\n-----END PRIVATE KEY-----\n'),
		('https://home.example/u/badid', E'https://home.example/u/x"\r\nX-Evil: 1', (select private_key_pem from fedsender.actor where id = $1))`, actor)
	s.exec(`insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox, shared_inbox)
		select a.id, f.follower_ap_id, f.instance_id, f.inbox, f.shared_inbox
		from fedsender.actor a, fedsender.follower f where a.id > $1`, actor)
	first := s.post()
	bodies := []struct{ name, actor, body, reason string }{
		{"nokey", "nokey", `{"id":"x"}`, "no private key"},
		{"badpem", "badpem", `{"id":"x"}`, "not a valid PKCS#8 key"},
		{"badid", "badid", `{"id":"x"}`, "can't stand in a Signature header"},
		{"array", "0", `["not", "an", "object"]`, "not a JSON object"},
		{"number", "0", `42`, "not a JSON object"},
		{"huge", "0", `{"id":"x","content":"` + strings.Repeat("a", 2<<20) + `"}`, "longer than 1048576 bytes"},
	}
	for _, b := range bodies {
		s.exec(`
			insert into fedsender.activity (ap_id, data, actor_id, send_followers_of)
			select $1, $2::text::json, id, array[id] from fedsender.actor where ap_id = 'https://home.example/u/' || $3`,
			"https://home.example/hostile/"+b.name, b.body, b.actor)
	}
	inboxes := []struct{ inbox, reason string }{
		{"no url", "is not"},
		{"javascript:alert(1)", "is not an https URL"},
		{"https://169.254.169.254/latest", "is not public"},
		{"https://localhost/inbox", "is this machine"},
		{"https://[::1]/inbox", "is not public"},
		{"http://plain.example/inbox", "http, which is not allowed"},
		{"https://plain.example:8443/inbox", "port 8443"},
		{"https://user:secretword@plain.example/inbox", "user name"},
		{"https://" + strings.Repeat("a", 300) + ".example/inbox", "not a valid domain name"},
	}
	for _, b := range inboxes {
		s.exec(`
			insert into fedsender.activity (ap_id, data, actor_id, send_inboxes)
			values ('https://home.example/hostile/' || md5($1), '{"id":"https://home.example/hostile"}', $2, array[$1])`, b.inbox, actor)
	}
	last := s.post()
	for _, domain := range s.world.Instances {
		s.arrived(domain, first, last)
	}
	// Each process tells of the instances that it holds, in one row or more; together they tell of each instance once.
	const told = `
		select count(*) = $1 and bool_and(instances = array[1, 2, 3]) from (
			select array_agg(i order by i) as instances
			from fedsender.dead_letter d
			left join unnest(d.instance_ids) as r (ids) on true
			cross join generate_series(coalesce(d.instance_id, lower(r.ids)), coalesce(d.instance_id, upper(r.ids) - 1)) as i
			where d.inbox is null
			group by d.activity_id) a`
	s.eventually("all bodies are given up, for each instance once", told, len(bodies))
	s.eventually("all inboxes are given up", `select count(*) = $1 from fedsender.dead_letter where inbox is not null`, len(inboxes))
	for _, b := range bodies {
		reason := query[string](s, `
			select coalesce(min(d.reason), '') from fedsender.dead_letter d join fedsender.activity a on a.id = d.activity_id where a.ap_id = $1`,
			"https://home.example/hostile/"+b.name)
		if !strings.Contains(reason, b.reason) {
			t.Errorf("%s: the reason is %q, want %q in it", b.name, reason, b.reason)
		}
	}
	for _, b := range inboxes {
		reason := query[string](s, `select coalesce((select reason from fedsender.dead_letter where inbox = $1), '')`, targets.WithoutUser(b.inbox))
		if !strings.Contains(reason, b.reason) || strings.Contains(reason, "secretword") {
			t.Errorf("%s: the reason is %q, want %q in it", b.inbox, reason, b.reason)
		}
	}
	if n := query[int](s, `select count(*) from fedsender.dead_letter d where d::text like '%secretword%'`); n > 0 {
		t.Errorf("a password is in %d dead letters", n)
	}
	if err := s.WaitSettled(s.ctx); err != nil {
		t.Error(err)
	}
	if n := query[int](s, `select count(*) from fedsender.instance`); n != len(s.world.Instances) {
		t.Errorf("%d instances, want %d: a hostile inbox made one", n, len(s.world.Instances))
	}
}
