package sender

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v10"
	"go.opentelemetry.io/otel/trace"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/deliver/sign"
	"github.com/fedsender/fedsender/migrations"
	"github.com/fedsender/fedsender/pg"
)

// Config is all that Run can be told. Make it with [ParseConfig], which fills in the defaults and checks the values; a
// Config made by hand is not checked. Printing or logging it shows no secret.
//
// The tags are the documentation that `sender run --help` prints: unit is what a value is counted in, usage one line.
type Config struct {
	DatabaseURL      string `env:"DATABASE_URL" secret:"file" unit:"URL or key=value" usage:"the Postgres database; without it the PG* variables say where"`
	LeaseDatabaseURL string `env:"SENDER_LEASE_DATABASE_URL" secret:"file" unit:"URL or key=value" usage:"a direct connection for leases and LISTEN, when DATABASE_URL goes through a transaction pooler"`
	Source           string `env:"SENDER_SOURCE" envDefault:"auto" unit:"auto, a name or a folder" usage:"whose tables are read; auto: what the schema was made for"`
	Name             string `env:"SENDER_NAME" default:"host name and pid" unit:"text" usage:"what this process is called in views, metrics and logs"`

	AdminAddr  string `env:"SENDER_ADMIN_ADDR" default:"127.0.0.1:9464" unit:"HOST:PORT" usage:"where the status page, /healthz, /readyz and /metrics are served; empty: nowhere"`
	AdminToken string `env:"SENDER_ADMIN_TOKEN" secret:"file" unit:"text" usage:"what opens the page and /debug/pprof; without it browsers on this machine may read the page, and nobody may act"`

	LogFormat string     `env:"SENDER_LOG_FORMAT" envDefault:"auto" unit:"auto|text|json" usage:"auto: text on a terminal, else json"`
	LogLevel  slog.Level `env:"SENDER_LOG_LEVEL" envDefault:"info" unit:"debug|info|warn|error" usage:"what is logged, and all that is worse"`

	MaxInFlight            int           `env:"SENDER_MAX_IN_FLIGHT" envDefault:"1024" unit:"deliveries" usage:"at one time in the whole process"`
	MaxInFlightPerInstance int           `env:"SENDER_MAX_IN_FLIGHT_PER_INSTANCE" envDefault:"16" unit:"deliveries" usage:"at one time to one instance"`
	MaxLeases              int           `env:"SENDER_MAX_LEASES" envDefault:"0" unit:"instances" usage:"that this process delivers to at most; 0: no limit"`
	RequestTimeout         time.Duration `env:"SENDER_REQUEST_TIMEOUT" default:"30s" unit:"duration" usage:"for one delivery, its redirects included; some sources have a longer default"` // 0: not set
	ShutdownTimeout        time.Duration `env:"SENDER_SHUTDOWN_TIMEOUT" envDefault:"30s" unit:"duration" usage:"how long deliveries in flight may take to end after SIGTERM"`
	CacheBytes             Bytes         `env:"SENDER_CACHE_BYTES" envDefault:"64MiB" unit:"bytes" usage:"memory for activities read ahead, whatever the backlog"`

	Signer                string         `env:"SENDER_SIGNER" envDefault:"auto" unit:"auto|libcrypto|go" usage:"what makes the RSA signatures; auto: OpenSSL's libcrypto where there is one, else Go, which takes three times as long"`
	AllowPrivateAddresses []netip.Prefix `env:"SENDER_ALLOW_PRIVATE_ADDRESSES" default:"none" unit:"CIDR list" usage:"networks that may be sent to although they are not public; opens all ports"`
	AllowHTTP             bool           `env:"SENDER_ALLOW_HTTP" envDefault:"false" unit:"true|false" usage:"send to http:// inboxes and to any port, for tests"`
	ConnectTo             string         `env:"SENDER_CONNECT_TO" unit:"HOST:PORT" usage:"make every connection to there, names and TLS SNI unchanged, for tests"`
	CAFile                string         `env:"SENDER_CA_FILE" unit:"PEM file" usage:"certificates that are trusted besides the system's"`
	UserAgent             string         `env:"SENDER_USER_AGENT" default:"fedsender (+URL)" unit:"text" usage:"the User-Agent of the deliveries; best with your server's URL in it"`
	Retention             time.Duration  `env:"SENDER_RETENTION" envDefault:"0" unit:"duration" usage:"delete settled activities that are older and no dead letter's; 0: keep them"`

	SendTraceparent  bool `env:"SENDER_SEND_TRACEPARENT" envDefault:"false" unit:"true|false" usage:"deliveries whose trace is kept carry the header traceparent, for receivers of your own"`
	MetricsInstances int  `env:"SENDER_METRICS_INSTANCES" envDefault:"0" unit:"instances" usage:"that /metrics names, those that are behind the longest and those that fail most; 0: none"`

	Version string       // shown in process_status and metrics
	Log     *slog.Logger // slog.Default() when nil

	// TracerProvider makes the tracer of the deliveries; nil: there are no traces. It is not shut down.
	TracerProvider trace.TracerProvider

	Reload Reload              // how Run learns of new secrets; the zero value: not at all
	Notify func(Phase, string) // when set, is told what a service manager wants to know; see [Phase]
}

