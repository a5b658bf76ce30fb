package worker_test

import (
	"encoding/json"
	"hash/fnv"
	"slices"

	"github.com/fedsender/fedsender/worker"
)

// plainFootprint reads a document with encoding/json and says what its footprint should be.
func plainFootprint(body []byte) worker.Footprint {
	var doc any
	if json.Unmarshal(body, &doc) != nil {
		return worker.Footprint{}
	}
	p := &plain{}
	if top, ok := doc.(map[string]any); ok {
		p.activity(top, "", 0)
	}
	writes := p.sorted(p.writes)
	reads := slices.DeleteFunc(p.sorted(p.reads), func(h uint64) bool { return slices.Contains(writes, h) })
	return worker.Footprint{Writes: writes, Reads: reads}
}

type plain struct{ writes, reads []uint64 }

func (p *plain) sorted(hashes []uint64) []uint64 {
	hashes = slices.Clone(hashes[:min(len(hashes), 64)])
	slices.Sort(hashes)
	return slices.Compact(hashes)
}

func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

func id(v any) string {
	if o, ok := v.(map[string]any); ok {
		v = o["id"]
	}
	s, _ := v.(string)
	return s
}

func firstOf(v any) any {
	if all := list(v); len(all) > 0 {
		return all[0]
	}
	return nil
}

func sum(parts ...string) uint64 {
	h := fnv.New64a()
	for k, part := range parts {
		if k > 0 {
			h.Write([]byte{0xff})
		}
		h.Write([]byte(part))
	}
	return h.Sum64()
}

func (p *plain) read(vs any) {
	for _, v := range list(vs) {
		if s := id(v); s != "" {
			p.reads = append(p.reads, sum(s))
		}
	}
}

var pairVerbs = []string{"Like", "Dislike", "EmojiReact", "Follow", "Block", "Announce", "Add", "Remove", "Flag", "Join", "Leave",
	"Listen", "View", "Read", "Ignore", "Invite", "Offer", "Arrive", "Travel"}

func (p *plain) activity(a map[string]any, actor string, depth int) {
	if s, ok := a["id"].(string); ok && s != "" {
		p.writes = append(p.writes, sum(s))
	}
	if own := id(firstOf(a["actor"])); own != "" {
		actor = own
	}
	p.read(a["actor"])
	p.read(a["target"])
	p.read(a["inReplyTo"])
	verb, _ := firstOf(a["type"]).(string)
	for _, v := range list(a["object"]) {
		o, isObject := v.(map[string]any)
		if isObject && len(list(o["object"])) > 0 && depth < 6 {
			p.activity(o, actor, depth+1)
			continue
		}
		if isObject {
			p.read(o["inReplyTo"])
		}
		s := id(v)
		switch {
		case s == "":
		case slices.Contains(pairVerbs, verb):
			p.reads = append(p.reads, sum(s))
			p.writes = append(p.writes, sum(actor, s))
			if target := id(firstOf(a["target"])); target != "" {
				p.writes = append(p.writes, sum(s, target))
			}
		default:
			p.writes = append(p.writes, sum(s))
		}
	}
}
