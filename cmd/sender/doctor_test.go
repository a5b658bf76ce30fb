package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fleet"
)

var update = flag.Bool("update", false, "write the pages of docs that tests compare")

var leaseClass = strconv.Itoa(int(pg.LeaseClass))

const doctorPage = "../../docs/doctor.md"

// changing are the parts of an answer that are different each time.
var changing = []struct {
	part *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`pid \d+`), "pid …"},
	{regexp.MustCompile(`pg_terminate_backend\(\d+\)`), "pg_terminate_backend(…)"},
	{regexp.MustCompile(`127\.0\.0\.1:\d{2,}`), "127.0.0.1:…"},
	{regexp.MustCompile(`(differ by|silent for|open for|in a transaction of|machine is) [\dhms.]+`), "$1 …"},
	{regexp.MustCompile(`\d+ of \d+ are in use`), "… of … are in use"},
	{regexp.MustCompile(`has version \d+, (older|newer) than the \d+`), "has version …, $1 than the …"},
}

func TestDoctor_SaysOfEachFaultWhatItIsAndWhatMendsIt(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	healthy(t, p)
	var rows []string
	for i := range faults {
		f := &faults[i]
		t.Run(f.name, func(t *testing.T) {
			p.t = t
			defer p.heal()
			found, o := p.diagnose(f.provoke(p), f.args...)
			require.NotContains(t, o.out, "hunter2secret")
			var it *pg.Finding
			for i := range found {
				switch {
				case found[i].What == f.what && it == nil && found[i].Verdict == f.verdict:
					it = &found[i]
				case found[i].Verdict == pg.Bad || found[i].Verdict == pg.Warn:
					assert.True(t, f.allows(found[i].What), "besides: %+v", found[i])
				}
			}
			require.NotNil(t, it, "%s", o.out)
			assert.Contains(t, it.Says, f.says)
			assert.Contains(t, it.Mend, f.mend)
			assert.Equal(t, f.verdict == pg.Bad, o.code == exitBad || strings.Contains(o.out, `"bad"`), "exit code %d", o.code)
			rows = append(rows, row(f, it))
		})
	}
	p.t = t
	if testing.Verbose() {
		t.Logf("%d faults:\n%s", len(rows), strings.Join(rows, "\n"))
	}
	comparePage(t, rows)
}

func row(f *fault, it *pg.Finding) string {
	name := f.name
	if f.pretended {
		name += " (pretended)"
	}
	cell := func(text string) string {
		for _, c := range changing {
			text = c.part.ReplaceAllString(text, c.as)
		}
		return strings.ReplaceAll(text, "|", `\|`)
	}
	return fmt.Sprintf("| %s | `%s` %s | %s | %s |", name, it.What, it.Verdict, cell(it.Says), cell(it.Mend))
}

const (
	tableBegins = "| what was wrong | check and verdict | what it said | what mends it |\n|---|---|---|---|\n"
	tableEnds   = "\n<!-- end of the table -->"
)

// comparePage keeps the table of docs/doctor.md true; rows that were skipped here stay as they are.
func comparePage(t *testing.T, rows []string) {
	page, err := os.ReadFile(doctorPage)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(page), tableBegins)
	require.True(t, found, "docs/doctor.md has lost its table")
	table, after, found := strings.Cut(rest, tableEnds)
	require.True(t, found)
	written := map[string]string{}
	for line := range strings.Lines(table) {
		written[firstCell(line)] = strings.TrimSuffix(line, "\n")
	}
	said := map[string]string{}
	for _, r := range rows {
		said[firstCell(r)] = r
	}
	var wanted []string
	for i := range faults {
		name := faults[i].name
		if faults[i].pretended {
			name += " (pretended)"
		}
		r, old := said[name], written[name]
		if r == "" || faults[i].loose && old != "" {
			r = old
		}
		wanted = append(wanted, r)
	}
	if *update {
		now := before + tableBegins + strings.Join(wanted, "\n") + tableEnds + after
		require.NoError(t, os.WriteFile(doctorPage, []byte(now), 0o644)) // #nosec G306: a page for everybody
		return
	}
	for i, line := range strings.Split(table, "\n") {
		require.Less(t, i, len(wanted), "the page has more faults")
		require.Equal(t, wanted[i], line, "run: go test ./cmd/sender -run TestDoctor -update")
	}
}

func firstCell(line string) string {
	_, rest, _ := strings.Cut(line, "| ")
	cell, _, _ := strings.Cut(rest, " |")
	return cell
}

// healthy is a fresh set-up with one sender that has delivered: nothing may be said against it.
func healthy(t *testing.T, p *patient) {
	binary, err := program()
	require.NoError(t, err)
	sender, err := fleet.Start(fleet.Options{Binary: binary, Name: "one", Database: p.url, ConnectTo: p.fedi.Addr(), CAFile: p.fedi.CAFile()})
	require.NoError(t, err)
	require.NoError(t, sender.WaitReady(t.Context()))
	p.exec(`
		insert into fedsender.activity (ap_id, data, actor_id, send_all_instances)
		select id, json_build_object('id', id, 'type', 'Create', 'actor', 'https://home.example/u/0', 'object', id || '/object'), 1 + n % 2, true
		from (select n, 'https://home.example/u/0/activities/' || n as id from generate_series(1, 4) n) a`)
	require.NoError(t, fleet.Until(t.Context(), "all delivered", func() (bool, error) {
		var left int
		err := p.db.QueryRow(t.Context(), `select count(*) from fedsender.queue_state where last_successful_id < 4`).Scan(&left)
		return left == 0, err
	}))
	found, o := p.diagnose(nil)
	page, err := os.ReadFile(doctorPage)
	require.NoError(t, err)
	for _, f := range found {
		require.Contains(t, string(page), "`"+f.What+"`", "the page lists each check")
		require.Equal(t, pg.OK, f.Verdict, "%+v", f)
		require.Empty(t, f.Mend)
	}
	require.Zero(t, o.code)
	require.GreaterOrEqual(t, len(found), 30)
	text := runProgram(t, p.env, "doctor")
	text.requireDone(t, "answered over HTTPS", "can sign: 2", "version v0.0.1-test")
	require.NoError(t, sender.Stop(t.Context()))
}

func TestDoctor_EndsIn15SecondsWhateverHangs(t *testing.T) {
	t.Parallel()
	url, environment := migrated(t)
	fill(t, url)
	lockedURL, locked := migrated(t)
	conn := fill(t, lockedURL)
	for name, env := range map[string][]string{
		"the database":  {"DATABASE_URL=postgres://app@" + silent(t) + "/app?sslmode=disable"},
		"other servers": {environment[0], "SENDER_CONNECT_TO=" + silent(t)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			o := runProgram(t, env, "doctor")
			require.Less(t, time.Since(start), 15*time.Second)
			require.Contains(t, o.out, "answer")
			require.NotEmpty(t, o.out)
		})
	}
	t.Run("every table", func(t *testing.T) {
		t.Parallel()
		execute(t, conn, `set application_name = 'psql'; begin; lock table fedsender.instance, fedsender.queue_state, fedsender.actor, fedsender.activity,
			fedsender.process, fedsender.doorbell, fedsender.domain_block in access exclusive mode`)
		defer execute(t, conn, `rollback`)
		start := time.Now()
		o := runProgram(t, locked, "doctor")
		require.Less(t, time.Since(start), 15*time.Second)
		require.Equal(t, 1, o.code)
		require.Contains(t, o.out, "(psql, role postgres) holds up")
		require.Contains(t, o.out, "were not looked at")
	})
}
