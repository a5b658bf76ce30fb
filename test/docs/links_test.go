package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/fedsender/fedsender/test/markdown"
)

// pages are the Markdown files of the project, by their path in it.
func pages(t *testing.T) (all []string) {
	t.Helper()
	ok(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "testdata" || entry.Name() == ".git" || entry.Name() == "bin"):
			return fs.SkipDir
		case strings.HasSuffix(file, ".md"):
			name, err := filepath.Rel(root, file)
			all = append(all, filepath.ToSlash(name))
			return err
		}
		return nil
	}))
	return all
}

// prose is a page without its blocks and what stands in backquotes.
func prose(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(root + page)
	ok(t, err)
	var out strings.Builder
	inside := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			inside = !inside
			continue
		}
		if !inside {
			out.WriteString(line)
		}
	}
	return out.String()
}

var (
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(\s*([^)\s]+)[^)]*\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.*?) *$`)
	target  = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
)

// anchors are those that GitHub makes of the headings, and those that the page makes itself.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		words := link.ReplaceAllString(strings.ReplaceAll(h[1], "[", ""), "")
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, words)
		for n, unique := 1, name; ; n++ {
			if !found[unique] {
				found[unique] = true
				break
			}
			unique = fmt.Sprintf("%s-%d", name, n)
		}
	}
	for _, a := range target.FindAllStringSubmatch(text, -1) {
		found[a[1]] = true
	}
	return found
}

func TestLinks_LeadSomewhere(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, page := range pages(t) {
		for _, l := range link.FindAllStringSubmatch(code.ReplaceAllString(prose(t, page), ""), -1) {
			where, anchor, _ := strings.Cut(l[1], "#")
			if strings.Contains(where, "://") || strings.HasPrefix(where, "mailto:") {
				continue
			}
			checked++
			to := page
			if where != "" {
				to = path.Join(path.Dir(page), where)
			}
			if _, err := os.Stat(root + to); err != nil {
				t.Errorf("%s: %s leads to nothing", page, l[1])
				continue
			}
			if anchor != "" && strings.HasSuffix(to, ".md") && !anchors(prose(t, to))[anchor] {
				t.Errorf("%s: %s leads to no heading of %s", page, l[1], to)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d links were looked at", checked)
	}
}

// Who looks for something finds it: each page is in the list of its folder, and each picture on a page.
func TestLinks_LeadToEveryPage(t *testing.T) {
	t.Parallel()
	linked := map[string]map[string]bool{} // by the page that links
	anywhere := map[string]bool{}
	for _, page := range pages(t) {
		linked[page] = map[string]bool{}
		for _, l := range link.FindAllStringSubmatch(prose(t, page), -1) {
			where, _, _ := strings.Cut(l[1], "#")
			to := path.Join(path.Dir(page), where)
			linked[page][to], anywhere[to] = true, true
		}
	}
	checked := 0
	for _, dir := range []string{"docs", "docs/decisions"} {
		entries, err := os.ReadDir(root + dir)
		ok(t, err)
		list := dir + "/README.md"
		for _, e := range entries {
			switch file := dir + "/" + e.Name(); {
			case e.IsDir() || file == list:
			case strings.HasSuffix(file, ".md") && !linked[list][file]:
				t.Errorf("%s does not link %s", list, file)
			case !anywhere[file]:
				t.Errorf("no page shows %s", file)
			default:
				checked++
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d files were looked for", checked)
	}
}

func TestLinks_AnchorsAreThoseOfGitHub(t *testing.T) {
	t.Parallel()
	got := anchors("# How it `works`: a_b, c/d\n## Same\n## Same\n### [A page](x.md#y)\n<a id=\"own\"></a>\n")
	for _, want := range []string{"how-it-works-a_b-cd", "same", "same-1", "a-page", "own"} {
		if !got[want] {
			t.Errorf("no %s in %v", want, got)
		}
	}
}

var (
	// commands are the languages of blocks that somebody types.
	commands = []string{"sh", "bash", "console", "sql"}
	// elsewhere are the pages whose blocks are run or written by tests of other packages, which see to all of them.
	elsewhere = map[string]string{"docs/lemmy.md": "test/lemmy", "docs/adapters.md": "test/adapter", "docs/sql.md": "pg"}
)

func TestCommands_EachIsRunByATest(t *testing.T) {
	t.Parallel()
	sources := testSources(t)
	for _, page := range pages(t) {
		if dir := elsewhere[page]; dir != "" {
			if !strings.Contains(sources[dir], `/`+page+`"`) {
				t.Errorf("no test of %s names %s", dir, page)
			}
			continue
		}
		followed := strings.Contains(sources["test/docs"], `follow("`+page+`"`)
		blocks, err := markdown.Blocks(root + page)
		ok(t, err)
		for i, b := range blocks {
			n := notes(b)
			switch at := fmt.Sprintf("%s:%d", page, b.Line); {
			case b.File() != "":
				text, err := os.ReadFile(root + b.File())
				ok(t, err)
				if string(text) != b.Text {
					t.Errorf("%s is not what %s says", at, b.File())
				}
			case len(n) == 0 && (b.Note != "" || slices.Contains(commands, b.Language)):
				t.Errorf("%s: %q does not say how this block is tested", at, b.Note)
			case len(n) > 0 && n[0][0] == "syntax":
				t.Logf("%s is not run: %s", at, n[0][1])
				bash(t, at, b.Text)
			case len(n) > 0 && !followed:
				t.Errorf("%s: no test follows this page", at)
			case len(n) > 0 && n[len(n)-1][0] == "look" && (i+1 == len(blocks) || blocks[i+1].Note != "shows"):
				t.Errorf("%s: nothing says what is to be seen, so it is not run", at)
			}
		}
	}
}

// testSources are the texts of the tests by their folder.
func testSources(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go"} {
		files, err := filepath.Glob(root + pattern)
		ok(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			ok(t, err)
			name, err := filepath.Rel(root, filepath.Dir(file))
			ok(t, err)
			texts[filepath.ToSlash(name)] += string(text)
		}
	}
	return texts
}

// What the program, the migrations and the files for deployment say of pages leads there too.
func TestLinks_OfProgramsLeadSomewhere(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile(`\bdocs/([\w/-]+\.md)(?:#([\w-]+))?`)
	checked := 0
	ok(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "test" || entry.Name() == ".git" || entry.Name() == "bin"):
			return fs.SkipDir
		case entry.IsDir() || !slices.Contains([]string{".go", ".sql", ".yaml", ".yml", ".service", ".txt", ".json", ""}, filepath.Ext(file)):
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, n := range named.FindAllStringSubmatch(string(text), -1) {
			checked++
			page := "docs/" + n[1]
			if _, err := os.Stat(root + page); err != nil {
				t.Errorf("%s: %s is not there", file, n[0])
			} else if n[2] != "" && !anchors(prose(t, page))[n[2]] {
				t.Errorf("%s: %s leads to no heading", file, n[0])
			}
		}
		return nil
	}))
	if checked < 30 {
		t.Errorf("only %d were looked at", checked)
	}
}
