package demo

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
)

// activity is one row that the application writes.
type activity struct {
	id       string
	actor    int // who signs
	of       int // whose followers get it
	document json.RawMessage
	// What follows is for the judge: activities about one post conflict and must arrive by rank.
	post string
	rank int64
}

// fate is what becomes of a transaction.
type fate int

const (
	committed fate = iota
	committedLate
	rolledBack
)

// transaction is what the application writes at once.
type transaction struct {
	activities []activity
	fate       fate
}

const (
	perPost = 4
	// every so many transactions one is late, or one more is rolled back.
	lateEvery     = 9
	rollBackEvery = 10
)

// writePost is the life of a post in transactions: it is made, changed, liked by the other actor, and deleted.
func writePost(n, author int) []transaction {
	create, update := newActivity("Create", n, author, author, 1), newActivity("Update", n, author, author, 2)
	like, remove := newActivity("Like", n, actors-1-author, author, 3), newActivity("Delete", n, author, author, 4)
	var written []transaction
	add := func(fate fate, activities ...activity) { written = append(written, transaction{activities, fate}) }
	switch n % 3 {
	case 0:
		add(committed, create, update)
		add(committed, like)
	case 1:
		add(committed, create)
		add(committed, update, like)
	default:
		add(committed, create)
		add(committed, update)
		add(committed, like)
	}
	add(committed, remove)
	return written
}

// writePosts is the lives of n posts, a third of them bob's, with fates.
func writePosts(n int) [][]transaction {
	var posts [][]transaction
	count := 0
	for i := range n {
		author := ann
		if i%3 == 2 {
			author = bob
		}
		var post []transaction
		for _, t := range writePost(i, author) {
			count++
			if count%lateEvery == 0 {
				t.fate = committedLate
			}
			post = append(post, t)
			if count%rollBackEvery == 0 {
				never := newActivity("Create", i, ann, ann, 1)
				never.id += "-never"
				post = append(post, transaction{[]activity{never}, rolledBack})
			}
		}
		posts = append(posts, post)
	}
	return posts
}

func newActivity(kind string, n, actor, of int, rank int64) activity {
	post := fmt.Sprintf("https://%s/posts/%d", fleet.Home, n)
	a := activity{
		id: post + "/" + strings.ToLower(kind), actor: actor, of: of, post: post, rank: rank,
	}
	document := map[string]any{
		"@context": "https://www.w3.org/ns/activitystreams",
		"id":       a.id, "type": kind, "actor": fleet.ActorID(actor),
		"to": []string{"https://www.w3.org/ns/activitystreams#Public"},
		"cc": []string{fleet.ActorID(of) + "/followers"},
	}
	switch kind {
	case "Create", "Update":
		document["object"] = map[string]any{
			"id": post, "type": "Note", "attributedTo": fleet.ActorID(of),
			"content": fmt.Sprintf("<p>Post %d, as of its %s</p>", n, kind),
		}
	case "Delete":
		document["object"] = map[string]any{"id": post, "type": "Tombstone"}
	default:
		document["object"] = post
	}
	text, err := json.Marshal(document)
	if err != nil {
		panic(err) // of strings only
	}
	a.document = text
	return a
}

// expect says what each server must have of the activities.
func (c cast) expect(activities []activity) (fediverse.Expected, fediverse.Order) {
	expected := fediverse.Expected{}
	byID := make(map[string]*activity, len(activities))
	for i := range activities {
		a := &activities[i]
		byID[a.id] = a
		for n, domain := range c.domains {
			if follows(a.of, n) {
				expected.Add(fleet.SharedInbox(domain), a.id)
			}
		}
	}
	return expected, func(id string) (string, int64) {
		if a := byID[id]; a != nil {
			return a.post, a.rank
		}
		return "", 0
	}
}
