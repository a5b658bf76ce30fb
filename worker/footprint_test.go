package worker_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fedsender/fedsender/worker"
)

const (
	createNote  = `{"id":"https://a/c/1","type":"Create","actor":"https://a/u/alice","object":{"id":"https://a/n/1","type":"Note","attributedTo":"https://a/u/alice"}}`
	updateNote  = `{"id":"https://a/up/1","type":"Update","actor":"https://a/u/alice","object":{"id":"https://a/n/1","type":"Note"}}`
	deleteNote  = `{"id":"https://a/d/1","type":"Delete","actor":"https://a/u/alice","object":"https://a/n/1"}`
	tombstone   = `{"id":"https://a/d/2","type":"Delete","actor":"https://a/u/mod","object":{"id":"https://a/n/1","type":"Tombstone"}}`
	replyNote   = `{"id":"https://a/c/2","type":"Create","actor":"https://a/u/bob","object":{"id":"https://a/n/2","type":"Note","inReplyTo":"https://a/n/1"}}`
	otherReply  = `{"id":"https://a/c/3","type":"Create","actor":"https://a/u/carol","object":{"id":"https://a/n/3","type":"Note","inReplyTo":["https://a/n/1"]}}`
	otherNote   = `{"id":"https://a/c/9","type":"Create","actor":"https://a/u/alice","object":{"id":"https://a/n/9","type":"Note"}}`
	likeByBob   = `{"id":"https://a/l/1","type":"Like","actor":"https://a/u/bob","object":"https://a/n/1"}`
	likeByCarol = `{"id":"https://a/l/2","type":"Like","actor":"https://a/u/carol","object":{"id":"https://a/n/1"}}`
	dislike     = `{"id":"https://a/l/3","type":"Dislike","actor":{"id":"https://a/u/bob"},"object":["https://a/n/1"]}`
	undoLike    = `{"id":"https://a/x/1","type":"Undo","actor":"https://a/u/bob","object":` + likeByBob + `}`
	undoLikeID  = `{"id":"https://a/x/2","type":"Undo","actor":"https://a/u/bob","object":"https://a/l/1"}`
	undoNoActor = `{"id":"https://a/x/3","type":"Undo","actor":"https://a/u/bob","object":{"type":"Like","object":"https://a/n/1"}}`
	follow      = `{"id":"https://a/f/1","type":"Follow","actor":"https://a/u/bob","object":"https://b/u/dan"}`
	undoFollow  = `{"id":"https://a/f/2","type":"Undo","actor":"https://a/u/bob","object":{"id":"https://a/f/1","type":"Follow","actor":"https://a/u/bob","object":"https://b/u/dan"}}`
	block       = `{"id":"https://a/b/1","type":"Block","actor":"https://a/u/bob","object":"https://b/u/dan"}`
	accept      = `{"id":"https://a/ac/1","type":"Accept","actor":"https://a/u/alice","object":{"id":"https://b/f/7","type":"Follow","actor":"https://b/u/dan","object":"https://a/u/alice"}}`
	rejectID    = `{"id":"https://a/rj/1","type":"Reject","actor":"https://a/u/alice","object":"https://b/f/7"}`
	updateAlice = `{"id":"https://a/up/2","type":"Update","actor":"https://a/u/alice","object":{"id":"https://a/u/alice","type":"Person"}}`
	deleteAlice = `{"id":"https://a/d/3","type":"Delete","actor":"https://a/u/alice","object":"https://a/u/alice"}`
	moveAlice   = `{"id":"https://a/m/1","type":"Move","actor":"https://a/u/alice","object":"https://a/u/alice","target":"https://c/u/alice"}`
	announced   = `{"id":"https://a/an/1","type":"Announce","actor":"https://a/g/cats","object":` + createNote + `}`
	announcedUp = `{"id":"https://a/an/2","type":"Announce","actor":"https://a/g/cats","object":` + updateNote + `}`
	announcedUn = `{"id":"https://a/an/3","type":"Announce","actor":"https://a/g/cats","object":` + undoLike + `}`
	boost       = `{"id":"https://a/an/4","type":"Announce","actor":"https://a/u/bob","object":"https://a/n/1"}`
	undoBoost   = `{"id":"https://a/an/5","type":"Undo","actor":"https://a/u/bob","object":` + boost + `}`
	updateGroup = `{"id":"https://a/up/3","type":"Update","actor":"https://a/u/mod","object":{"id":"https://a/g/cats","type":"Group"}}`
	banByMod    = `{"id":"https://a/b/2","type":"Block","actor":"https://a/u/mod","object":"https://b/u/dan","target":"https://a/g/cats"}`
	unbanByMod2 = `{"id":"https://a/b/3","type":"Undo","actor":"https://a/u/mod2","object":{"id":"https://a/b/4","type":"Block","actor":"https://a/u/mod2","object":"https://b/u/dan","target":"https://a/g/cats"}}`
	pin         = `{"id":"https://a/p/1","type":"Add","actor":"https://a/u/mod","object":"https://a/n/1","target":"https://a/g/cats/featured"}`
	unpin       = `{"id":"https://a/p/2","type":"Remove","actor":"https://a/u/mod2","object":"https://a/n/1","target":"https://a/g/cats/featured"}`
	lock        = `{"id":"https://a/k/1","type":"Lock","actor":"https://a/u/mod","object":"https://a/n/1"}`
	bareNote    = `{"id":"https://a/n/1","type":"Note"}`
)

