package pg

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// keySample is how many activities, or actors where there are none, the check of the keys reads: milliseconds, however many
// there are. Keys that sign nothing hurt nobody.
const keySample = 200

// keys looks whether the actors of the newest activities can sign.
func (d *diagnosis) keys() {
	const what = "keys"
	var active bool
	if !d.ask(what, `select exists (select from fedsender.source_activity)`, &active) {
		return
	}
	sql := fmt.Sprintf(`
		with newest as materialized (
			select id from fedsender.source_activity order by id desc limit %d
		)
		select distinct coalesce(a.ap_id, 'of activity ' || n.id), coalesce(a.key_id, ''), coalesce(a.private_key_pem, '')
		from newest n
		left join lateral (select o.* from fedsender.actor_of(n.id) o) a on true
		order by 1`, keySample)
	of := fmt.Sprintf("that signed the newest %d activities", keySample)
	if !active {
		sql = fmt.Sprintf(`select ap_id, coalesce(key_id, ''), coalesce(private_key_pem, '') from fedsender.source_actor limit %d`, keySample)
		of = fmt.Sprintf("(at most %d were looked at)", keySample)
	}
	type actor struct{ APID, KeyID, PEM string }
	rows, err := d.conn.Query(d.ctx, sql)
	actors, err := collect("read keys", rows, err, pgx.RowToStructByPos[actor])
	switch {
	case IsTimeout(err) && !IsLocked(err):
		d.add(what, Skipped, fmt.Sprintf("the database needs more than %s to find the actors of %d activities", checkLimit, keySample), "")
		return
	case err != nil:
		d.unknown(what, err)
		return
	}
	var without, broken []string
	for _, a := range actors {
		if a.PEM == "" {
			without = append(without, a.APID)
		} else if d.outside.CheckKey != nil {
			if err := d.outside.CheckKey(a.KeyID, a.PEM); err != nil {
				broken = append(broken, err.Error())
			}
		}
	}
	d.sayKeys(len(actors), of, without, broken)
}

func (d *diagnosis) sayKeys(looked int, of string, without, broken []string) {
	const mend = "give each a key in the application, then: sender dead-letters retry --all"
	verdict := Warn
	if len(without)+len(broken) == looked {
		verdict = Bad
	}
	if len(without) > 0 {
		d.add("actors", verdict, fmt.Sprintf("%d of the %d actors %s are gone or have no private key, so that what they send becomes a dead letter: %s", len(without), looked, of, firstOf(without)), mend)
	}
	if len(broken) > 0 {
		d.add("keys", verdict, fmt.Sprintf("of the %d actors %s %d have keys that can't sign, so that what they send becomes a dead letter: %s", looked, of, len(broken), firstOf(broken)), mend)
	}
	switch {
	case len(without)+len(broken) > 0:
	case looked == 0:
		d.add("keys", Skipped, "there is no actor yet", "")
	case d.outside.CheckKey != nil:
		d.add("keys", OK, fmt.Sprintf("all actors %s can sign: %d", of, looked), "")
	}
}

// firstOf lists the first few.
func firstOf(names []string) string {
	if more := len(names) - shownDomains; more > 0 {
		return strings.Join(names[:shownDomains], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}
