package main

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	// maxDomain is how long a domain with its port may be (RFC 1035, 2.3.4); the schema holds no longer one.
	maxDomain = 260
	// maxEcho is how much is repeated of an argument that is wrong: most terminals show it in a few lines.
	maxEcho = 200
)

// arguments lets through so many arguments; Use says which.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return misused("usage: %s %s", cmd.Parent().CommandPath(), cmd.Use)
		}
		return nil
	}
}

// needsOneOf has a command that does nothing by itself refuse all but its own commands.
func needsOneOf(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(*cobra.Command, []string) error {
		var names []string
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				names = append(names, sub.Name())
			}
		}
		return misused("%s needs one of %s", cmd.Name(), strings.Join(names, ", "))
	}
}

// checkTexts refuses what no text of the database can be, before the server does with words of its own. The name of a file may
// be of any bytes.
func checkTexts(cmd *cobra.Command, args []string) (err error) {
	if cmd.Name() != "enqueue" && cmd.Name() != "man" {
		for _, arg := range args {
			if !utf8.ValidString(arg) {
				return misused("%s is no text in UTF-8", echo(arg))
			}
		}
	}
	settings := map[*pflag.Flag]bool{} // which their own checks look at
	for _, flag := range variableFlags(cmd) {
		settings[flag] = true
	}
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if !settings[flag] && !utf8.ValidString(flag.Value.String()) {
			err = misused("--%s is no text in UTF-8: %s", flag.Name, echo(flag.Value.String()))
		}
	})
	return err
}

// checkDomain refuses what can't be the domain of an instance.
func checkDomain(domain string) error {
	switch {
	case strings.TrimSpace(domain) == "":
		return misused("DOMAIN is empty; sender status --all lists those that there are")
	case len(domain) > maxDomain:
		return misused("%s is no domain: it is longer than %d letters", echo(domain), maxDomain)
	}
	return nil
}

// echo is an argument as it stands in a message: quoted, so that it is seen where it ends, and not longer than is read.
func echo(text string) string {
	if utf8.RuneCountInString(text) > maxEcho {
		text = string([]rune(text)[:maxEcho-1]) + "…"
	}
	return strconv.Quote(text)
}

// negative is the number that was taken for a flag, such as -1.
func negative(err error) (number string, is bool) {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return "", false
	}
	number = "-" + unknown.GetSpecifiedShortnames()
	_, failed := strconv.ParseInt(number, 10, 64)
	return number, failed == nil
}