func TestFootprint_ConflictsWhereOrderMatters(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b string
		want bool
	}{
		{"a note and its edit", createNote, updateNote, true},
		{"a note and its deletion", createNote, deleteNote, true},
		{"an edit and a deletion with a tombstone", updateNote, tombstone, true},
		{"a note and a reply to it", createNote, replyNote, true},
		{"a reply and the deletion of what it replies to", replyNote, deleteNote, true},
		{"two replies to one note", replyNote, otherReply, false},
		{"two notes of one actor", createNote, otherNote, false},
		{"a note and a like of it", createNote, likeByBob, true},
		{"likes of two actors", likeByBob, likeByCarol, false},
		{"a like and a dislike of one actor", likeByBob, dislike, true},
		{"a like and its undo", likeByBob, undoLike, true},
		{"a like and an undo that names it", likeByBob, undoLikeID, true},
		{"a like and an undo that says the least", likeByBob, undoNoActor, true},
		{"an undo and another actor's like", undoLike, likeByCarol, false},
		{"a like and a reply", likeByCarol, replyNote, false},
		{"a follow and its undo", follow, undoFollow, true},
		{"a follow and a block", follow, block, true},
		{"an accept and a reject that names the follow", accept, rejectID, true},
		{"an actor's edit and what it does next", updateAlice, createNote, true},
		{"an actor's edit and what another does", updateAlice, replyNote, false},
		{"an actor's deletion and its last note", otherNote, deleteAlice, true},
		{"an actor's move and its last note", otherNote, moveAlice, true},
		{"an announced note and its announced edit", announced, announcedUp, true},
		{"an announced note and a boost of it", announced, boost, true},
		{"a boost and its undo", boost, undoBoost, true},
		{"boosts and likes of two actors", boost, likeByCarol, false},
		{"an announced undo and another actor's like", announcedUn, likeByCarol, false},
		{"a like and its announced undo", likeByBob, announcedUn, true},
		{"a group's edit and what it announces", updateGroup, announced, true},
		{"a ban and its end by another moderator", banByMod, unbanByMod2, true},
		{"a pin and its end by another moderator", pin, unpin, true},
		{"a note and its lock, a verb that is not known", createNote, lock, true},
		{"a note without an activity and its edit", bareNote, updateNote, true},
		{"a note and rubbish", createNote, `[1,2`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := worker.FootprintOf([]byte(c.a)), worker.FootprintOf([]byte(c.b))
			if a.Conflicts(b) != c.want || b.Conflicts(a) != c.want {
				t.Errorf("conflict is %v and %v, want %v", a.Conflicts(b), b.Conflicts(a), c.want)
			}
		})
	}
}

