package sender_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/sender"
)

func TestParseConfig_HasTheDocumentedDefaults(t *testing.T) {
	config, err := sender.ParseConfig(map[string]string{})
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:9464", config.AdminAddr)
	require.Equal(t, 1024, config.MaxInFlight)
	require.Equal(t, 16, config.MaxInFlightPerInstance)
	require.Zero(t, config.RequestTimeout, "the source says")
	require.Equal(t, 30*time.Second, config.ShutdownTimeout)
	require.Equal(t, sender.Bytes(64<<20), config.CacheBytes)
	require.Equal(t, slog.LevelInfo, config.LogLevel)
	require.Equal(t, "auto", config.Source)
	require.NotEmpty(t, config.UserAgent)
	require.True(t, strings.HasSuffix(config.Name, fmt.Sprintf("-%d", os.Getpid())), config.Name)
	for _, v := range sender.Variables() {
		require.NotEmpty(t, v.Usage, v.Name)
		require.NotEmpty(t, v.Unit, v.Name)
	}
}

func TestParseConfig_ReadsEachKindOfValue(t *testing.T) {
	config, err := sender.ParseConfig(map[string]string{
		"SENDER_ADMIN_ADDR":              "",
		"SENDER_CACHE_BYTES":             "128 mb",
		"SENDER_RETENTION":               "7d12h",
		"SENDER_ALLOW_HTTP":              "on",
		"SENDER_ALLOW_PRIVATE_ADDRESSES": "10.1.2.3/8, ::1",
		"SENDER_LOG_LEVEL":               "DEBUG",
		"SENDER_MAX_IN_FLIGHT":           "7",
	})
	require.NoError(t, err)
	require.Empty(t, config.AdminAddr, "empty turns it off")
	require.Equal(t, sender.Bytes(128_000_000), config.CacheBytes)
	require.Equal(t, 7*24*time.Hour+12*time.Hour, config.Retention)
	require.True(t, config.AllowHTTP)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}, config.AllowPrivateAddresses)
	require.Equal(t, slog.LevelDebug, config.LogLevel)
	require.Equal(t, 7, config.MaxInFlight)
}

func TestParseConfig_NamesTheWrongVariableInOneSentence(t *testing.T) {
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(notPEM, []byte("nothing"), 0o600))
	for variable, values := range map[string][]string{
		"SENDER_SOURCE":                     {"mastodon"},
		"SENDER_NAME":                       {"two words", strings.Repeat("x", 100)},
		"SENDER_ADMIN_ADDR":                 {"9464", "host:http"},
		"SENDER_ADMIN_TOKEN":                {" ", "\t\n", "a\nb"},
		"SENDER_LOG_FORMAT":                 {"xml"},
		"SENDER_LOG_LEVEL":                  {"loud"},
		"SENDER_MAX_IN_FLIGHT":              {"many", "0", "-1", "70000"},
		"SENDER_MAX_IN_FLIGHT_PER_INSTANCE": {"0", "1001"},
		"SENDER_MAX_LEASES":                 {"-1"},
		"SENDER_METRICS_INSTANCES":          {"-1", "1001", "all"},
		"SENDER_REQUEST_TIMEOUT":            {"30", "0s", "1ms", "-1s", "forever"},
		"SENDER_SHUTDOWN_TIMEOUT":           {"0s"},
		"SENDER_CACHE_BYTES":                {"1", "lots", "9999999999GiB"},
		"SENDER_SIGNER":                     {"batch", "openssl"},
		"SENDER_ALLOW_PRIVATE_ADDRESSES":    {"10.0.0.0/33", "everything"},
		"SENDER_ALLOW_HTTP":                 {"maybe"},
		"SENDER_CONNECT_TO":                 {"localhost"},
		"SENDER_CA_FILE":                    {"/does/not/exist", notPEM},
		"SENDER_USER_AGENT":                 {"two\nlines"},
		"SENDER_RETENTION":                  {"7", "-1h", "d"},
		"DATABASE_URL_FILE":                 {"/does/not/exist"},
	} {
		for _, value := range values {
			_, err := sender.ParseConfig(map[string]string{variable: value})
			var wrong *sender.ConfigError
			require.ErrorAs(t, err, &wrong, "%s=%s", variable, value)
			require.Equal(t, variable, wrong.Variable)
			require.NotContains(t, err.Error(), "\n")
			require.NotContains(t, err.Error(), "parse error on field")
		}
	}
}

