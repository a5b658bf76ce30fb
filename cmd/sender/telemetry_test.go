package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
)

// inbox is a receiver that tells which traces its requests belong to.
type inbox struct {
	*httptest.Server

	mu      sync.Mutex
	parents []string // headers traceparent
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	i := &inbox{}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		i.mu.Lock()
		defer i.mu.Unlock()
		i.parents = append(i.parents, r.Header.Get("Traceparent"))
		if strings.Contains(r.URL.Path, "refuse") {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *inbox) got() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]string(nil), i.parents...)
}

func newKeyPEM(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func TestTraces_GoFromTheRowToTheCursorBelowTheApplicationsTrace(t *testing.T) {
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	url, environment := migrated(t)
	conn := fill(t, url)
	_, err := conn.Exec(t.Context(), `update fedsender.actor set private_key_pem = $1`, newKeyPEM(t))
	require.NoError(t, err)
	traces, receiver, address := newCollector(t), newInbox(t), freeAddress(t)
	cmd := command(t, append(environment, "SENDER_ADMIN_ADDR="+address, "SENDER_ALLOW_HTTP=on", "SENDER_ALLOW_PRIVATE_ADDRESSES=127.0.0.0/8",
		"SENDER_SEND_TRACEPARENT=on", "OTEL_EXPORTER_OTLP_ENDPOINT="+traces.URL, "OTEL_BSP_SCHEDULE_DELAY=100"), "run")
	log := &journal{}
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()
	awaitStatus(t, address, "/readyz", "", http.StatusOK)

	insert := func(id, traceparent, path string) {
		_, err := conn.Exec(t.Context(), `
			insert into fedsender.activity (ap_id, actor_id, data, send_inboxes, traceparent)
			values ($1, 1, $2::json, array[$3], nullif($4, ''))`, id, document(id), receiver.URL+path, traceparent)
		require.NoError(t, err)
	}
	// Not to be kept. What brings an instance into being is read again for it, past the head.
	insert("https://here.example/a/0", "00-"+trace+"-"+parent+"-00", "/users/bob/inbox")
	require.Eventually(t, func() bool {
		return len(receiver.got()) == 1 && strings.Contains(get(t, address, "/metrics", "", ""), "\nfedsender_instances_behind 0\n")
	}, 20*time.Second, 20*time.Millisecond, log)
	insert("https://here.example/a/1", "00-"+trace+"-"+parent+"-01", "/users/bob/inbox")
	await(t, traces, "cursor", 1)
	insert("https://here.example/a/2", "what is no traceparent", "/refuse/inbox")
	await(t, traces, "cursor", 2)
	exemplars := get(t, address, "/metrics", "", "application/openmetrics-text; version=1.0.0")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), log.String())

	spans, raw, _ := traces.got()
	require.Len(t, named(spans, "activity"), 2, "the application did not want the first to be kept")
	require.Contains(t, exemplars, `trace_id="`+trace+`"`)
	var kept []*otlp.Span
	for _, span := range spans {
		if hex.EncodeToString(span.GetTraceId()) == trace {
			kept = append(kept, span)
		}
	}
	below := map[string]string{"activity": "", "read": "activity", "targets": "activity", "delivery": "activity", "wait": "delivery", "POST": "delivery",
		"sign": "POST", "cursor": "delivery"}
	for name, above := range below {
		require.Len(t, named(kept, name), 1, name)
		span := named(kept, name)[0]
		require.GreaterOrEqual(t, span.GetEndTimeUnixNano(), span.GetStartTimeUnixNano(), name)
		if above == "" {
			require.Equal(t, parent, hex.EncodeToString(span.GetParentSpanId()))
			continue
		}
		require.Equal(t, named(kept, above)[0].GetSpanId(), span.GetParentSpanId(), "%s is below %s", name, above)
	}
	require.Len(t, kept, len(below))
	require.Equal(t, otlp.Status_STATUS_CODE_ERROR, named(spans, "POST")[1].GetStatus().GetCode(), "403")

	carried := receiver.got()
	require.Empty(t, carried[0], "what is not kept is no trace to anybody")
	require.Equal(t, "00-"+trace+"-"+hex.EncodeToString(named(kept, "POST")[0].GetSpanId())+"-01", carried[1])
	for _, private := range []string{"/users/bob", "/refuse", "here.example/n/1", "here.example/a/1", "PRIVATE KEY"} {
		require.NotContains(t, string(raw), private, "spans have no paths, bodies or keys")
	}
}

// await waits for so many spans with a name.
func await(t *testing.T, c *collector, name string, count int) {
	t.Helper()
	require.Eventually(t, func() bool { spans, _, _ := c.got(); return len(named(spans, name)) >= count }, 20*time.Second, 20*time.Millisecond,
		"%d spans %s", count, name)
}

func get(t *testing.T, address, path, token, accept string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	require.NoError(t, err)
	if token != "" { // an empty one would count as a wrong one
		request.Header.Set("Authorization", "Bearer "+token)
	}
	request.Header.Set("Accept", accept)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

func TestTraces_AreOffUnlessAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		environment map[string]string
		wanted      bool
		says        string
	}{
		"nothing":        {nil, false, ""},
		"an endpoint":    {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, true, ""},
		"one for traces": {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, true, ""},
		"the exporter":   {map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true, ""},
		"none":           {map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, false, ""},
		"disabled":       {map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, false, ""},
		"another":        {map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, "OTEL_TRACES_EXPORTER must be otlp or none"},
		"gRPC":           {map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, false, "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"},
	} {
		t.Run(name, func(t *testing.T) {
			wanted, err := tracesWanted(c.environment)
			require.Equal(t, c.wanted, wanted)
			if c.says == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.says)
			}
		})
	}
}
