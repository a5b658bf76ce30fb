package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/deliver/sign"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/sender"
)

// doctorLimit is for everything; pg.Diagnose keeps below it by itself, and the network has what is left when the peers are known.
const doctorLimit = 13 * time.Second

type doctorOptions struct {
	json, offline bool
	peers         []string
}

func (a *app) doctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything that a first run can get wrong",
		Long: `Check everything that a first run can get wrong, and say of each thing that is wrong what it means and what mends
it. It changes nothing, may run beside sender run, and ends within 15 seconds whatever hangs.
The exit code is 1 if something is bad.

The way to other servers is tried with up to three instances that took a delivery last: their names are looked up, and
they are asked for the header of their front page, whose Date is compared with the clock here.`,
		Args: arguments(0, 0),
		RunE: verb(func(ctx context.Context, _ []string) error {
			for _, peer := range o.peers {
				if strings.TrimSpace(peer) == "" || len(peer) > maxDomain {
					return misused("--peer must be the name of a host, not %s", echo(peer))
				}
			}
			return a.doctor(ctx, o)
		}),
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	cmd.Flags().BoolVar(&o.offline, "offline", false, "ask no other server than the database")
	cmd.Flags().StringArrayVar(&o.peers, "peer", nil, "try the way to other servers with this `HOST`; may be given several times")
	a.addVariables(cmd)
	return cmd
}

