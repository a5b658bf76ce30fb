package deliver

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/fedsender/fedsender/deliver/sign"
)

// Defaults of [Config], used where the field is zero.
const (
	// DefaultRequestTimeout ends a delivery altogether. Large servers answer within 10 s or not at all, but small ones
	// verify a signature by fetching the key first; a time-out too short means the same work twice.
	DefaultRequestTimeout = 30 * time.Second
	// DefaultConnectTimeout covers DNS and TCP: three SYNs (0 s, 1 s, 3 s) and some patience.
	DefaultConnectTimeout = 10 * time.Second
	// DefaultTLSTimeout is for the handshake alone.
	DefaultTLSTimeout = 10 * time.Second
	// DefaultHeaderTimeout runs from the last byte of the request to the header of the answer. With a longer RequestTimeout
	// it is as much longer.
	DefaultHeaderTimeout = 25 * time.Second
	// DefaultIdleTimeout closes a connection before the other side does: nginx does after 75 s, others after 60 s.
	DefaultIdleTimeout = 55 * time.Second
	// DefaultMaxIdle bounds the idle connections of the process: some 40 KiB each with TLS.
	DefaultMaxIdle = 2048
	// DefaultMaxIdlePerHost is what a busy instance's window keeps open.
	DefaultMaxIdlePerHost = 16
	// DefaultUserAgent is sent when the operator names none.
	DefaultUserAgent = "fedsender (+https://github.com/fedsender/fedsender)"

	// maxAnswerBytes is what is read of an answer's body, and of its header; past it the connection is given up.
	maxAnswerBytes = 64 << 10
	// bodyTimeout is for the rest of an answer whose status is known: only the reuse of the connection depends on it.
	bodyTimeout = 5 * time.Second
	// maxRedirects is the limit of Mastodon.
	maxRedirects = 3
	// tlsSessions is how many sessions are kept for resumption, which saves both sides the certificates.
	tlsSessions = 1024
)

// Config is what a Client needs. Its zero value works.
type Config struct {
	Policy

	// RequestTimeout is for one Post with its redirects; the others for their phase of each connection.
	RequestTimeout, ConnectTimeout, TLSTimeout, HeaderTimeout, IdleTimeout time.Duration
	// MaxIdle and MaxIdlePerHost bound the connections that are kept open without a request.
	MaxIdle, MaxIdlePerHost int

	// ConnectTo ("HOST:PORT") is where every connection goes, past DNS, proxies and the address guard. Names, Host and
	// SNI stay those of the inbox.
	ConnectTo string
	// CAFile is a PEM file of roots that are trusted besides the system's. See [Client.ReloadCAFile].
	CAFile string
	// Proxy says which proxy a request to the URL takes; nil goes by HTTPS_PROXY, HTTP_PROXY and NO_PROXY. See [Client.Post] for what the address
	// guard can't see then.
	Proxy func(*url.URL) (*url.URL, error)

	UserAgent string
	// SenderName, when set, is sent as X-Fedsender-Process. For tests that tell processes apart.
	SenderName string

	// Signer is a stage of GOMAXPROCS turns that signs with crypto/rsa when nil.
	Signer Signer
	// Now is the clock of the Date header and of Retry-After; time.Now when nil.
	Now func() time.Time
}

// Client delivers. It is safe for several goroutines; how many of them may call Post at once is the caller's limit.
type Client struct {
	config          Config
	signer          Signer
	direct, proxied exchanger
	own             *direct // that both dial by
	ownProxied      *proxied
	trusts          []byte // what CAFile held when it was read last
}

// Connections counts connections, those through a proxy left out.
type Connections struct {
	Idle           int    // kept without a request
	Opened, Reused uint64 // since the client was made
}

// Connections is safe for several goroutines.
func (c *Client) Connections() Connections {
	return Connections{
		Idle: int(c.own.idle.count.Load()), Opened: c.own.opened.Load(), Reused: c.own.reused.Load(),
	}
}

// NewClient checks the configuration; its error is one sentence that names the setting.
func NewClient(config Config) (*Client, error) {
	setDefaults(&config)
	if !isHeaderText(config.UserAgent) {
		return nil, errors.New("SENDER_USER_AGENT must be one line of printable ASCII")
	}
	if !isHeaderText(config.SenderName) {
		return nil, errors.New("SENDER_NAME must be one line of printable ASCII")
	}
	if config.ConnectTo != "" {
		if _, port, err := net.SplitHostPort(config.ConnectTo); err != nil || port == "" {
			return nil, fmt.Errorf("SENDER_CONNECT_TO must be HOST:PORT, not %q", config.ConnectTo)
		}
	}
	text, roots, err := firstRoots(config.CAFile)
	if err != nil {
		return nil, err
	}
	d := newDirect(&config, roots)
	p := newProxied(&config, d)
	return &Client{config: config, signer: config.Signer, direct: d, proxied: p, own: d, ownProxied: p, trusts: text}, nil
}

// Close closes the idle connections. Call it when no Post is running any more.
func (c *Client) Close() {
	c.direct.close()
	c.proxied.close()
}

func setDefaults(config *Config) {
	orDuration := func(d *time.Duration, fallback time.Duration) {
		if *d <= 0 {
			*d = fallback
		}
	}
	orDuration(&config.RequestTimeout, DefaultRequestTimeout)
	orDuration(&config.ConnectTimeout, DefaultConnectTimeout)
	orDuration(&config.TLSTimeout, DefaultTLSTimeout)
	orDuration(&config.HeaderTimeout, max(DefaultHeaderTimeout, config.RequestTimeout-(DefaultRequestTimeout-DefaultHeaderTimeout)))
	orDuration(&config.IdleTimeout, DefaultIdleTimeout)
	if config.MaxIdle <= 0 {
		config.MaxIdle = DefaultMaxIdle
	}
	if config.MaxIdlePerHost <= 0 {
		config.MaxIdlePerHost = DefaultMaxIdlePerHost
	}
	if config.UserAgent == "" {
		config.UserAgent = DefaultUserAgent
	}
	if config.Signer == nil {
		config.Signer = sign.NewStage(sign.Go{}, 0, nil)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Proxy == nil {
		config.Proxy = httpproxy.FromEnvironment().ProxyFunc()
	}
	if config.ConnectTo != "" {
		config.Proxy = func(*url.URL) (*url.URL, error) { return nil, nil }
	}
}

func isHeaderText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
