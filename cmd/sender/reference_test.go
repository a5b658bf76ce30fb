package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/sender"
)

const commandsPage = "../../docs/commands.md"

// shapes are what verbs print with --json: a value of the type, and when.
var shapes = map[string][]struct {
	when  string
	value any
}{
	"status":             {{"without DOMAIN, an object", statusReport{}}, {"with DOMAIN, an object", domainReport{}}},
	"doctor":             {{"a list of objects", pg.Finding{}}},
	"trace":              {{"an object", pg.Trace{}}},
	"dead-letters list":  {{"a list of objects", pg.DeadLetter{}}},
	"dead-letters retry": {{"an object", letterReport{}}},
	"dead-letters drop":  {{"an object", letterReport{}}},
	"pause":              {{"an object", done{}}},
	"resume":             {{"an object", done{}}},
	"retry":              {{"an object", done{}}},
	"skip":               {{"an object", done{}}},
	"replay":             {{"an object", done{}}},
	"migrate":            {{"an object", migrateReport{}}},
	"enqueue":            {{"an object", enqueued{}}},
	"version":            {{"an object", versionReport{}}},
}

const commandsHead = `<!-- Made from the program by: go test ./cmd/sender -run TestReference -update -->

# Commands

| exit code | means |
|---|---|
| 0 | done; of ` + "`run`" + `: it was told to stop, and has saved all |
| 1 | it ran and the answer is bad: ` + "`doctor`" + ` found something bad, whatever that is, there is no such instance, activity or dead letter, the database can't be reached or refuses |
| 2 | wrong usage or configuration, said in one line that names the flag or variable; the database has no schema ` + "`fedsender`" + `, or not the one of this program, and the line names the command that mends it |

Answers go to standard output, errors in one line to standard error. ` + "`status`, `doctor`" + ` and ` + "`demo`" + ` use colours and the width of a terminal
where standard output is one; ` + "`NO_COLOR`" + ` turns colours off. Verbs that ask the database give up after 10 seconds without an answer, and after 2 behind
a lock, whose holder they name; ` + "`doctor`" + ` ends within 15 in any case, ` + "`run`" + ` and ` + "`migrate`" + ` wait for longer. Where a flag stands for a variable, the flag wins; [configuration](configuration.md) has all of them.

With ` + "`--json`" + ` times are RFC 3339, and fields that may be missing are left out where there is nothing to say. Fields may be added in any version; none
is taken away or changes its meaning without a word in the changelog.

**Completion** for bash, zsh, fish and PowerShell: ` + "`sender completion bash --help`" + ` and so on say how. DOMAIN is completed from the database that
` + "`DATABASE_URL`" + ` names, within a second. **Man pages**: ` + "`sender man DIR`" + ` writes one for each verb.
`

func TestReference_IsWhatTheProgramSays(t *testing.T) {
	root := newRoot(&app{out: io.Discard, err: io.Discard, environment: map[string]string{}})
	var page bytes.Buffer
	page.WriteString(commandsHead)
	comments := readComments(t, ".", "../../pg")
	described := 0
	var describe func(cmd *cobra.Command)
	describe = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if sub.Hidden || sub.Name() == "help" || cmd.Name() == "completion" {
				continue
			}
			name := strings.TrimPrefix(sub.CommandPath(), "sender ")
			writeCommand(&page, sub)
			_, prints := shapes[name]
			require.Equal(t, sub.Flags().Lookup("json") != nil, prints, "shapes must have what %s --json prints", name)
			for _, shape := range shapes[name] {
				described++
				fmt.Fprintf(&page, "\n`--json` prints, %s:\n\n| field | type | |\n|---|---|---|\n", shape.when)
				writeShape(&page, comments, "", reflect.TypeOf(shape.value))
			}
			describe(sub)
		}
	}
	describe(root)
	require.Greater(t, described, len(shapes))
	if *update {
		require.NoError(t, os.WriteFile(commandsPage, page.Bytes(), 0o644)) // #nosec G306: a page for everybody
		return
	}
	written, err := os.ReadFile(commandsPage)
	require.NoError(t, err)
	require.Equal(t, page.String(), string(written), "run: go test ./cmd/sender -run TestReference -update")
}

func writeCommand(w io.Writer, cmd *cobra.Command) {
	usage := strings.TrimSuffix(cmd.CommandPath(), cmd.Name()) + cmd.Use
	long := strings.TrimSpace(cmd.Long)
	fmt.Fprintf(w, "\n## `%s`\n", usage)
	if !strings.HasPrefix(long, cmd.Short) {
		fmt.Fprintf(w, "\n%s.\n", cmd.Short)
	}
	if long != "" && cmd.Name() != "completion" {
		fmt.Fprintf(w, "\n%s\n", strings.ReplaceAll(long, "...", "…"))
	}
	variables := map[string]string{}
	for _, v := range sender.Variables() {
		variables[v.Flag] = v.Name
	}
	var rows []string
	var stands []string
	cmd.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden || flag.Name == "help" {
			return
		}
		if name := variables[flag.Name]; name != "" {
			stands = append(stands, fmt.Sprintf("`--%s` (`%s`)", flag.Name, name))
			return
		}
		value, usage := pflag.UnquoteUsage(flag)
		shown := "--" + flag.Name
		if value != "" {
			shown += " " + value
		}
		if flag.DefValue != "" && flag.DefValue != "false" && flag.DefValue != "[]" {
			usage += "; default " + flag.DefValue
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s |", shown, strings.ReplaceAll(usage, "|", `\|`)))
	})
	if len(rows) > 0 {
		fmt.Fprintf(w, "\n| flag | |\n|---|---|\n%s\n", strings.Join(rows, "\n"))
	}
	switch {
	case len(stands) == len(variables):
		fmt.Fprintf(w, "\nIt has a flag for each variable of [configuration](configuration.md).\n")
	case len(stands) > 0:
		fmt.Fprintf(w, "\nFlags that stand for variables: %s.\n", strings.Join(stands, ", "))
	}
}

