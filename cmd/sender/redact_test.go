package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	planted = `s3cr%et@pass/word"x`
	token   = "t0ken-of-the-admin"
)

// leaky are things that somebody could log by mistake.
func leaky() []any {
	dsn := url.URL{Scheme: "postgres", User: url.UserPassword("app", planted), Host: "db"}
	type settings struct {
		DatabaseURL string
		Nested      map[string]string
	}
	return []any{
		dsn.String(),
		"can't parse " + dsn.String() + ": what",
		`host=db password='s3cr%et@pass/word"x' user=app`,
		fmt.Sprintf("%q", planted),
		errors.New("connect: " + planted),
		fmt.Errorf("wrapped: %w", errors.New(dsn.String())),
		[]byte(dsn.String()),
		settings{DatabaseURL: dsn.String(), Nested: map[string]string{"x": planted}},
		&settings{DatabaseURL: planted},
		[]string{dsn.String()},
		slog.GroupValue(slog.String("dsn", dsn.String())),
		"Authorization: Bearer " + token,
		"Bearer abcdef.unknown-token",
		"-----BEGIN RSA PRIVATE KEY-----\nMIIEunknown\n-----END RSA PRIVATE KEY-----\n",
		"cut off: -----BEGIN PRIVATE KEY-----\nMIIEunknown",
		"postgres://other:unknown-password@elsewhere/x",
		"password=unknown-password",
	}
}

func TestLog_NeverShowsASecret(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log := newLog(&out, format, slog.LevelDebug, newRedactor([]string{planted, token}, nil))
		for _, secret := range leaky() {
			log.Info("with an attribute", "secret", secret)
			log.With("secret", secret).WithGroup("group").Warn("with another", "x", 1)
			log.Error(fmt.Sprint("in the message: ", secret))
		}
		text := out.String()
		for _, part := range []string{"s3cr", "word", token, "unknown-password", "unknown-token", "MIIE"} {
			if part == "word" {
				text = strings.ReplaceAll(text, "password", "")
			}
			require.NotContains(t, text, part, format)
		}
		require.Contains(t, text, secretMark)
	}
}

func TestLog_KeepsWhatIsNoSecret(t *testing.T) {
	var out bytes.Buffer
	log := newLog(&out, "json", slog.LevelInfo, newRedactor([]string{"lemmy-db", "x", ""}, []string{"lemmy-db"}))
	log.Info("connected to lemmy-db", "domain", "toad.example", "wait", 5, "error", errors.New("503 Service Unavailable"))
	log.Debug("not shown")
	require.Contains(t, out.String(), `"msg":"connected to lemmy-db","domain":"toad.example","wait":5,"error":"503 Service Unavailable"`)
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
}

func TestLog_IsTextForPeople(t *testing.T) {
	var out bytes.Buffer
	newLog(&out, "text", slog.LevelInfo, newRedactor(nil, nil)).Info("toad.example: 3437 behind")
	require.Contains(t, out.String(), "INF toad.example: 3437 behind")
	require.NotContains(t, out.String(), "\x1b", "no colours in a file")
	out.Reset()
	newLog(&out, "auto", slog.LevelInfo, newRedactor(nil, nil)).Info("x")
	require.True(t, strings.HasPrefix(out.String(), "{"), "a file gets JSON")
}

func TestSafe_LeavesOnlyWhatStaysOnItsLine(t *testing.T) {
	require.Equal(t, "a b[31mc d", safe("a\nb\x1b[31mc\t\u202e\u200b\u2028d"))
	require.Equal(t, "grüße 日本", safe("grüße 日本"))
	require.Equal(t, "abcde", shorten("abcde", 5))
	require.Equal(t, "abcd…", shorten("abcdef", 5))
}

func FuzzSafe(f *testing.F) {
	f.Add("a\x1b[2Jb")
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range safe(text) {
			if r < ' ' || r == 0x7f || r == '\u202e' {
				t.Fatalf("%q keeps %q", text, r)
			}
		}
	})
}
