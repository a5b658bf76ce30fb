package pg_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/sql.md anew")

const sqlReference = "../docs/sql.md"

// sqlSections are the chapters of docs/sql.md: what of schema fedsender stands where.
var sqlSections = []struct {
	title, text string
	relations   []string
	functions   []string
}{
	{"What the application writes", `Names and meanings here change only with a migration that says so in the changelog. Columns may be added at the end.`,
		[]string{"actor", "instance", "follower", "activity", "domain_allow", "domain_block"}, []string{"enqueue"}},
	{"What an operator reads and writes", `The commands and the web page use the same views and functions; psql alone is enough to run the queue.`,
		[]string{"instance_status", "queue_summary", "process_status", "lease", "retry_schedule", "recent_error", "autoscale", "autoscale_setting", "instance_control", "queue_state", "dead_letter"},
		[]string{"pause", "resume", "retry_now", "skip_to_latest", "replay", "retry_dead_letter", "drop_dead_letter"}},
	{"Where sender reads", `Another source of activities is supported by a folder with views of these names and columns: see [adapters](adapters.md). Nothing in the program names a table behind them.`,
		[]string{"source", "source_activity", "source_instance", "source_follower", "source_actor", "source_domain_list", "source_queue_state", "source_right"}, []string{"actor_of", "followers_of"}},
	{"What sender keeps for itself", `May change with any release.`,
		[]string{"instance_health", "instance_start", "redelivery", "follower_tombstone", "change", "doorbell", "feed", "process", "balance", "history", "demand", "sweep", "schema_version"},
		[]string{"instance_named", "move_cursor", "adopt_instances", "begin_instances", "place_cursors", "save_checkpoints", "pass_cursors", "prune", "log_change", "all_awake", "ring_if_armed", "may_notify", "held_leases", "sessions", "lag_slot", "lag_distance", "process_need", "desired_replicas", "autoscale_at", "note_demand"}},
}

const sqlRoles = `## Roles

Triggers run with the rights of the owner of the schema, so that whoever may INSERT needs no other privilege. Views do
too; the functions run with those of the caller.

An application that manages everything itself:

` + "```sql\n" + applicationGrants + "\n```" + `

One that only inserts activities:

` + "```sql\n" + outboxGrants + "\n```" + `

An operator, who controls the queue and sees no private key:

` + "```sql\n" + operatorGrants + "\n```" + `

Somebody with a dashboard, such as Grafana or KEDA, is a member of the role ` + "`fedsender_viewer`" + `, which may read the views for
people and nothing else: no table, no key, nothing that changes anything. ` + "`sender migrate`" + ` makes it where it may make roles,
and else says what an administrator should run. It is one for the whole database server; ` + "`migrate --down`" + ` takes it away with
the last schema, unless an administrator made it or somebody is a member.

` + "```sql\n" + viewerGrants + "\n```" + `

` + "`sender`" + ` itself, if it does not connect as the owner of the schema. ` + "`sender migrate`" + ` must be the owner, and new tables
need the grants again:

` + "```sql\n" + senderGrants + "\n```" + `

Where processes connect as several roles, each of these roles wants ` + "`pg_read_all_stats`" + `, without which it can't see that a
process of another role hangs, and ` + "`pg_signal_backend` (`grant pg_signal_backend to sender`)" + `, without which it can't end
that one's session: the instances then wait until somebody does. Among processes of one role neither is needed for that.

## Notifications

| channel | rung by | when |
|---|---|---|
| ` + "`fedsender_activity`" + ` | INSERT into ` + "`activity`" + ` | at commit, if ` + "`doorbell`" + ` was armed |
| ` + "`fedsender_change`" + ` | changes of followers, instances, lists, actors, controls | at commit |
| ` + "`fedsender_doorbell`" + ` | a process | the bell was disarmed |
| ` + "`fedsender_lease`" + ` | a process | leases were given up, or a process came |

A transaction that has notified can't be prepared. Where ` + "`max_prepared_transactions`" + ` is not 0 no trigger notifies, and the
processes look for news themselves, more often.
`

// renderSQL writes the reference from the comments in the database, so that psql's \d+ and the page say the same.
func renderSQL(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	out := &strings.Builder{}
	fmt.Fprintln(out, "<!-- Made from the comments in migrations/ by: go test ./pg -run TestSQLReference -update -->")
	fmt.Fprint(out, "\n# SQL reference\n\nEverything is in schema `fedsender`.\n")
	for _, section := range sqlSections {
		fmt.Fprintf(out, "\n## %s\n\n%s\n", section.title, section.text)
		for _, name := range section.relations {
			renderRelation(t, conn, out, name)
		}
		for _, name := range section.functions {
			renderFunction(t, conn, out, name)
		}
	}
	fmt.Fprint(out, "\n", sqlRoles)
	return out.String()
}

