package main

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/fedsender/fedsender/sender"
)

const (
	// flushTimeout is for the last spans, when all else has ended.
	flushTimeout = 3 * time.Second
	// telemetryPause is left between two lines of the log about a collector that can't be reached.
	telemetryPause = time.Minute
)

// These variables are read by libraries, and may hold passwords.
var (
	telemetryHeaders   = []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"}
	telemetryEndpoints = []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
	proxies            = []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"}
)

// librarySecrets are what the environment has for libraries and must never be shown.
func librarySecrets(environment map[string]string) (secrets []string) {
	for _, name := range telemetryHeaders {
		for pair := range strings.SplitSeq(environment[name], ",") {
			_, value, _ := strings.Cut(pair, "=")
			secrets = append(secrets, strings.TrimSpace(value))
			if plain, err := url.PathUnescape(value); err == nil {
				_, credentials, _ := strings.Cut(strings.TrimSpace(plain), " ") // behind "Bearer" or "Basic"
				secrets = append(secrets, strings.TrimSpace(plain), credentials)
			}
		}
	}
	for _, name := range append(append([]string(nil), telemetryEndpoints...), proxies...) {
		if secret := urlPassword(environment[name]); secret != "" {
			secrets = append(secrets, secret)
		}
		if u, err := url.Parse(environment[name]); err == nil && u.User != nil {
			if password, ok := u.User.Password(); ok {
				secrets = append(secrets, password, base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
			}
		}
	}
	return secrets
}

// urlPassword is the password as it is written in a URL, even in one that can't be parsed.
func urlPassword(text string) string {
	if _, rest, found := strings.Cut(text, "://"); found {
		text = rest
	}
	at := strings.LastIndexByte(text, '@')
	if at < 0 {
		return ""
	}
	_, password, _ := strings.Cut(text[:at], ":")
	return password
}

// tracesWanted says whether the environment asks for traces, which are off unless it names where they go.
func tracesWanted(environment map[string]string) (bool, error) {
	if strings.EqualFold(environment["OTEL_SDK_DISABLED"], "true") {
		return false, nil
	}
	switch exporter := environment["OTEL_TRACES_EXPORTER"]; exporter {
	case "none":
		return false, nil
	case "otlp":
	case "":
		if environment[telemetryEndpoints[0]] == "" && environment[telemetryEndpoints[1]] == "" {
			return false, nil
		}
	default:
		return false, &sender.ConfigError{Variable: "OTEL_TRACES_EXPORTER", Problem: "must be otlp or none"}
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := environment[name]; protocol != "" {
			if protocol != "http/protobuf" {
				return false, &sender.ConfigError{Variable: name, Problem: "must be http/protobuf, the only protocol of this program"}
			}
			break
		}
	}
	return true, nil
}

// openTraces sends traces as the OTEL_ variables say; nil: they are off. Call end when nothing is traced any more.
func openTraces(ctx context.Context, environment map[string]string, config sender.Config) (provider *sdktrace.TracerProvider, end func(), err error) {
	wanted, err := tracesWanted(environment)
	if err != nil || !wanted {
		return nil, func() {}, err
	}
	// What the library would write to standard error goes through the log, which keeps secrets out.
	otel.SetLogger(logr.FromSlogHandler(config.Log.Handler()))
	otel.SetErrorHandler(&telemetryTrouble{log: config.Log})
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, failure{err}
	}
	described, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "fedsender"), attribute.String("service.version", config.Version),
		attribute.String("service.instance.id", config.Name)), resource.WithFromEnv())
	if err != nil {
		otel.Handle(err)
	}
	provider = sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	return provider, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			otel.Handle(err)
		}
	}, nil
}

// telemetryTrouble logs what is wrong with traces, now and then: deliveries do not depend on them.
type telemetryTrouble struct {
	log  *slog.Logger
	last atomic.Int64
}

func (t *telemetryTrouble) Handle(err error) {
	now := time.Now().UnixNano()
	last := t.last.Load()
	if errors.Is(err, context.Canceled) || last != 0 && now-last < int64(telemetryPause) || !t.last.CompareAndSwap(last, now) {
		return
	}
	t.log.Warn("traces are lost; deliveries go on", "error", safe(err.Error()))
}
