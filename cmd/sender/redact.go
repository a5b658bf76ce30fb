package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
)

const secretMark = "(secret)"

// minSecret is the shortest value that is looked for by itself: a shorter one is found in ordinary words. What has the
// form of a secret is found whatever its length.
const minSecret = 6

// forms are texts that hold a secret whoever wrote them; the groups around it stay.
var forms = []*regexp.Regexp{
	regexp.MustCompile(`(?i)(\bpostgres(?:ql)?://[^\s:/?#@]*:)[^\s]+(@)`),
	regexp.MustCompile(`(?i)(\b(?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&]+)`),
	regexp.MustCompile(`(?i)(\bbearer\s+)[A-Za-z0-9\-._~+/]+=*`),
	regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)`),
}

// redactor takes secrets out of text. Its copies learn from each other.
type redactor struct {
	known *atomic.Pointer[strings.Replacer]
}

// newRedactor knows these values, as they are and as JSON, URLs and Go write them. A value that is also a name in the
// open, such as password "bob" of user "bob", is not looked for.
func newRedactor(secrets, open []string) redactor {
	r := redactor{&atomic.Pointer[strings.Replacer]{}}
	r.learn(secrets, open)
	return r
}

// learn has it know these values from here on, and no others.
func (r redactor) learn(secrets, open []string) {
	var pairs []string
	isOpen := map[string]bool{}
	for _, name := range open {
		isOpen[name] = true
	}
	for _, secret := range secrets {
		if len(secret) < minSecret || isOpen[secret] {
			continue
		}
		quoted, err := json.Marshal(secret)
		if err == nil {
			pairs = append(pairs, strings.Trim(string(quoted), `"`), secretMark)
		}
		pairs = append(pairs, secret, secretMark, url.QueryEscape(secret), secretMark, url.PathEscape(secret), secretMark,
			strings.TrimPrefix(url.UserPassword("", secret).String(), ":"), secretMark, strings.Trim(fmt.Sprintf("%q", secret), `"`), secretMark)
	}
	r.known.Store(strings.NewReplacer(pairs...))
}

func (r redactor) text(text string) string {
	text = r.known.Load().Replace(text)
	for _, form := range forms {
		text = form.ReplaceAllString(text, "${1}"+secretMark+"${2}")
	}
	return text
}

// redact knows the secrets of the configuration, as far as it was read, and those that the environment has for libraries.
func (a *app) redact() redactor {
	return newRedactor(append(librarySecrets(a.environment), a.secrets...), a.open)
}

// redactHandler is a slog.Handler that takes secrets out of messages and attributes before they are written.
type redactHandler struct {
	slog.Handler
	redactor redactor
}

func (h redactHandler) Handle(ctx context.Context, record slog.Record) error {
	// One line: a domain of a message could hold what looks like another one.
	clean := slog.NewRecord(record.Time, record.Level, safe(h.redactor.text(record.Message)), record.PC)
	record.Attrs(func(attr slog.Attr) bool {
		clean.AddAttrs(h.attr(attr))
		return true
	})
	return h.Handler.Handle(ctx, clean)
}

func (h redactHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, attr := range attrs {
		clean[i] = h.attr(attr)
	}
	return redactHandler{h.Handler.WithAttrs(clean), h.redactor}
}

func (h redactHandler) WithGroup(name string) slog.Handler {
	return redactHandler{h.Handler.WithGroup(name), h.redactor}
}

func (h redactHandler) attr(attr slog.Attr) slog.Attr {
	return slog.Attr{Key: attr.Key, Value: h.value(attr.Value.Resolve())}
}

func (h redactHandler) value(value slog.Value) slog.Value {
	switch value.Kind() {
	case slog.KindString:
		return slog.StringValue(h.redactor.text(value.String()))
	case slog.KindGroup:
		group := value.Group()
		clean := make([]slog.Attr, len(group))
		for i, attr := range group {
			clean[i] = h.attr(attr)
		}
		return slog.GroupValue(clean...)
	case slog.KindAny:
		return h.any(value)
	}
	return value
}

// any keeps a value as it is unless one of the ways in which handlers write it holds a secret.
func (h redactHandler) any(value slog.Value) slog.Value {
	var text string
	switch v := value.Any().(type) {
	case nil:
		return value
	case error:
		// Always as text: JSON would show an error's fields instead of what it says.
		return slog.StringValue(h.redactor.text(v.Error()))
	case []byte:
		text = string(v)
	default:
		text = fmt.Sprintf("%+v", v)
		if encoded, err := json.Marshal(v); err == nil && h.redactor.text(string(encoded)) != string(encoded) {
			return slog.StringValue(h.redactor.text(string(encoded)))
		}
	}
	if clean := h.redactor.text(text); clean != text {
		return slog.StringValue(clean)
	}
	return value
}
