package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/test/fleet"
)

const (
	// profileToken opens the profiles of the senders.
	profileToken = "profiles"
	// profileSeconds is how long one is taken.
	profileSeconds = 2
)

// profile takes all profiles of a sender at one time, into the directory that FEDSENDER_BENCH_PROFILES names, and returns
// what waits for them. Figures of a run with profiles are not worth much.
func (s *stage) profile(name string, one *fleet.Sender) (wait func()) {
	s.tb.Helper()
	dir := os.Getenv("FEDSENDER_BENCH_PROFILES")
	if dir == "" {
		return func() {}
	}
	name = strings.NewReplacer(", ", "-", " ", "-", "/", "-").Replace(name)
	var group conc.WaitGroup
	for _, kind := range []string{"profile", "allocs", "mutex", "block"} {
		group.Go(func() {
			if err := save(s.ctx, one, kind, filepath.Join(dir, name+"."+kind+".pprof")); err != nil {
				s.tb.Errorf("profile %s: %v", one.Name, err)
			}
		})
	}
	return group.Wait
}

func save(ctx context.Context, one *fleet.Sender, kind, path string) error {
	address, err := one.Admin(ctx)
	if err != nil {
		return err
	}
	url := fmt.Sprintf("http://%s/debug/pprof/%s?seconds=%d", address, kind, profileSeconds)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+profileToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // #nosec G301: profiles are nobody's secret
		return err
	}
	return os.WriteFile(path, text, 0o644) // #nosec G306: neither are these
}
