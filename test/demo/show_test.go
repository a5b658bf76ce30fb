package demo

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
)

func TestJudge_WhatIsLostIsBad(t *testing.T) {
	fedi, err := fediverse.Start(fediverse.Config{})
	require.NoError(t, err)
	defer fedi.Close()
	var out bytes.Buffer
	d := &demo{cast: newCast(MinInstances), screen: newScreen(&out, func(err error) { t.Error(err) }), cluster: &fleet.Cluster{Fedi: fedi}}
	d.stream = newStream(nil, nil, d.cast, 4)
	require.NoError(t, d.judge(), "nothing was written")
	d.stream.note(d.stream.last()[0])
	require.ErrorIs(t, d.judge(), ErrBad)
	require.Contains(t, out.String(), "delivered 0, lost 10, twice 0, out of order 0, violations 0")
	require.Contains(t, out.String(), "lost: https://home.example/posts/4/create for ")
}

func TestScript_APostsLifeIsInOrder(t *testing.T) {
	c := newCast(MinInstances)
	seen := map[string]bool{}
	fates := map[fate]int{}
	for _, post := range writePosts(30) {
		var all []activity
		for _, transaction := range post {
			fates[transaction.fate]++
			for _, a := range transaction.activities {
				require.False(t, seen[a.id], "%s is there twice", a.id)
				seen[a.id] = true
			}
			if transaction.fate != rolledBack {
				all = append(all, transaction.activities...)
			}
		}
		require.Len(t, all, perPost)
		expected, order := c.expect(all)
		require.Len(t, expected, c.audience(all[0].of))
		for i, a := range all {
			group, rank := order(a.id)
			require.Equal(t, all[0].post, group)
			require.EqualValues(t, i+1, rank)
		}
	}
	require.NotZero(t, fates[committedLate])
	require.NotZero(t, fates[rolledBack])
}

func TestPicture_FitsAlwaysAndIsAlwaysAsHigh(t *testing.T) {
	full := view{counts: counts{committed: 4000, deliveries: 4_000_000, planned: 4_000_000}, delivered: 3_999_999, perSecond: 123456}
	for i := range 3 {
		full.senders = append(full.senders, senderView{name: fmt.Sprintf("sender-%d", i+1), leases: 2000, inFlight: 10000, delivered: 4_000_000})
	}
	for range 5 {
		full.troubles = append(full.troubles, trouble{domain: "flaky-100.example", problem: strings.Repeat("Ü", 100), in: time.Hour, behind: 4000})
	}
	none := view{senders: make([]senderView, 3)}
	require.Len(t, picture(none), len(picture(full)))
	for _, line := range append(picture(full), line(full)) {
		require.Less(t, utf8.RuneCountInString(line), minWidth, line)
	}
}

func TestScreen_LinesStandAboveTheBlock(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, func(err error) { t.Error(err) })
	s.live = true
	s.print("title")
	s.draw([]string{"long block", "of two"})
	s.print("first", "second")
	s.draw([]string{"block"})
	s.print("third")
	require.Equal(t, []string{"title", "first", "second", "third", "block", ""}, terminal(t, out.String()))
	s.clear()
	s.print("end")
	require.Equal(t, []string{"title", "first", "second", "third", "end", ""}, terminal(t, out.String()))
}

func TestRationed_AnswersAgainWhenThePauseIsOver(t *testing.T) {
	take := rationed(2, time.Hour)
	answers := func() (text string) {
		for range 4 {
			if fmt.Sprintf("%p", take(nil)) == fmt.Sprintf("%p", fediverse.OK) {
				text += "+"
			} else {
				text += "-"
			}
		}
		return text
	}
	require.Equal(t, "++--", answers())
	take = rationed(2, 0)
	require.Equal(t, "++++", answers())
}

// terminal understands as much of ECMA-48 as the screen writes.
func terminal(t *testing.T, text string) []string {
	t.Helper()
	lines, row, column := [][]rune{nil}, 0, 0
	for text != "" {
		var up int
		switch {
		case strings.HasPrefix(text, eraseLine):
			lines[row], text = lines[row][:column], text[len(eraseLine):]
		case strings.HasPrefix(text, eraseBelow):
			lines[row] = lines[row][:column]
			lines, text = lines[:row+1], text[len(eraseBelow):]
		case strings.HasPrefix(text, "\x1b["):
			_, err := fmt.Sscanf(text, "\x1b[%dA", &up)
			require.NoError(t, err, "%q", text)
			row, text = row-up, text[strings.IndexByte(text, 'A')+1:]
		case text[0] == '\r':
			column, text = 0, text[1:]
		case text[0] == '\n':
			row, column, text = row+1, 0, text[1:]
			if row == len(lines) {
				lines = append(lines, nil)
			}
		default:
			lines[row] = append(lines[row][:column:column], append([]rune{rune(text[0])}, lines[row][min(column+1, len(lines[row])):]...)...)
			column, text = column+1, text[1:]
		}
	}
	var shown []string
	for _, line := range lines {
		shown = append(shown, string(line))
	}
	return shown
}