func renderRelation(t *testing.T, conn *pgx.Conn, out *strings.Builder, name string) {
	t.Helper()
	var isView bool
	var comment string
	require.NoError(t, conn.QueryRow(t.Context(), `
		select relkind = 'v', coalesce(obj_description(oid, 'pg_class'), '') from pg_class where oid = ('fedsender.' || $1)::regclass`, name).Scan(&isView, &comment))
	kind := "table"
	if isView {
		kind = "view"
	}
	if name == "schema_version" {
		comment = "The version of the schema. Its comment tells that of the views."
	}
	fmt.Fprintf(out, "\n### %s `%s`\n\n%s\n\n| column | type | |\n|---|---|---|\n", kind, name, comment)
	rows := column[string](t, conn, `
		select format('| %s | %s | %s |', '`+"`' || a.attname || '`"+`',
		  case format_type(a.atttypid, a.atttypmod) when 'timestamp with time zone' then 'timestamptz' else format_type(a.atttypid, a.atttypmod) end
		    || case when c.relkind = 'r' and not a.attnotnull then ', may be null' else '' end
		    || case a.attidentity when 'a' then ', drawn always' when 'd' then ', drawn by default' else coalesce(', default '
		      || replace(pg_get_expr(d.adbin, d.adrelid), '::text', ''), '') end,
		  replace(coalesce(col_description(c.oid, a.attnum), ''), '|', '\|'))
		from pg_class c
		join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
		where c.oid = ('fedsender.' || $1)::regclass
		order by a.attnum`, name)
	fmt.Fprintln(out, strings.Join(rows, "\n"))
}

func renderFunction(t *testing.T, conn *pgx.Conn, out *strings.Builder, name string) {
	t.Helper()
	var arguments, result, comment string
	require.NoError(t, conn.QueryRow(t.Context(), `
		select pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), coalesce(obj_description(p.oid, 'pg_proc'), '')
		from pg_proc p
		where p.pronamespace = 'fedsender'::regnamespace and p.proname = $1`, name).Scan(&arguments, &result, &comment), name)
	signature := strings.NewReplacer("timestamp with time zone", "timestamptz", "::text[]", "", "::bigint[]", "", "::timestamptz", "").
		Replace(fmt.Sprintf("%s(%s) → %s", name, arguments, result))
	fmt.Fprintf(out, "\n### function `%s`\n\n`%s`\n\n%s\n", name, strings.TrimSuffix(signature, " → void"), comment)
}

func TestSQLReference_IsWhatTheDatabaseSays(t *testing.T) {
	conn := migrated(t)
	rendered := renderSQL(t, conn)
	if *update {
		require.NoError(t, os.WriteFile(sqlReference, []byte(rendered), 0o644))
	}
	written, err := os.ReadFile(sqlReference)
	require.NoError(t, err)
	assert.Equal(t, string(written), rendered, "run: go test ./pg -run TestSQLReference -update")
}

func TestSQLReference_LeavesNothingOut(t *testing.T) {
	conn := migrated(t)
	var relations, functions []string
	for _, section := range sqlSections {
		relations, functions = append(relations, section.relations...), append(functions, section.functions...)
	}
	assert.ElementsMatch(t, relations, column[string](t, conn, `select relname from pg_class where relnamespace = 'fedsender'::regnamespace and relkind in ('r', 'v')`))
	assert.ElementsMatch(t, functions, column[string](t, conn, `
		select proname from pg_proc where pronamespace = 'fedsender'::regnamespace and prorettype <> 'trigger'::regtype and proname <> 'ring_change'`))
	assert.Empty(t, column[string](t, conn, `
		select attrelid::regclass || '.' || attname
		from pg_attribute
		join pg_class c on c.oid = attrelid
		where c.relnamespace = 'fedsender'::regnamespace and c.relkind in ('r', 'v') and attnum > 0 and c.relname <> 'schema_version'
		  and coalesce(col_description(attrelid, attnum), '') = ''`), "columns without a comment")
	assert.Empty(t, column[string](t, conn, `
		select oid::regclass::text from pg_class
		where relnamespace = 'fedsender'::regnamespace and relkind in ('r', 'v') and coalesce(obj_description(oid, 'pg_class'), '') = ''`))
}