func TestParseConfig_ReadsSecretsFromFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(file, []byte("postgres://u:p%40ss@db/x\n"), 0o600))

	config, err := sender.ParseConfig(map[string]string{"DATABASE_URL_FILE": file, "SENDER_ADMIN_TOKEN_FILE": file})
	require.NoError(t, err)
	require.Equal(t, "postgres://u:p%40ss@db/x", config.DatabaseURL)
	require.Equal(t, config.DatabaseURL, config.AdminToken)

	alone, err := sender.ParseDatabaseURL(map[string]string{"DATABASE_URL_FILE": file, "SENDER_MAX_IN_FLIGHT": "wrong"})
	require.NoError(t, err)
	require.Equal(t, config.DatabaseURL, alone)

	_, err = sender.ParseConfig(map[string]string{"DATABASE_URL_FILE": file, "DATABASE_URL": "postgres://s3cret@"})
	require.ErrorContains(t, err, "DATABASE_URL_FILE and DATABASE_URL are both set")
	require.NotContains(t, err.Error(), "s3cret")

	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, []byte("\n"), 0o600))
	_, err = sender.ParseConfig(map[string]string{"DATABASE_URL_FILE": empty})
	require.ErrorContains(t, err, "empty file")
}

func TestConfig_PrintsNoSecret(t *testing.T) {
	config, err := sender.ParseConfig(map[string]string{
		"DATABASE_URL": "postgres://u:s3cret@db/x", "SENDER_LEASE_DATABASE_URL": "password=s3cret", "SENDER_ADMIN_TOKEN": "s3cret",
	})
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("start", "config", config, "pointer", &config)
	shown := fmt.Sprintf("%v %+v %#v %s %v", config, config, config, config, &config) + log.String()
	require.NotContains(t, shown, "s3cret")
	require.Contains(t, shown, "SENDER_MAX_IN_FLIGHT")
}

func TestParseConfig_SaysTheRangeOfWholeNumbers(t *testing.T) {
	for variable, says := range map[string]string{
		"SENDER_MAX_LEASES":    "must be 0 (no limit) or at most 2147483647, not 99999999999",
		"SENDER_MAX_IN_FLIGHT": "must be from 1 to 65535, not 99999999999",
	} {
		_, err := sender.ParseConfig(map[string]string{variable: "99999999999"})
		require.EqualError(t, err, variable+" "+says)
	}
}

func TestMeant_IsTheNearestVariable(t *testing.T) {
	require.Equal(t, "SENDER_MAX_LEASES", sender.Meant("SENDER_MAX_LEASE"))
	require.Equal(t, "SENDER_MAX_IN_FLIGHT", sender.Meant("SENDER_MAX_INFLIGHT"))
	require.Equal(t, "SENDER_NAME", sender.Meant("SENDER_NMAE"))
	require.Empty(t, sender.Meant("SENDER_PASSENGER_LIST"))
}

func TestUnknown_FindsSlipsOfThePen(t *testing.T) {
	require.Equal(t, []string{"SENDER_MAX_INFLIGHT"}, sender.Unknown(map[string]string{
		"SENDER_MAX_INFLIGHT": "1", "SENDER_MAX_IN_FLIGHT": "1", "SENDER_ADMIN_TOKEN_FILE": "x",
		"SENDER_PORT_9464_TCP": "tcp://10.0.0.1:9464", "SENDER_SERVICE_HOST": "10.0.0.1", "HOME": "/",
	}))
}

func TestBytes_TextComesBackAsTheSameSize(t *testing.T) {
	for _, size := range []sender.Bytes{0, 1, 1000, 1024, 1536, 64 << 20, 3 << 30} {
		again, err := sender.ParseBytes(size.String())
		require.NoError(t, err)
		require.Equal(t, size, again)
	}
}

func FuzzParseBytes(f *testing.F) {
	for _, text := range []string{"64MiB", "1 kb", "-1", "9223372036854775807GiB", "B"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if size, err := sender.ParseBytes(text); err == nil && size < 0 {
			t.Fatalf("%q is %d", text, size)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, text := range []string{"7d", "1d12h", "-1d", "99999d", "1h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := sender.ParseDuration(text)
		if err == nil && strings.Contains(text, "d") && d < 0 {
			t.Fatalf("%q is %s", text, d)
		}
	})
}

func TestVariables_AreAllDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/configuration.md")
	require.NoError(t, err)
	for _, v := range sender.Variables() {
		name := "`" + v.Name + "`"
		if v.FileName != "" {
			name += "<br>`" + v.FileName + "`"
		}
		row := fmt.Sprintf("| %s | `--%s` | ", name, v.Flag)
		require.Contains(t, string(page), row)
		_, rest, _ := strings.Cut(string(page), row)
		row, _, _ = strings.Cut(rest, "\n")
		require.Contains(t, strings.ReplaceAll(row, "`", ""), fmt.Sprintf("%s | %s | %s |", v.Default, strings.ReplaceAll(v.Unit, "|", `\|`), v.Usage), v.Name)
	}
}
