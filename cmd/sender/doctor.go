package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/deliver/sign"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/sender"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything that a first run can get wrong",
		Long: `Check everything that a first run can get wrong. It changes nothing and may run beside sender run.
The exit code is 1 if something is bad.`,
		Args: arguments(0, 0),
		RunE: verb(func(ctx context.Context, _ []string) error { return a.doctor(ctx, asJSON) }),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.addVariables(cmd)
	return cmd
}

func (a *app) doctor(ctx context.Context, asJSON bool) error {
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
	findings := []pg.Finding{{What: "configuration", Verdict: pg.OK, Says: "every variable has a value that makes sense"}}
	for _, name := range sender.Unknown(a.environment) {
		findings = append(findings, pg.Finding{What: "configuration", Verdict: pg.Warn, Says: name + " is not known and does nothing", Mend: "see sender run --help"})
	}
	findings = append(findings, signerFinding(config.Signer))
	findings = append(findings, pg.Diagnose(ctx, cfg, lease)...)
	redact := a.redact()
	bad := false
	for i := range findings {
		findings[i].Says = redact.text(findings[i].Says)
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

func (a *app) printFindings(findings []pg.Finding) error {
	t := newTable(a.out)
	for _, f := range findings {
		t.row(f.Verdict, f.What, f.Says)
		if f.Mend != "" {
			t.row("", "", "→ "+f.Mend)
		}
	}
	return t.end()
}
