package charts

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"testing"
)

// digest is of all files of the chart and of the values; the tests of the program's module make the same.
func digest(t *testing.T) string {
	t.Helper()
	sum := sha256.New()
	for _, dir := range []string{chart, "values"} {
		ok(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := fs.ReadFile(os.DirFS(dir), path)
			fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
			return err
		}))
	}
	return fmt.Sprintf("%x\n", sum.Sum(nil))
}
