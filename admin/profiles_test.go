package admin_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"

	"github.com/sourcegraph/conc"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/admin"
	"github.com/fedsender/fedsender/admin/access"
)

// contend has two goroutines fight for a lock until done is closed.
func contend(done <-chan struct{}) {
	var mu sync.Mutex
	var group conc.WaitGroup
	for range 2 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					mu.Lock()
					runtime.Gosched()
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
}

func TestHandler_NotesWaitsOnlyWhileTheirProfileIsTaken(t *testing.T) {
	cfg := config()
	cfg.Token = func() string { return "t0ken" }
	for _, name := range []string{"mutex", "block"} {
		done := make(chan struct{})
		var group conc.WaitGroup
		group.Go(func() { contend(done) })
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/pprof/"+name+"?seconds=1", nil)
		request.Header.Set("Authorization", "Bearer t0ken")
		answer := httptest.NewRecorder()
		admin.Handler(cfg).ServeHTTP(answer, request)
		close(done)
		group.Wait()
		require.Equal(t, 200, answer.Code)
		text, err := gzip.NewReader(answer.Body)
		require.NoError(t, err)
		profile, err := io.ReadAll(text)
		require.NoError(t, err)
		require.Contains(t, string(profile), "admin_test.contend", "the %s profile has the lock", name)
		require.Zero(t, runtime.SetMutexProfileFraction(-1), "locks are noted after the %s profile", name)
	}
	status, body, _ := get(t, cfg, "/metrics", "")
	require.Equal(t, 200, status)
	require.Contains(t, body, "\ngo_cpu_classes_gc_total_cpu_seconds_total ")
}

func TestHandler_OpensProfilesToASession(t *testing.T) {
	cfg := config()
	cfg.Token = func() string { return "t0ken" }
	login := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", nil)
	cookie, _ := access.New(cfg.Token).Login(login, "t0ken")
	for want, session := range map[int]*http.Cookie{200: cookie, 401: {Name: cookie.Name, Value: "x"}} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/pprof/cmdline", nil)
		request.AddCookie(session)
		answer := httptest.NewRecorder()
		admin.Handler(cfg).ServeHTTP(answer, request)
		require.Equal(t, want, answer.Code)
	}
}
