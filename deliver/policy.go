package deliver

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"code.dny.dev/ssrf"
	"golang.org/x/net/idna"
)

// Policy says where activities may be sent. Its zero value is right for the open internet: https to public addresses
// on ports 80 and 443.
type Policy struct {
	// AllowHTTP permits http:// and any port.
	AllowHTTP bool
	// AllowPrivate are networks that may be sent to although they are not public. With any of them, "localhost" and
	// any port are permitted too, because what runs there seldom has 443.
	AllowPrivate []netip.Prefix
	// RefusePorts refuses inboxes that name a port, unless it is the scheme's own or what is above opens all.
	RefusePorts bool
	// RefuseRedirects takes an answer of 307 or 308 for a failure.
	RefuseRedirects bool
}

// CheckInbox parses an inbox and checks all that can be known without DNS. The URL that comes back is the one to send
// to: host in lower case and punycode, no default port, no fragment, nothing that breaks a request line. Every error
// is an [*UnpreparableError].
func (p Policy) CheckInbox(raw string) (*url.URL, error) {
	if raw == "" {
		return nil, unpreparable("the inbox is empty")
	}
	if len(raw) > maxURLBytes {
		return nil, unpreparable("the inbox is longer than %d bytes", maxURLBytes)
	}
	shown := shorten(raw, 80)
	if at := strings.LastIndexByte(raw, '@'); at >= 0 {
		shown = shorten("…"+raw[at:], 80) // what stands before it may be a password: it is not repeated unless it is known to be none
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, unpreparable("the inbox %q is not a URL", shown)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, unpreparable("the inbox %q is not an https URL", shown)
	case u.Opaque != "" || u.Host == "":
		return nil, unpreparable("the inbox %q has no host", shown)
	case u.User != nil:
		return nil, unpreparable("the inbox on %q has a user name in its URL", shorten(u.Host, 80))
	case u.Scheme == "http" && !p.AllowHTTP:
		return nil, unpreparable("the inbox %q is http, which is not allowed (SENDER_ALLOW_HTTP)", shorten(raw, 80))
	}
	host, err := p.checkHost(u.Hostname())
	if err != nil {
		return nil, err
	}
	port, err := p.checkPort(u)
	if err != nil {
		return nil, err
	}
	clean := &url.URL{
		Scheme: u.Scheme, Host: host + port,
		Path: u.Path, RawPath: u.RawPath,
		RawQuery: escapeQuery(u.RawQuery), ForceQuery: u.ForceQuery,
	}
	if clean.Path == "" {
		clean.Path = "/"
	}
	return clean, nil
}

// checkPort returns ":port", or nothing for the scheme's own.
func (p Policy) checkPort(u *url.URL) (string, error) {
	text := u.Port()
	if text == "" {
		return "", nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	switch {
	case err != nil || port == 0:
		return "", unpreparable("the inbox on %q has no valid port", shorten(u.Host, 80))
	case u.Scheme == "https" && port == 443 || u.Scheme == "http" && port == 80:
		return "", nil
	case p.RefusePorts && !p.anyPort():
		return "", unpreparable("the inbox on %q names a port, which servers of this kind do not have", shorten(u.Host, 80))
	case port != 80 && port != 443 && !p.anyPort():
		return "", unpreparable("port %d of %q is not allowed, only 80 and 443", port, shorten(u.Host, 80))
	}
	return ":" + strconv.FormatUint(port, 10), nil
}

// checkHost returns the host as it goes into the URL: a name in lower-case punycode or an address literal.
func (p Policy) checkHost(raw string) (string, error) {
	host, err := asciiHost(raw)
	if err != nil {
		return "", err
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return "", unpreparable("the inbox address %q has a zone", host)
		}
		addr = addr.Unmap()
		if err := p.guardian().SafeAddr(addr); err != nil {
			return "", unpreparable("the inbox address %s is not public", addr)
		}
		if addr.Is6() {
			return "[" + addr.String() + "]", nil
		}
		return addr.String(), nil
	}
	if err := checkName(host); err != nil {
		return "", err
	}
	if (host == "localhost" || strings.HasSuffix(host, ".localhost")) && len(p.AllowPrivate) == 0 {
		return "", unpreparable("the inbox host %q is this machine", host)
	}
	return host, nil
}

// asciiHost maps a host to lower-case ASCII. Names that are ASCII already are not held against the rules of IDNA:
// DNS knows names like "r3---a.example" and decides.
func asciiHost(raw string) (string, error) {
	host := raw
	if !isASCII(raw) {
		mapped, err := idna.Lookup.ToASCII(raw)
		if err != nil {
			return "", unpreparable("the inbox host %q is not a valid domain name", shorten(raw, 80))
		}
		host = mapped
	}
	return strings.TrimSuffix(strings.ToLower(host), "."), nil
}

// checkName refuses what no DNS name looks like, and numbers such as 0x7f.1 or 2130706433 that some resolvers read as
// IPv4 addresses (WHATWG URL, "ends in a number").
func checkName(host string) error {
	if !isName(host) {
		return unpreparable("the inbox host %q is not a valid domain name", shorten(host, 80))
	}
	return nil
}

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
	if isDigits(last) {
		return false
	}
	digits, hex := strings.CutPrefix(last, "0x")
	return !hex || strings.Trim(digits, "0123456789abcdef") != ""
}

// escapeQuery percent-encodes what url.Parse lets pass in a query but a request line can't carry.
func escapeQuery(query string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (p Policy) anyPort() bool { return p.AllowHTTP || len(p.AllowPrivate) > 0 }

// guardian is the address guard of the policy.
func (p Policy) guardian() *ssrf.Guardian {
	var v4, v6 []netip.Prefix
	for _, prefix := range p.AllowPrivate {
		if prefix.Addr().Is4() {
			v4 = append(v4, prefix)
		} else {
			v6 = append(v6, prefix)
		}
	}
	options := []ssrf.Option{ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...)}
	if p.anyPort() {
		options = append(options, ssrf.WithAnyPort())
	}
	return ssrf.New(options...)
}
