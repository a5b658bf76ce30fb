package charts

import (
	"bytes"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// project is what `docker compose config` reads.
func project(t *testing.T, dir string, files ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions(files, cli.WithName("test"), cli.WithWorkingDirectory(dir))
	ok(t, err)
	loaded, err := options.LoadProject(t.Context())
	ok(t, err)
	return loaded
}

func TestCompose_ReadsTheFiles(t *testing.T) {
	demo := project(t, root+"deploy/compose", root+"deploy/compose/demo.yaml")
	if len(demo.Services) != 6 || *demo.Services["sender"].Deploy.Replicas != 3 {
		t.Errorf("the demo is %+v", demo.Services)
	}
	both := project(t, "testdata", "testdata/compose.yaml", root+"deploy/compose/application.yaml")
	if both.Services["sender"].ReadOnly != true || len(both.Services) != 4 {
		t.Errorf("beside the application there is %+v", both.Services)
	}
	project(t, "testdata", "testdata/lemmy.yaml", root+"deploy/lemmy/compose.override.yaml")
}

func TestDockerfile_BuildKitReadsItWithoutAWarning(t *testing.T) {
	file, err := parser.Parse(bytes.NewReader(read(t, root+"Dockerfile")))
	ok(t, err)
	for _, warning := range file.Warnings {
		t.Errorf("%+v", warning)
	}
	stages, _, err := instructions.Parse(file.AST, linter.New(&linter.Config{
		Warn: func(name, _, _, message string, _ []parser.Range) { t.Errorf("%s: %s", name, message) },
	}))
	ok(t, err)
	if len(stages) != 2 {
		t.Errorf("it has %d stages", len(stages))
	}
}
