package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/pg"
)

// maxDocument is what is sent at most; a larger one would go to dead_letter.
const maxDocument = 1 << 20

// enqueued is what `sender enqueue --json` prints.
type enqueued struct {
	ActivityID int64   `json:"activity_id"`          // of the row in fedsender.activity
	APID       string  `json:"ap_id"`                // the document's own id
	Unfollowed []int64 `json:"unfollowed,omitempty"` // those of --followers-of that nobody follows: by them it reaches nobody
}

func (a *app) enqueueCommand() *cobra.Command {
	var e pg.Enqueuing
	var followersOf []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "enqueue FILE.json",
		Short: "Insert an activity by hand",
		Long:  "Insert an activity by hand. FILE is - for standard input; the activity's id is the document's own.",
		Args:  arguments(1, 1),
		RunE: verb(func(ctx context.Context, args []string) error {
			var err error
			if e.Document, err = a.readDocument(args[0]); err != nil {
				return err
			}
			if err := checkEnqueuing(&e, followersOf); err != nil {
				return err
			}
			return a.withDatabase(ctx, func(pool *pgxpool.Pool) error {
				done, err := enqueue(ctx, pool, e)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.out, done)
				}
				return done.print(a.out)
			})
		}),
	}
	cmd.Flags().StringVar(&e.ActorAPID, "actor", "", "who signs it: the `AP_ID` of a row of fedsender.actor (required)")
	cmd.Flags().StringArrayVar(&e.Inboxes, "inbox", nil, "send it to this inbox `URL`; may be given several times")
	cmd.Flags().StringArrayVar(&followersOf, "followers-of", nil, "send it to the followers of the actor with this `ID`; may be given several times")
	cmd.Flags().BoolVar(&e.AllInstances, "all-instances", false, "send it to the shared inbox of every instance")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.addVariables(cmd, databaseVariable)
	return cmd
}

func enqueue(ctx context.Context, pool *pgxpool.Pool, e pg.Enqueuing) (done enqueued, err error) {
	done.APID = e.APID
	if done.Unfollowed, err = pg.WithoutFollowers(ctx, pool, e.FollowersOf); err != nil {
		return done, err
	}
	done.ActivityID, err = pg.Enqueue(ctx, pool, e)
	return done, err
}

// print says also which way leads nowhere.
func (e enqueued) print(w io.Writer) error {
	text := fmt.Sprintf("activity %d: %s\n", e.ActivityID, safe(e.APID))
	for _, actor := range e.Unfollowed {
		text += fmt.Sprintf("nobody follows the actor with the id %d: by --followers-of %[1]d it reaches nobody\n", actor)
	}
	_, err := io.WriteString(w, text)
	return err
}

func (a *app) readDocument(name string) (json.RawMessage, error) {
	var in io.Reader = a.in
	if name == "-" {
		name = "standard input"
	} else {
		file, err := os.Open(name)
		if err != nil {
			return nil, misuse{err.Error()}
		}
		defer file.Close()
		in = file
	}
	document, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	switch {
	case err != nil:
		return nil, misuse{err.Error()}
	case !utf8.Valid(document):
		return nil, misused("%s is no text in UTF-8", name)
	case len(document) > maxDocument:
		return nil, misused("%s is larger than 1 MiB, which no activity may be", name)
	}
	document = bytes.TrimSpace(document)
	if !json.Valid(document) || len(document) == 0 || document[0] != '{' {
		return nil, misused("%s is no JSON object", name)
	}
	return document, nil
}

// checkEnqueuing fills in what the document and the flags say, and refuses what would only make a dead letter.
func checkEnqueuing(e *pg.Enqueuing, followersOf []string) error {
	var document struct {
		ID any `json:"id"`
	}
	if err := json.Unmarshal(e.Document, &document); err != nil {
		return misuse{err.Error()}
	}
	id, isText := document.ID.(string)
	if !isText || strings.TrimSpace(id) == "" || strings.ContainsRune(id, 0) {
		return misused("the document has no id, which must be a URL of your server")
	}
	e.APID = id
	if e.ActorAPID == "" {
		return misused("--actor is missing: the ap_id of who signs it")
	}
	for _, inbox := range e.Inboxes {
		// What this machine may send to is for sender run to know; the form of the URL is not.
		if _, err := (deliver.Policy{AllowHTTP: true}).CheckInbox(inbox); err != nil {
			return misused("--inbox: %s", err)
		}
	}
	for _, text := range followersOf {
		actor, err := strconv.ParseInt(text, 10, 64)
		if err != nil || actor < 1 {
			return misused("--followers-of must be the id of an actor, not %s", echo(text))
		}
		e.FollowersOf = append(e.FollowersOf, actor)
	}
	if len(e.Inboxes) == 0 && len(e.FollowersOf) == 0 && !e.AllInstances {
		return misused("say to whom: --inbox URL, --followers-of ID or --all-instances")
	}
	return nil
}