// fieldKey is a field of a struct of package main or pg.
type fieldKey struct{ structure, field string }

// readComments are those behind or above the fields of structs.
func readComments(t *testing.T, dirs ...string) map[fieldKey]string {
	comments := map[fieldKey]string{}
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(t, err)
		for _, name := range names {
			file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, parser.ParseComments)
			require.NoError(t, err)
			ast.Inspect(file, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if !ok {
					return true
				}
				structure, ok := spec.Type.(*ast.StructType)
				if !ok {
					return true
				}
				for _, field := range structure.Fields.List {
					for _, ident := range field.Names {
						comments[fieldKey{spec.Name.Name, ident.Name}] = strings.Join(strings.Fields(field.Comment.Text()+" "+field.Doc.Text()), " ")
					}
				}
				return true
			})
		}
	}
	return comments
}

// fromView says of which view the fields are columns, whose comments are in docs/sql.md.
var fromView = map[string]string{"InstanceStatus": "instance_status", "QueueSummary": "queue_summary", "ProcessStatus": "process_status"}

func writeShape(w io.Writer, comments map[fieldKey]string, prefix string, typ reflect.Type) {
	for i := range typ.NumField() {
		field := typ.Field(i)
		if field.Anonymous {
			writeShape(w, comments, prefix, field.Type)
			continue
		}
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		meaning := comments[fieldKey{typ.Name(), field.Name}]
		if view := fromView[typ.Name()]; view != "" && meaning == "" {
			meaning = fmt.Sprintf("see view [`%s`](sql.md#view-%s)", view, view)
		}
		if strings.HasPrefix(options, "omit") {
			before, after, found := strings.Cut(meaning, ": ")
			if found && (before == "empty" || before == "nil" || before == "0") {
				meaning = "missing: " + after
			} else {
				meaning = strings.TrimSuffix("may be missing; "+meaning, "; ")
			}
		}
		kind, inner := jsonType(field.Type)
		fmt.Fprintf(w, "| `%s%s` | %s | %s |\n", prefix, name, kind, strings.ReplaceAll(meaning, "|", `\|`))
		if inner != nil {
			suffix := "."
			if strings.HasPrefix(kind, "list") {
				suffix = "[]."
			}
			writeShape(w, comments, prefix+name+suffix, inner)
		}
	}
}

// jsonType is what a field is in JSON, and the struct that it holds.
func jsonType(typ reflect.Type) (kind string, inner reflect.Type) {
	switch {
	case typ.String() == "time.Time":
		return "time", nil
	case typ.Kind() == reflect.Pointer:
		return jsonType(typ.Elem())
	case typ.Kind() == reflect.Struct:
		return "object", typ
	case typ.Kind() == reflect.Slice:
		of, inner := jsonType(typ.Elem())
		return "list of " + of + "s", inner
	case typ.Kind() == reflect.Map:
		of, _ := jsonType(typ.Elem())
		return "object of " + of + "s by name", nil
	case typ.Kind() == reflect.String:
		return "string", nil
	case typ.Kind() == reflect.Bool:
		return "boolean", nil
	}
	return "number", nil
}

func TestMan_WritesAPageForEachVerb(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	runProgram(t, nil, "man", dir).requireDone(t)
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	require.NoError(t, err)
	require.Greater(t, len(pages), 18)
	page, err := os.ReadFile(filepath.Join(dir, "sender-status.1"))
	require.NoError(t, err)
	require.Contains(t, string(page), "SENDER-STATUS")
	require.Contains(t, string(page), "--watch")
	require.NotContains(t, string(page), "Auto generated")
}

func TestCompletion_IsThereForEachShell(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		o := runProgram(t, nil, "completion", shell)
		o.requireDone(t, "sender")
		require.Greater(t, len(o.out), 1000)
	}
}

func TestCompletion_KnowsTheDomainsOfTheDatabase(t *testing.T) {
	url, environment := migrated(t)
	conn := fill(t, url)
	execute(t, conn, `alter table fedsender.instance drop constraint domain_is_lower_case_ascii; insert into fedsender.instance (domain) values (E'to\x1b[31m.example')`)
	complete := func(environment []string, arguments ...string) string {
		o := runProgram(t, environment, append([]string{"__completeNoDesc"}, arguments...)...)
		require.Zero(t, o.code)
		return o.out
	}
	require.Equal(t, "toad.example\n:4\n", complete(environment, "status", "TO"))
	require.Equal(t, "toad.example\n:4\n", complete(nil, "pause", "--database-url", url, "to"))
	require.Equal(t, "frog.example\n:4\n", complete(environment, "dead-letters", "list", "--domain", "fr"))
	require.Equal(t, ":4\n", complete(environment, "status", "toad.example", ""), "there is no second")
	for _, away := range [][]string{nil, {"DATABASE_URL=postgres://app@" + silent(t) + "/app"}, {"DATABASE_URL=?"}} {
		require.Equal(t, ":4\n", complete(away, "status", ""), "silently")
	}
}
