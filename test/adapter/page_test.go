package adapter

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/test/markdown"
)

const page = "../../docs/adapters.md"

func TestPage_ShowsTheFilesThatTheTestsRun(t *testing.T) {
	blocks, err := markdown.Blocks(page)
	ok(t, err)
	var shown []string
	for _, b := range blocks {
		if b.File() == "" {
			continue
		}
		shown = append(shown, filepath.Base(b.File()))
		text, err := os.ReadFile("../../" + b.File())
		ok(t, err)
		if b.Text != string(text) {
			t.Errorf("%s:%d is not what %s says", page, b.Line, b.File())
		}
	}
	want := []string{"server.sql"}
	files, err := os.ReadDir("quill")
	ok(t, err)
	for _, f := range files {
		want = append(want, f.Name())
	}
	slices.Sort(want)
	slices.Sort(shown)
	if !slices.Equal(shown, want) {
		t.Errorf("it shows %q, want %q", shown, want)
	}
}

func TestPage_NamesAllThatAnAdapterMustMake(t *testing.T) {
	text, err := os.ReadFile(page)
	ok(t, err)
	contract, err := os.ReadFile("../../pg/contract.txt")
	ok(t, err)
	byMigrate := regexp.MustCompile(`^(held_leases|sessions|lag_slot|lag_distance|process_need|desired_replicas|autoscale_at|note_demand)\(`) // with the views for people
	function := regexp.MustCompile(`^\w+\([^)]*\)`)
	column := regexp.MustCompile(`^(source\w*)\.(\w+) (.*)$`)
	sections := map[string]string{}
	for _, part := range strings.Split(string(text), "\n### ")[1:] {
		title, rest, _ := strings.Cut(part, "\n")
		rest, _, _ = strings.Cut(rest, "\n## ")
		sections[strings.Trim(title, "`")] = rest
	}
	checked := 0
	for _, line := range strings.Split(strings.ReplaceAll(string(contract), "timestamp with time zone", "timestamptz"), "\n") {
		if f := function.FindString(line); f != "" && !byMigrate.MatchString(line) {
			checked++
			if !strings.Contains(string(text), "`"+f+"`") {
				t.Errorf("it does not name %s", f)
			}
		}
		if c := column.FindStringSubmatch(line); c != nil && c[1] != "source_queue_state" {
			checked++
			if !strings.Contains(sections[c[1]], "| `"+c[2]+"` | "+c[3]+" |") {
				t.Errorf("it does not say that %s.%s is a %s", c[1], c[2], c[3])
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d were compared", checked)
	}
	for _, name := range commonFiles(t) {
		if !strings.Contains(string(text), name) {
			t.Errorf("it does not name common/%s", name)
		}
	}
}

func commonFiles(t *testing.T) (names []string) {
	t.Helper()
	files, err := os.ReadDir("../../migrations/common")
	ok(t, err)
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}
