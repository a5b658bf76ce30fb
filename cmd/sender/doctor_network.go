package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sourcegraph/conc/iter"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/sender"
)

const (
	// peersTried is enough to tell a fault of ours from one of theirs.
	peersTried = 3
	// reachLimit is for one of them; they are tried at the same time.
	reachLimit = 6 * time.Second
	// skewHTTPS is above what a Date of whole seconds and a slow answer differ by, and far below what receivers allow.
	skewHTTPS = 15 * time.Second
)

// reserved are names that exist nowhere (RFC 6761, RFC 2606), and addresses.
var reserved = regexp.MustCompile(`(?i)(^|\.)(test|example|invalid|localhost|local|example\.(com|net|org))(:\d+)?$|^[\d.]+(:\d+)?$|^\[`)

// trial is how it went with one peer.
type trial struct {
	pg.Peer
	reached deliver.Reached
	failed  *deliver.ReachError
}

// diagnoseNetwork tries the way to other servers. peers is told once which there are.
func diagnoseNetwork(ctx context.Context, config sender.Config, o doctorOptions, peers <-chan []pg.Peer) []pg.Finding {
	const what = "other servers"
	if o.offline {
		<-peers
		return []pg.Finding{{What: what, Verdict: pg.Skipped, Says: "not tried, as --offline says"}}
	}
	client, err := deliver.NewClient(deliver.Config{
		Policy:    deliver.Policy{AllowHTTP: config.AllowHTTP, AllowPrivate: config.AllowPrivateAddresses},
		ConnectTo: config.ConnectTo, CAFile: config.CAFile, UserAgent: config.UserAgent,
	})
	if err != nil {
		return []pg.Finding{{What: what, Verdict: pg.Bad, Says: err.Error(), Mend: "correct that variable"}}
	}
	defer client.Close()
	var known []pg.Peer
	if len(o.peers) == 0 {
		known = <-peers
	}
	chosen := choosePeers(known, o.peers, config.ConnectTo != "")
	if len(chosen) == 0 {
		return []pg.Finding{{What: what, Verdict: pg.Skipped, Says: "no instance with a public name is known to try them with; to try one: sender doctor --peer HOST"}}
	}
	mapper := iter.Mapper[pg.Peer, trial]{MaxGoroutines: len(chosen)}
	trials := mapper.Map(chosen, func(peer *pg.Peer) trial {
		ctx, cancel := context.WithTimeout(ctx, reachLimit)
		defer cancel()
		t := trial{Peer: *peer}
		var err error
		if t.reached, err = client.Reach(ctx, peer.Domain); err != nil {
			errors.As(err, &t.failed)
		}
		return t
	})
	return append(wayFindings(trials, config.ConnectTo), skewFindings(trials)...)
}

func choosePeers(known []pg.Peer, named []string, anyName bool) (chosen []pg.Peer) {
	for _, name := range named {
		chosen = append(chosen, pg.Peer{Domain: name, Worked: true}) // who names it knows that it works
	}
	if len(named) > 0 {
		return chosen
	}
	for _, peer := range known {
		if len(chosen) < peersTried && (anyName || !reserved.MatchString(peer.Domain)) {
			chosen = append(chosen, peer)
		}
	}
	return chosen
}

// wayFindings tells at which step the way ends, if all end there; that one of several does not answer is its own business.
func wayFindings(trials []trial, connectTo string) []pg.Finding {
	const what = "other servers"
	var answered, problems []string
	worked, proxy := false, ""
	furthest := 0
	for _, t := range trials {
		worked = worked || t.Worked
		if t.reached.Proxy != "" {
			proxy = t.reached.Proxy
		}
		if t.failed == nil {
			answered = append(answered, t.Domain)
			continue
		}
		problems = append(problems, t.failed.Problem)
		furthest = max(furthest, stepNumber(t.failed.Step))
	}
	way := "directly"
	switch {
	case connectTo != "":
		way = "at " + connectTo + " (SENDER_CONNECT_TO)"
	case proxy != "":
		way = "through the proxy " + proxy
	}
	if len(answered) == len(trials) {
		return []pg.Finding{{What: what, Verdict: pg.OK, Says: fmt.Sprintf("%s answered over HTTPS, %s", strings.Join(answered, ", "), way)}}
	}
	if len(answered) > 0 {
		return []pg.Finding{{What: what, Verdict: pg.OK, Says: fmt.Sprintf("%s answered over HTTPS, %s; the others did not: %s", strings.Join(answered, ", "), way, strings.Join(problems, "; "))}}
	}
	s := steps[furthest]
	f := pg.Finding{What: s.what, Verdict: pg.Bad, Says: s.says + ": " + strings.Join(problems, "; "), Mend: s.mend}
	if !worked {
		// They may never have been there.
		f.Verdict, f.Says = pg.Warn, f.Says+" (none of them has ever taken a delivery)"
	}
	if steps[furthest].step == deliver.StepTLS && slices.ContainsFunc(trials, func(t trial) bool { return t.failed.Untrusted }) {
		f.Mend = "install the system's certificates of authorities (ca-certificates), or name them by SENDER_CA_FILE"
	}
	return []pg.Finding{f}
}

type step struct {
	step             deliver.Step
	what, says, mend string
}

// steps are in the order of a request: what comes later proves that what is above works.
var steps = []step{
	{deliver.StepProxy, "proxy", "the proxy can't be used, and nothing is delivered", "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and that the proxy runs"},
	{deliver.StepDNS, "DNS", "no name can be looked up, and nothing is delivered", "check the name servers in /etc/resolv.conf, and UDP and TCP port 53 to them"},
	{deliver.StepName, "DNS", "no name is known to the name servers", "check that the name servers in /etc/resolv.conf know public names"},
	{deliver.StepAddress, "DNS", "the names lead to private addresses only, to which nothing is sent", "check that the name servers give public addresses, or permit the networks: SENDER_ALLOW_PRIVATE_ADDRESSES"},
	{deliver.StepTCP, "outgoing connections", "no connection is made, and nothing is delivered", "let this machine connect to TCP port 443 of everybody (firewall, security group, network policy), or set HTTPS_PROXY"},
	{deliver.StepTLS, "TLS", "no certificate is valid here, and nothing is delivered", "check the clock and the certificates of authorities on this machine, and that nothing breaks TLS open on the way"},
	{deliver.StepHTTP, "other servers", "none answers over HTTPS", "try it by hand: curl -I https://HOST/"},
}

func stepNumber(s deliver.Step) int {
	return slices.IndexFunc(steps, func(known step) bool { return known.step == s })
}

// skewFindings compares the clock with the middle one of what the peers say.
func skewFindings(trials []trial) []pg.Finding {
	const what = "clock against other servers"
	var skews []time.Duration
	for _, t := range trials {
		if t.failed == nil && !t.reached.Date.IsZero() {
			// A Date is of a whole second, the half of which is the best guess.
			skews = append(skews, t.reached.Middle.Sub(t.reached.Date.Add(time.Second/2)))
		}
	}
	if len(skews) == 0 {
		return nil
	}
	slices.Sort(skews)
	skew := skews[len(skews)/2]
	if skew.Abs() <= skewHTTPS {
		return []pg.Finding{{What: what, Verdict: pg.OK, Says: "this machine and the Date of their answers agree"}}
	}
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	return []pg.Finding{{
		What: what, Verdict: pg.Warn,
		Says: fmt.Sprintf("this machine is %s %s the Date of their answers; receivers refuse signatures of a wrong time", short(skew.Abs()), direction),
		Mend: "run NTP on this machine (timedatectl set-ntp true)",
	}}
}