const (
	defaultAdminAddr = "127.0.0.1:9464"

	// maxMaxInFlight is the number of ports that one address has for connections to another one.
	maxMaxInFlight = 65535
	// maxMaxPerInstance is the limit of instance_control.max_in_flight in the database.
	maxMaxPerInstance = 1000
	// maxMetricsInstances keeps what Prometheus has to keep for each of them, for as long as it keeps anything, within reason.
	maxMetricsInstances = 1000
	// minCacheBytes holds one activity of the largest size and what is parsed of it.
	minCacheBytes = 4 << 20
	// maxNameBytes leaves room for the rest of an application_name, which Postgres cuts at 63 bytes.
	maxNameBytes = 48
)

type limits struct {
	least, most int
	zero        string // what 0 means; empty: nothing special
}

func (l limits) text() string {
	if l.zero != "" {
		return fmt.Sprintf("0 (%s) or at most %d", l.zero, l.most)
	}
	return fmt.Sprintf("from %d to %d", l.least, l.most)
}

// ranges are what whole numbers must be in.
var ranges = map[string]limits{
	"SENDER_MAX_IN_FLIGHT":              {1, maxMaxInFlight, ""},
	"SENDER_MAX_IN_FLIGHT_PER_INSTANCE": {1, maxMaxPerInstance, ""},
	"SENDER_MAX_LEASES":                 {0, math.MaxInt32, "no limit"}, // an instance's id is no larger
	"SENDER_METRICS_INSTANCES":          {0, maxMetricsInstances, "none"},
}

// ConfigError is a variable with a wrong value, or two that exclude each other.
type ConfigError struct {
	Variable string // as in the environment
	Problem  string // goes on after the variable's name: "must be …"
}

func (e *ConfigError) Error() string { return e.Variable + " " + e.Problem }

func wrong(variable, format string, args ...any) error {
	return &ConfigError{Variable: variable, Problem: fmt.Sprintf(format, args...)}
}

// Environ is the process's environment as ParseConfig takes it.
func Environ() map[string]string { return env.ToMap(os.Environ()) }

// ParseConfig reads the configuration from an environment (see [Environ]). Its error is a [*ConfigError]: one sentence
// that names the variable and never shows the value of a secret. It reads the files of the _FILE variables and of
// SENDER_CA_FILE, and does not look at the database.
func ParseConfig(environment map[string]string) (Config, error) {
	environment, err := readSecretFiles(environment)
	if err != nil {
		return Config{}, err
	}
	config := Config{AdminAddr: defaultAdminAddr, Name: defaultName(), UserAgent: deliver.DefaultUserAgent}
	if err := env.ParseWithOptions(&config, env.Options{Environment: environment, FuncMap: parsers()}); err != nil {
		return Config{}, describe(err, environment)
	}
	if value, set := environment["SENDER_ADMIN_ADDR"]; set && value == "" {
		config.AdminAddr = ""
	}
	if environment["SENDER_REQUEST_TIMEOUT"] != "" && config.RequestTimeout == 0 {
		return Config{}, wrong("SENDER_REQUEST_TIMEOUT", "must be from 1s to 10m, not 0s")
	}
	if err := config.check(); err != nil {
		return Config{}, err
	}
	return config, nil
}

