package peers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Ready is the line by which a peer says that it waits for orders.
const Ready = "ready"

// Order is what a peer shall deliver: so many activities, each to so many hosts. A peer with a queue writes it there.
type Order struct {
	Scheme     string `json:"scheme"` // of the inboxes
	Activities int    `json:"activities"`
	Hosts      int    `json:"hosts"`
}

// Inbox is the n-th host's.
func (o Order) Inbox(n int) string { return fmt.Sprintf("%s://i-%05d.example/inbox", o.Scheme, n) }

// Settings come from the environment, each variable with PEER_ in front.
type Settings struct {
	Database  string // URL; empty for a peer without a queue
	ConnectTo string // HOST:PORT of all hosts
	CAFile    string // that their certificates are signed by
	KeyFile   string // PKCS#8 in PEM
	KeyID     string
	Workers   int // deliveries at one time
}

// SettingsFromEnvironment reads them.
func SettingsFromEnvironment() (Settings, error) {
	workers, err := strconv.Atoi(os.Getenv("PEER_WORKERS"))
	if err != nil {
		return Settings{}, fmt.Errorf("PEER_WORKERS: %w", err)
	}
	return Settings{
		Database: os.Getenv("PEER_DATABASE"), ConnectTo: os.Getenv("PEER_CONNECT_TO"), CAFile: os.Getenv("PEER_CA_FILE"),
		KeyFile: os.Getenv("PEER_KEY_FILE"), KeyID: os.Getenv("PEER_KEY_ID"), Workers: workers,
	}, nil
}

// Serve says that the peer is ready, and carries out orders until there are no more.
func Serve(in io.Reader, out io.Writer, carryOut func(Order) error) error {
	if _, err := fmt.Fprintln(out, Ready); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var order Order
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		if err := carryOut(order); err != nil {
			return err
		}
	}
	return lines.Err()
}

// Activity is a document of 1.4 kB.
func Activity(id string) []byte {
	return fmt.Appendf(nil, `{"@context":"https://www.w3.org/ns/activitystreams","id":"%s","type":"Create","actor":"https://home.example/u/0",`+
		`"object":{"id":"%s/note","type":"Note","content":"%s"}}`, id, id, strings.Repeat("x", 1160))
}