func (a *app) doctor(ctx context.Context, o doctorOptions) error {
	config, err := sender.ParseConfig(a.environment)
	if err != nil {
		return err
	}
	a.secrets = append(a.secrets, config.AdminToken)
	cfg, err := a.parseDSN(databaseVariable, config.DatabaseURL)
	if err != nil {
		return err
	}
	lease := cfg
	if config.LeaseDatabaseURL != "" {
		if lease, err = a.parseDSN(leaseVariable, config.LeaseDatabaseURL); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	peers := make(chan []pg.Peer, 1)
	outside := pg.Outside{Version: programVersion(), CheckKey: checkKey, Peers: func(found []pg.Peer) { peers <- found }}
	var database, network []pg.Finding
	var group conc.WaitGroup
	group.Go(func() { database = pg.Diagnose(ctx, cfg, lease, outside) })
	group.Go(func() { network = diagnoseNetwork(ctx, config, o, peers) })
	findings := a.localFindings(config)
	group.Wait()
	return a.report(append(append(findings, database...), network...), o.json)
}

// localFindings are of this program and machine alone.
func (a *app) localFindings(config sender.Config) []pg.Finding {
	findings := []pg.Finding{{What: "configuration", Verdict: pg.OK, Says: "every variable has a value that makes sense"}}
	for _, name := range sender.Unknown(a.environment) {
		mend := "see sender run --help"
		if meant := sender.Meant(name); meant != "" {
			mend = "is " + meant + " meant? " + mend
		}
		findings = append(findings, pg.Finding{What: "configuration", Verdict: pg.Warn, Says: name + " is not known and does nothing", Mend: mend})
	}
	if config.AdminAddr != "" && config.AdminToken == "" {
		findings = append(findings, pg.Finding{What: "admin token", Verdict: pg.OK, Says: "there is none: the page shows, and nobody can change anything by it"})
	}
	findings = append(findings, signerFinding(config.Signer))
	return append(findings, filesFinding(config.MaxInFlight)...)
}

func (a *app) report(findings []pg.Finding, asJSON bool) (err error) {
	redact := a.redact()
	bad := false
	for i := range findings {
		findings[i].Says, findings[i].Mend = redact.text(findings[i].Says), redact.text(findings[i].Mend)
		bad = bad || findings[i].Verdict == pg.Bad
	}
	if asJSON {
		err = printJSON(a.out, findings)
	} else {
		err = a.printFindings(findings)
	}
	if err == nil && bad {
		return errSilent
	}
	return err
}

func checkKey(keyID, pem string) error {
	_, err := deliver.ParseKey(keyID, pem)
	return err
}

// signerFinding says what would make the signatures here, and what that means.
func signerFinding(way string) pg.Finding {
	const mend = "install OpenSSL's libcrypto (libssl3, openssl-libs, libcrypto3) and use a build that loads it, or set SENDER_SIGNER="
	f := pg.Finding{What: "signatures", Verdict: pg.OK}
	choice, err := sign.Choose(way, func(sign.Fault) {}) // nothing is signed
	switch {
	case err != nil:
		f.Verdict, f.Says = pg.Bad, "SENDER_SIGNER: "+err.Error()
		f.Mend = mend + "auto"
	case choice.Library != "":
		f.Says = "RSA signatures are made by libcrypto (" + choice.Library + ")"
	case choice.Missing != nil:
		f.Verdict = pg.Warn
		f.Says = "RSA signatures, most of the work of a delivery, are made by crypto/rsa, which takes about three times as long as libcrypto; there is none: " + choice.Missing.Error()
		f.Mend = mend + "go, if that is enough"
	default:
		f.Says = "RSA signatures are made by crypto/rsa, as SENDER_SIGNER says"
	}
	return f
}

// spareFiles is what a process needs besides connections to other servers.
const spareFiles = 128

// filesFinding says nothing where the system does not say how many files a process may open.
func filesFinding(inFlight int) []pg.Finding {
	most, known := openFiles()
	if !known {
		return nil
	}
	const what = "open files"
	if wanted := uint64(inFlight + deliver.DefaultMaxIdle + spareFiles); most < wanted {
		return []pg.Finding{{
			What: what, Verdict: pg.Warn, Says: fmt.Sprintf("a process may open %d, and up to %d connections are made at one time: some fail", most, wanted),
			Mend: fmt.Sprintf("raise the limit (ulimit -n %d; systemd: LimitNOFILE=%[1]d), or lower SENDER_MAX_IN_FLIGHT", wanted),
		}}
	}
	return []pg.Finding{{What: what, Verdict: pg.OK, Says: "a process may open enough"}}
}

// verdicts are in the order in which a person wants them.
var verdicts = []struct{ verdict, style string }{{pg.Bad, red}, {pg.Warn, yellow}, {pg.Skipped, dim}, {pg.OK, green}}

// printFindings shows what is wrong first, and says at the end how much that was.
func (a *app) printFindings(findings []pg.Finding) error {
	l := lookOf(a.out)
	widest := 0
	for _, f := range findings {
		widest = max(widest, columns(f.What))
	}
	var text strings.Builder
	var counts []string
	for _, v := range verdicts {
		number := 0
		for _, f := range findings {
			if f.Verdict == v.verdict {
				number++
				printFinding(&text, l, f, v.style, widest)
			}
		}
		if number > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", number, v.verdict))
		}
	}
	fmt.Fprintf(&text, "\n%d findings: %s\n", len(findings), strings.Join(counts, ", "))
	_, err := io.WriteString(a.out, text.String())
	return err
}

// printFinding writes the columns verdict, what and says; on a terminal that is too narrow for them, says stands below.
func printFinding(w io.Writer, l look, f pg.Finding, style string, widest int) {
	const verdictWidth, least = 4, 30
	indent := verdictWidth + 2 + widest + 2
	below := l.width > 0 && l.width-indent < least
	if below {
		indent = verdictWidth + 2
	}
	room := 0
	if l.width > 0 {
		room = l.width - indent - 2 // for the arrow
	}
	head := l.paint(style, fmt.Sprintf("%-*s", verdictWidth, f.Verdict)) + "  " + fmt.Sprintf("%-*s", widest, f.What)
	if below {
		fmt.Fprintln(w, strings.TrimRight(head, " "))
		head = strings.Repeat(" ", verdictWidth)
	}
	for _, line := range wrap(f.Says, room) {
		fmt.Fprintf(w, "%s  %s\n", head, line)
		head = strings.Repeat(" ", indent-2)
	}
	if f.Mend == "" {
		return
	}
	for i, line := range wrap(f.Mend, room) {
		arrow := "→ "
		if i > 0 {
			arrow = "  "
		}
		fmt.Fprintf(w, "%s  %s%s\n", strings.Repeat(" ", indent-2), arrow, l.paint(bold, line))
	}
}