// ParseDatabaseURL reads DATABASE_URL or DATABASE_URL_FILE alone, for commands that need no more. It is empty when
// neither is set: then the PG* variables say where the database is.
func ParseDatabaseURL(environment map[string]string) (string, error) {
	environment, err := readSecretFiles(environment)
	return environment["DATABASE_URL"], err
}

// ParseAdminAddr reads SENDER_ADMIN_ADDR alone. It is empty where nothing is served.
func ParseAdminAddr(environment map[string]string) (string, error) {
	address, set := environment["SENDER_ADMIN_ADDR"]
	if !set {
		return defaultAdminAddr, nil
	}
	if checkHostPort(address) != nil {
		return "", wrong("SENDER_ADMIN_ADDR", "must be HOST:PORT or empty, not %q", address)
	}
	return address, nil
}

func (c *Config) check() error {
	switch c.Signer {
	case sign.Auto, sign.Libcrypto, sign.OnlyGo:
	case sign.Batch:
		return wrong("SENDER_SIGNER", "batch is not in this version; use auto, libcrypto or go")
	default:
		return wrong("SENDER_SIGNER", "must be auto, libcrypto or go, not %q", c.Signer)
	}
	if names := pg.SourceNames(); c.Source != "auto" && !slices.Contains(names, c.Source) && !migrations.IsFolder(c.Source) {
		return wrong("SENDER_SOURCE", "must be auto, %s or a folder such as ./%s, not %[2]q", strings.Join(names, ", "), c.Source)
	}
	switch c.LogFormat {
	case "auto", "text", "json":
	default:
		return wrong("SENDER_LOG_FORMAT", "must be auto, text or json, not %q", c.LogFormat)
	}
	if err := c.checkNumbers(); err != nil {
		return err
	}
	return c.checkText()
}

func (c *Config) checkNumbers() error {
	for _, set := range []struct {
		variable string
		value    int
	}{
		{"SENDER_MAX_IN_FLIGHT", c.MaxInFlight},
		{"SENDER_MAX_IN_FLIGHT_PER_INSTANCE", c.MaxInFlightPerInstance},
		{"SENDER_MAX_LEASES", c.MaxLeases},
		{"SENDER_METRICS_INSTANCES", c.MetricsInstances},
	} {
		if limits := ranges[set.variable]; set.value < limits.least || set.value > limits.most {
			return wrong(set.variable, "must be %s, not %d", limits.text(), set.value)
		}
	}
	switch {
	case c.RequestTimeout != 0 && (c.RequestTimeout < time.Second || c.RequestTimeout > 10*time.Minute):
		return wrong("SENDER_REQUEST_TIMEOUT", "must be from 1s to 10m, not %s", c.RequestTimeout)
	case c.ShutdownTimeout < time.Second || c.ShutdownTimeout > time.Hour:
		return wrong("SENDER_SHUTDOWN_TIMEOUT", "must be from 1s to 1h, not %s", c.ShutdownTimeout)
	case c.CacheBytes < minCacheBytes:
		return wrong("SENDER_CACHE_BYTES", "must be %s or more, not %s", Bytes(minCacheBytes), c.CacheBytes)
	case c.Retention < 0:
		return wrong("SENDER_RETENTION", "must be 0 (keep) or more, not %s", c.Retention)
	}
	return nil
}

func (c *Config) checkText() error {
	if err := checkAdminToken(c.AdminToken); err != nil {
		return err
	}
	if c.Name == "" || len(c.Name) > maxNameBytes || strings.ContainsFunc(c.Name, isNoNameRune) {
		return wrong("SENDER_NAME", "must be 1 to %d printable ASCII characters without spaces, not %q", maxNameBytes, c.Name)
	}
	if err := checkHostPort(c.AdminAddr); err != nil {
		return wrong("SENDER_ADMIN_ADDR", "must be HOST:PORT or empty, not %q", c.AdminAddr)
	}
	if err := checkHostPort(c.ConnectTo); err != nil {
		return wrong("SENDER_CONNECT_TO", "must be HOST:PORT, not %q", c.ConnectTo)
	}
	if strings.ContainsFunc(c.UserAgent, func(r rune) bool { return r < ' ' || r > '~' }) {
		return wrong("SENDER_USER_AGENT", "must be one line of printable ASCII")
	}
	return c.checkCAFile()
}

