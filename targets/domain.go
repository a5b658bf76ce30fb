package targets

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// maxURLBytes is where the sender refuses an inbox as too long.
const maxURLBytes = 4096

// DomainOf returns the domain of the instance that an inbox belongs to: its host in lower case, IDN in punycode, without
// a trailing dot, with the port unless that is the scheme's own. It takes every http and https URL that could be sent to
// under any policy; whether this one may be is not asked here. The error is one sentence for a person.
func DomainOf(rawURL string) (string, error) {
	if rawURL == "" {
		return "", fmt.Errorf("the inbox is empty")
	}
	if len(rawURL) > maxURLBytes {
		return "", fmt.Errorf("the inbox is longer than %d bytes", maxURLBytes)
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", fmt.Errorf("the inbox %q is not a URL", shorten(WithoutUser(rawURL)))
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("the inbox %q is not an https URL", shorten(WithoutUser(rawURL)))
	case u.Opaque != "" || u.Host == "":
		return "", fmt.Errorf("the inbox %q has no host", shorten(WithoutUser(rawURL)))
	case u.User != nil:
		// The user part may be a password: it is not repeated.
		return "", fmt.Errorf("the inbox on %q has a user name in its URL", shorten(u.Host))
	}
	return hostPort(u)
}

// WithoutUser is an inbox as it may be shown: what stands before its host is no name, and may be a password. Where it is not
// clear what the host is, because it is no URL, everything up to the last @ could be.
func WithoutUser(rawURL string) string {
	scheme, rest, found := strings.Cut(rawURL, "//")
	if !found {
		return rawURL
	}
	if _, err := url.Parse(rawURL); err != nil {
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			return scheme + "//…" + rest[at:]
		}
		return rawURL
	}
	host := strings.IndexAny(rest+"/", "/?#")
	return scheme + "//" + rest[strings.LastIndexByte(rest[:host], '@')+1:]
}

// hostPort is the host of u with its port, unless that is the one of u's scheme.
func hostPort(u *url.URL) (string, error) {
	host, ok := canonicalHost(u.Hostname())
	if !ok {
		return "", fmt.Errorf("the inbox host %q is not a valid domain name", shorten(u.Hostname()))
	}
	text := u.Port()
	if text == "" {
		return host, nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return "", fmt.Errorf("the inbox on %q has no valid port", shorten(u.Host))
	}
	if u.Scheme == "https" && port == 443 || u.Scheme == "http" && port == 80 {
		return host, nil
	}
	return host + ":" + strconv.FormatUint(port, 10), nil
}

// canonicalHost is a name in lower-case punycode or an address literal. Names that are ASCII already are not held
// against the rules of IDNA: DNS knows names like "r3---a.example" and decides.
func canonicalHost(raw string) (host string, ok bool) {
	host = raw
	if !isASCII(raw) {
		mapped, err := idna.Lookup.ToASCII(raw)
		if err != nil {
			return "", false
		}
		host = mapped
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return "", false
		}
		if addr = addr.Unmap(); addr.Is6() {
			return "[" + addr.String() + "]", true
		}
		return addr.String(), true
	}
	return host, isName(host)
}

// isName says whether host could be a DNS name. Numbers such as 0x7f.1 or 2130706433 are none: some resolvers read them
// as IPv4 addresses (WHATWG URL, "ends in a number").
func isName(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" {
		return false
	}
	digits, hex := strings.CutPrefix(last, "0x")
	return !hex || strings.Trim(digits, "0123456789abcdef") != ""
}

// domainKey is how a domain from a row is compared. A port stays as it is: without a scheme none is the default. What is
// no domain is equal to itself only.
func domainKey(domain string) string {
	if !strings.ContainsAny(domain, "/?#@\\ ") {
		if u, err := url.Parse("//" + domain); err == nil {
			if key, err := hostPort(u); err == nil {
				return key
			}
		}
	}
	return strings.ToLower(domain)
}

// shorten cuts what a stranger wrote to what fits in a sentence; %q handles what remains of a rune.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
