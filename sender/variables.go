package sender

import (
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v10"
)

// Variable is one variable of the environment, as people read about it.
type Variable struct {
	Name     string // SENDER_MAX_IN_FLIGHT
	Flag     string // max-in-flight
	Default  string // as text; empty: none
	Unit     string
	Usage    string
	Secret   bool   // its value is never shown
	FileName string // the variable that names a file with the value; empty: none

	field string // of Config
}

// Variables lists what ParseConfig reads, in the order of Config's fields.
func Variables() []Variable {
	config := reflect.TypeFor[Config]()
	var variables []Variable
	for i := range config.NumField() {
		tag := config.Field(i).Tag
		if tag.Get("env") == "" {
			break // Config's last fields are for who embeds it
		}
		v := Variable{
			Name:    tag.Get("env"),
			Default: tag.Get("envDefault") + tag.Get("default"),
			Unit:    tag.Get("unit"),
			Usage:   tag.Get("usage"),
			Secret:  tag.Get("secret") != "",
			field:   config.Field(i).Name,
		}
		v.Flag = strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(v.Name, "SENDER_")), "_", "-")
		if v.Secret {
			v.FileName = v.Name + "_FILE"
		}
		variables = append(variables, v)
	}
	return variables
}

// Unknown returns the SENDER_ variables that ParseConfig does not read, sorted: most are slips of the pen. Those that
// Kubernetes makes for a service with the name "sender" are left out.
func Unknown(environment map[string]string) []string {
	known := map[string]bool{}
	for _, v := range Variables() {
		known[v.Name], known[v.FileName] = true, true
	}
	var unknown []string
	for name := range environment {
		byKubernetes := strings.HasPrefix(name, "SENDER_SERVICE_") || strings.HasPrefix(name, "SENDER_PORT")
		if strings.HasPrefix(name, "SENDER_") && !known[name] && !byKubernetes {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// maxSlips is how many letters of a name may be wrong for it to be recognised.
const maxSlips = 4

// Meant returns the variable whose name is nearest to one that is not known; empty: none is near.
func Meant(unknown string) (nearest string) {
	least := maxSlips + 1
	for _, v := range Variables() {
		if d := slips(unknown, v.Name); d < least {
			nearest, least = v.Name, d
		}
	}
	return nearest
}

// slips counts the letters to insert, leave out or replace (Levenshtein distance).
func slips(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, replaced)
		}
	}
	return row[len(b)]
}

// Bytes is a size. Its text is a number alone (bytes) or with KB, MB, GB (powers of 1000) or KiB, MiB, GiB (of 1024).
type Bytes int64

var byteUnits = []struct {
	suffix string
	size   Bytes
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// ParseBytes reads a size; units in any case.
func ParseBytes(text string) (Bytes, error) {
	number, size := strings.TrimSpace(text), Bytes(1)
	for _, unit := range byteUnits {
		if cut := len(number) - len(unit.suffix); cut > 0 && strings.EqualFold(number[cut:], unit.suffix) {
			number, size = strings.TrimSpace(number[:cut]), unit.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > int64(1<<62/size) {
		return 0, fmt.Errorf("%q is not a size such as 64MiB", text)
	}
	return Bytes(n) * size, nil
}

// String is the size in the largest unit that divides it.
func (b Bytes) String() string {
	for _, unit := range byteUnits[:3] {
		if b != 0 && b%unit.size == 0 {
			return fmt.Sprintf("%d%s", b/unit.size, unit.suffix)
		}
	}
	return fmt.Sprintf("%dB", int64(b))
}

// ParseDuration is [time.ParseDuration] with days in front, as in "7d" or "1d12h".
func ParseDuration(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	days, rest, found := strings.Cut(text, "d")
	if !found {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 16) // 65,535 days fit into a Duration
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 7d or 90s", text)
	}
	var more time.Duration
	if rest != "" {
		if more, err = time.ParseDuration(rest); err != nil || more < 0 {
			return 0, fmt.Errorf("%q is not a duration such as 7d or 90s", text)
		}
	}
	return time.Duration(n)*24*time.Hour + more, nil
}

// shapes says what the text of a value of each type must be.
var shapes = map[reflect.Type]string{
	reflect.TypeFor[int]():            "a whole number",
	reflect.TypeFor[bool]():           "true or false",
	reflect.TypeFor[time.Duration]():  "a duration with a unit, such as 30s",
	reflect.TypeFor[Bytes]():          "a size, such as 64MiB",
	reflect.TypeFor[slog.Level]():     "debug, info, warn or error",
	reflect.TypeFor[[]netip.Prefix](): "a list of networks, such as 10.0.0.0/8,fd00::/8",
}

func parsers() map[reflect.Type]env.ParserFunc {
	return map[reflect.Type]env.ParserFunc{
		reflect.TypeFor[time.Duration]():  func(v string) (any, error) { return ParseDuration(v) },
		reflect.TypeFor[Bytes]():          func(v string) (any, error) { return ParseBytes(v) },
		reflect.TypeFor[bool]():           func(v string) (any, error) { return parseSwitch(v) },
		reflect.TypeFor[[]netip.Prefix](): func(v string) (any, error) { return parsePrefixes(v) },
	}
}

func parseSwitch(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "on", "yes":
		return true, nil
	case "off", "no":
		return false, nil
	}
	return strconv.ParseBool(text)
}

// parsePrefixes takes single addresses too.
func parsePrefixes(text string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		if addr, err := netip.ParseAddr(part); err == nil && addr.Zone() == "" {
			prefixes = append(prefixes, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, err
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}
