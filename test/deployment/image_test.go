package deployment

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func TestImage_TheContextHasEveryPackageOfTheProgram(t *testing.T) {
	const module = "github.com/fedsender/fedsender/"
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/sender")
	list.Dir = root
	packages, err := list.Output()
	ok(t, err)
	let := map[string]bool{}
	for _, line := range strings.Split(read(t, ".dockerignore"), "\n") {
		if path, through := strings.CutPrefix(line, "!"); through {
			let[path] = true
		}
	}
	for _, path := range strings.Fields(string(packages)) {
		path, ours := strings.CutPrefix(path, module)
		if !ours {
			continue
		}
		through := false
		for dir := path; dir != ""; {
			through = through || let[dir]
			end := strings.LastIndex(dir, "/")
			dir = dir[:max(end, 0)]
		}
		if !through {
			t.Errorf(".dockerignore keeps %s out", path)
		}
	}
}

func TestImage_IsMadeByTheGoOfTheModule(t *testing.T) {
	module := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	image := regexp.MustCompile(`(?m)^ARG GO=(.*)$`).FindStringSubmatch(read(t, "Dockerfile"))
	if module == nil || image == nil || module[1] != image[1] {
		t.Errorf("go.mod has %q, the Dockerfile %q", module, image)
	}
}