func checkAdminToken(token string) *ConfigError {
	if token != "" && strings.TrimSpace(token) == "" {
		return &ConfigError{"SENDER_ADMIN_TOKEN", "is blank, and anybody could guess it; give it a long random value, or leave it unset"}
	}
	if strings.ContainsAny(token, "\r\n") {
		return &ConfigError{"SENDER_ADMIN_TOKEN", "has a line break inside, so that nobody can enter it; give it one line"}
	}
	return nil
}

func (c *Config) checkCAFile() error {
	client, err := deliver.NewClient(deliver.Config{CAFile: c.CAFile})
	if unread := (*os.PathError)(nil); errors.As(err, &unread) {
		return wrong("SENDER_CA_FILE", "can't be read: %s", unread)
	}
	if errors.Is(err, deliver.ErrCAFileTooLong) {
		return wrong("SENDER_CA_FILE", "can't be used: %s", deliver.ErrCAFileTooLong)
	}
	if err != nil {
		return wrong("SENDER_CA_FILE", "holds no certificate in PEM: %s", c.CAFile)
	}
	client.Close()
	return nil
}

func checkHostPort(addr string) error {
	if addr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err
}

func isNoNameRune(r rune) bool { return r <= ' ' || r > '~' }

func defaultName() string {
	pid := "-" + strconv.Itoa(os.Getpid())
	host, _ := os.Hostname()
	host = strings.Map(func(r rune) rune {
		if isNoNameRune(r) {
			return -1
		}
		return r
	}, host)
	if host == "" {
		host = "sender"
	}
	return host[:min(len(host), maxNameBytes-len(pid))] + pid
}

// readSecretFiles returns the environment with each secret whose _FILE variable is set, less the line end that
// editors and `echo` leave behind it.
func readSecretFiles(environment map[string]string) (map[string]string, error) {
	read := make(map[string]string, len(environment))
	for key, value := range environment {
		read[key] = value
	}
	for _, v := range Variables() {
		file := environment[v.FileName]
		if !v.Secret || file == "" {
			continue
		}
		if environment[v.Name] != "" {
			return nil, wrong(v.FileName, "and %s are both set; keep one of them", v.Name)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, wrong(v.FileName, "can't be read: %s", err)
		}
		read[v.Name] = strings.TrimRight(string(content), "\r\n")
		if read[v.Name] == "" {
			return nil, wrong(v.FileName, "names an empty file: %s", file)
		}
	}
	return read, nil
}

// describe makes the first of the parser's errors a ConfigError.
func describe(err error, environment map[string]string) error {
	var all env.AggregateError
	if errors.As(err, &all) && len(all.Errors) > 0 {
		err = all.Errors[0]
	}
	var one env.ParseError
	if !errors.As(err, &one) {
		return err
	}
	field, _ := reflect.TypeFor[Config]().FieldByName(one.Name)
	name := field.Tag.Get("env")
	if errors.Is(one.Err, strconv.ErrRange) && one.Type.Kind() == reflect.Int {
		return wrong(name, "must be %s, not %s", ranges[name].text(), environment[name])
	}
	return wrong(name, "must be %s, not %q", shapes[one.Type], environment[name])
}

// String shows all but the secrets.
func (c Config) String() string {
	var b strings.Builder
	value := reflect.ValueOf(c)
	for _, v := range Variables() {
		shown := fmt.Sprint(value.FieldByName(v.field).Interface())
		if v.Secret && shown != "" {
			shown = "(secret)"
		}
		fmt.Fprintf(&b, " %s=%q", v.Name, shown)
	}
	return strings.TrimSpace(b.String())
}

// GoString is String, so that %#v shows no secret either.
func (c Config) GoString() string { return c.String() }

// LogValue is String, so that slog shows no secret.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }
