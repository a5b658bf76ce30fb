package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/sender"
)

// verbs are those of docs/commands.md, which is written by the program, each with its flags. Those of variables are all verbs'.
func verbs(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(root + "docs/commands.md")
	ok(t, err)
	common := []string{"help"}
	for _, v := range sender.Variables() {
		common = append(common, v.Flag)
	}
	found := map[string][]string{}
	for _, section := range strings.Split(string(text), "\n## `sender ")[1:] {
		name := regexp.MustCompile(`^[a-z-]+( [a-z]+\b)?`).FindString(section)
		flags := slices.Clone(common)
		for _, f := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(section, -1) {
			flags = append(flags, f[1])
		}
		found[name] = flags
		verb, _, _ := strings.Cut(name, " ")
		found[verb] = append(found[verb], flags...)
	}
	return found
}

// otherWords are verbs in no list, for packagers and for who starts the program, and what doctor and status call the processes.
var otherWords = []string{"man", "healthcheck", "help", "process", "processes"}

var (
	typed     = regexp.MustCompile("(?m)(?:^|`|run: |[ (;|])sender ([a-z][a-z-]*)((?: [^`\n|;#()]*)?)")
	typedFlag = regexp.MustCompile(`(?:^| )--([a-z][a-z-]*)`)
	inCode    = regexp.MustCompile("(?s)```.*?```|`[^`\n]+`")
)

func TestNames_OfVerbsAndFlagsAreThere(t *testing.T) {
	t.Parallel()
	known := verbs(t)
	checked := 0
	for _, page := range pages(t) {
		if page == "docs/commands.md" || strings.HasPrefix(page, "docs/decisions/") {
			continue
		}
		text, err := os.ReadFile(root + page)
		ok(t, err)
		for _, c := range inCode.FindAllString(string(text), -1) {
			if strings.HasPrefix(c, "```") && !strings.HasPrefix(c, "```sh") {
				continue // what is printed, configuration, SQL
			}
			c = strings.ReplaceAll(c, "role sender", "role")
			for _, found := range typed.FindAllStringSubmatch(c, -1) {
				checked++
				flags, isVerb := known[found[1]]
				if !isVerb && !slices.Contains(otherWords, found[1]) {
					t.Errorf("%s: there is no verb in %q", page, found[0])
				}
				for _, f := range typedFlag.FindAllStringSubmatch(found[2], -1) {
					if isVerb && !slices.Contains(flags, f[1]) {
						t.Errorf("%s: %s has no flag --%s", page, found[1], f[1])
					}
				}
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d were looked up", checked)
	}
}