func TestActorOf_IsTheFirstAsItIsSpelled(t *testing.T) {
	for body, want := range map[string]string{
		`{"object":{"actor":"https://b.example/"},"actor":"https://A.example/u\/ann"}`: "https://A.example/u/ann",
		` {"actor":{"type":"Person","id":"https://a.example/"}} `:                      "https://a.example/",
		`{"actor":["https://a.example/","https://b.example/"]}`:                        "https://a.example/",
		`{"actor":7}`: "", `{"actor":null}`: "", `{"object":{"actor":"https://b.example/"}}`: "", `{}`: "", `[]`: "", ``: "",
	} {
		if got := worker.ActorOf([]byte(body)); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

func TestFootprint_OfRubbishIsEmpty(t *testing.T) {
	for _, body := range []string{
		"", "null", "1", `"x"`, "[]", "{}", "{", `{"id":1,"type":[],"actor":[null],"object":[[],{},null,1,""]}`,
		strings.Repeat(`{"object":`, 200000), strings.Repeat("[", 200000),
	} {
		f := worker.FootprintOf([]byte(body))
		if len(f.Writes)+len(f.Reads) > 0 {
			t.Errorf("%.40q has %+v", body, f)
		}
		if f.Conflicts(worker.FootprintOf([]byte(createNote))) {
			t.Errorf("%.40q conflicts", body)
		}
	}
}

func TestFootprint_IsBoundedWhateverAForeignObjectHolds(t *testing.T) {
	many := `"https://b/x"` + strings.Repeat(`,{"id":"https://b/y","inReplyTo":["https://b/q","https://b/r"]}`, 10000)
	f := worker.FootprintOf([]byte(`{"id":"https://a/1","type":"Announce","actor":["https://a/u",` + many + `],"object":[` + many + `]}`))
	if len(f.Writes) > 64 || len(f.Reads) > 64 {
		t.Errorf("%d writes, %d reads", len(f.Writes), len(f.Reads))
	}
}

func FuzzFootprintOf(f *testing.F) {
	for _, seed := range []string{createNote, undoNoActor, announcedUn, accept, pin, otherReply, dislike, "[",
		` { "id" : "a\\\"\u0062" , "type":["Like" , 1],"actor" :[ ], "\u0061ctor":"x","object":[ "y" , {"id":"\\"} ],"n":-1.5E+3,"o":{}} `, `{"object":{"object":{"object":{}}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p := worker.FootprintOf(body)
		if len(p.Writes) > 64 || len(p.Reads) > 64 {
			t.Fatalf("%d writes, %d reads", len(p.Writes), len(p.Reads))
		}
		for _, hashes := range [][]uint64{p.Writes, p.Reads} {
			if !slices.IsSorted(hashes) || len(slices.Compact(slices.Clone(hashes))) != len(hashes) {
				t.Fatalf("not sorted or twice: %v", hashes)
			}
		}
		if p.Conflicts(p) != (len(p.Writes) > 0) {
			t.Fatalf("an activity conflicts with itself exactly if it writes: %+v", p)
		}
		if want := plainFootprint(body); json.Valid(body) && utf8.Valid(body) && (!slices.Equal(p.Writes, want.Writes) || !slices.Equal(p.Reads, want.Reads)) {
			t.Fatalf("it is %+v, encoding/json says %+v", p, want)
		}
		other := worker.FootprintOf([]byte(createNote))
		if p.Conflicts(other) != other.Conflicts(p) {
			t.Fatal("not symmetric")
		}
	})
}
