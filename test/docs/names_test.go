package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/sender"
	"github.com/fedsender/fedsender/test/markdown"
)

const troubleshooting = "docs/troubleshooting.md"

func TestTroubleshooting_CommandsAreRun(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, nil, remote)
	s.follow("docs/troubleshooting.md", nil)
}

// said are the texts in the program, with … for what is filled in.
func said(t *testing.T) (texts []string) {
	t.Helper()
	ok(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "test" || strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." && path != root):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if text := literal(n); len(text) > 3 {
				texts = append(texts, filled.ReplaceAllString(text, "…"))
			}
			_, sum := n.(*ast.BinaryExpr)
			return !sum || literal(n) == ""
		})
		return nil
	}))
	return texts
}

// filled is what Sprintf fills in.
var filled = regexp.MustCompile(`%[-+#.0-9]*[a-zA-Z]`)

// literal is the text of an expression of string literals; what else is added to them is … .
func literal(n ast.Node) string {
	switch n := n.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(n.Value)
		if err != nil || n.Kind != token.STRING {
			return ""
		}
		return text
	case *ast.BinaryExpr:
		if n.Op != token.ADD {
			return ""
		}
		x, y := literal(n.X), literal(n.Y)
		switch {
		case x == "" && y == "":
			return ""
		case x == "":
			return "…" + y
		case y == "":
			return x + "…"
		}
		return x + y
	}
	return ""
}

// What a page shows of logs and errors is in the source, piece by piece.
func TestTroubleshooting_EveryLineIsOneOfTheProgram(t *testing.T) {
	t.Parallel()
	texts := said(t)
	blocks, err := markdown.Blocks(root + troubleshooting)
	ok(t, err)
	checked := 0
	for _, b := range blocks {
		if !slices.Contains([]string{"log", "doctor", "error"}, b.Language) {
			continue
		}
		for _, line := range strings.Split(strings.TrimSpace(b.Text), "\n") {
			checked++
			if part := unsaid(texts, line); part != "" {
				t.Errorf("%s:%d: nothing in the program says %q", troubleshooting, b.Line, part)
			}
		}
	}
	if checked < 25 {
		t.Errorf("only %d lines were looked at", checked)
	}
}

// unsaid is the first piece of the line that is in no text.
func unsaid(texts []string, line string) string {
	for _, part := range strings.Split(line, "…") {
		part = attribute.ReplaceAllString(part, "")
		words := strings.Trim(part, " :;,.")
		if len(words) < 4 {
			continue
		}
		in := func(piece string) bool {
			return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(text, piece) })
		}
		if in(words) {
			continue
		}
		for _, piece := range together.Split(words, -1) {
			if !in(piece) {
				return piece
			}
		}
	}
	return ""
}

// together are sentences of several places in the program put with these.
var together = regexp.MustCompile(`[:;] `)

// attribute is what a log line has beside its text.
var attribute = regexp.MustCompile(` ?\b[a-z_]+=$`)

func TestTroubleshooting_HasASectionForEachAlert(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile(root + "deploy/prometheus/alerts.yaml")
	ok(t, err)
	found := anchors(prose(t, troubleshooting))
	named := regexp.MustCompile(`docs/troubleshooting\.md#([\w-]+)`).FindAllStringSubmatch(string(rules), -1)
	if len(named) == 0 {
		t.Error("no alert has a runbook")
	}
	for _, n := range named {
		if !found[n[1]] {
			t.Errorf("there is no section %s", n[1])
		}
	}
}

// sqlNames are the relations of the schema with their columns, and its functions, by docs/sql.md, which is written by the database.
func sqlNames(t *testing.T) (relations map[string][]string, functions []string) {
	t.Helper()
	text, err := os.ReadFile(root + "docs/sql.md")
	ok(t, err)
	relations = map[string][]string{}
	title, column := regexp.MustCompile("^### (table|view|function) `(\\w+)`"), regexp.MustCompile("^\\| `(\\w+)` \\|")
	last := ""
	for line := range strings.Lines(string(text)) {
		if found := title.FindStringSubmatch(line); found != nil {
			last = ""
			if found[1] == "function" {
				functions = append(functions, found[2])
			} else {
				last = found[2]
				relations[last] = []string{}
			}
		}
		if found := column.FindStringSubmatch(line); found != nil && last != "" {
			relations[last] = append(relations[last], found[1])
		}
	}
	return relations, functions
}

var (
	relationName = regexp.MustCompile(`\bfedsender\.(\w+)(?:\.(\w+))?(\()?`)
	columnName   = regexp.MustCompile("`(\\w+)\\.(\\w+)`")
	variableName = regexp.MustCompile(`\bSENDER_[A-Z_]+\b`)
	metricName   = regexp.MustCompile("`(fedsender_[a-z_]+)")
	viewColumn   = regexp.MustCompile("`(\\w+)` in `fedsender\\.(\\w+)`")
)

// notRelations follow "fedsender." and are something else.
var notRelations = []string{"service", "env", "json", "target"}

// notLookedUp are pages that tests make from what they name, that tell what once was, or have names of their own.
var notLookedUp = []string{"docs/sql.md", "docs/metrics.md", "docs/doctor.md", "docs/commands.md", "docs/traces.md", "CHANGELOG.md", "docs/adapters.md"}

// testVariables are those that only tests read.
var testVariables = []string{"SENDER_TEST_CLOCK_FILE"}

func TestNames_OfTablesColumnsVariablesAndMetricsAreThere(t *testing.T) {
	t.Parallel()
	relations, functions := sqlNames(t)
	metrics, err := os.ReadFile(root + "docs/metrics.md")
	ok(t, err)
	var variables []string
	for _, v := range sender.Variables() {
		variables = append(variables, v.Name, v.FileName)
	}
	checked := 0
	for _, page := range pages(t) {
		text, err := os.ReadFile(root + page)
		ok(t, err)
		if slices.Contains(notLookedUp, page) || strings.HasPrefix(page, "docs/decisions/") {
			continue
		}
		wrong := func(format string, arguments ...any) {
			t.Errorf("%s: there is no %s", page, fmt.Sprintf(format, arguments...))
		}
		for _, n := range relationName.FindAllStringSubmatch(string(text), -1) {
			checked++
			columns, isRelation := relations[n[1]]
			switch {
			case isRelation && n[2] != "" && !slices.Contains(columns, n[2]):
				wrong("column %s", n[0])
			case !isRelation && !slices.Contains(functions, n[1]) && !slices.Contains(notRelations, n[1]):
				wrong("table, view or function %s", n[0])
			}
		}
		for _, n := range columnName.FindAllStringSubmatch(string(text), -1) {
			if columns, isRelation := relations[n[1]]; isRelation && !slices.Contains(columns, n[2]) {
				wrong("column %s.%s", n[1], n[2])
			}
		}
		for _, n := range viewColumn.FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains(relations[n[2]], n[1]) {
				wrong("column %s of %s", n[1], n[2])
			}
		}
		for _, name := range variableName.FindAllString(string(text), -1) {
			checked++
			if !slices.Contains(variables, name) && !slices.Contains(testVariables, name) {
				wrong("variable %s", name)
			}
		}
		for _, n := range metricName.FindAllStringSubmatch(string(text), -1) {
			name := strings.TrimRight(n[1], "_")
			if slices.Contains([]string{"fedsender_activity", "fedsender_change", "fedsender_doorbell", "fedsender_lease", "fedsender_viewer"}, name) {
				continue // channels of NOTIFY, and a role
			}
			checked++
			if !strings.Contains(string(metrics), "`"+name+"`") {
				wrong("metric %s", name)
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d names were looked up", checked)
	}
}
