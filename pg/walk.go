package pg

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// headRows are read by every process, whoever wants them, so they have only what tells whom each is for, null where it is
// nobody, in the order of the fields in [walk.add]. The text of a time takes longer than all the rest of a row.
const headRows = `
	select id, encode(timestamptz_send(published_at), 'hex'), nullif(send_inboxes, '{}'), nullif(send_followers_of, '{}'), nullif(send_all_instances, false)
	from fedsender.source_activity
	where id > $1
	order by id
	limit $2`

// Microseconds since 1970: from when Postgres counts, and the ends of [near].
var (
	millennium = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	earliest   = time.Unix(0, 0).UnixMicro()
	latest     = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
)

// walk goes along rows in the order of their ids, up to the first gap that may still be filled.
type walk struct {
	next    int64 // the id that leaves no gap
	holes   int64 // gaps up to it are holes for ever
	stopped bool  // at a gap before next

	activities  []Activity // those that name anybody
	count       int
	publishedAt time.Time // of the last row
}

func (w *walk) readHorizon(row pgx.Row) error {
	var horizon int64
	err := row.Scan(&horizon)
	w.holes = max(w.holes, horizon)
	return err
}

func (w *walk) read(rows pgx.Rows) error {
	defer rows.Close()
	for !w.stopped && rows.Next() {
		if err := w.add(rows, rows.RawValues()); err != nil {
			return err
		}
	}
	rows.Close()
	return rows.Err()
}

// add decodes by hand: a row that names nobody leaves nothing behind.
func (w *walk) add(rows pgx.Rows, row [][]byte) (err error) {
	a := Activity{AllInstances: row[4] != nil}
	if a.ID, err = strconv.ParseInt(string(row[0]), 10, 64); err != nil {
		return fmt.Errorf("the id of an activity: %w", err)
	}
	if a.ID > w.next && a.ID-1 > w.holes && !gapsAreHoles {
		w.stopped = true
		return nil
	}
	if a.PublishedAt, err = timeSent(row[1]); err != nil {
		return fmt.Errorf("when activity %d was made: %w", a.ID, err)
	}
	w.next, w.publishedAt = a.ID+1, a.PublishedAt
	w.count++
	if row[2] == nil && row[3] == nil && !a.AllInstances {
		return nil
	}
	if row[2] != nil {
		var inboxes pgtype.FlatArray[*string]
		if err := rows.Scan(nil, nil, &inboxes, nil, nil); err != nil {
			return fmt.Errorf("the inboxes of activity %d: %w", a.ID, err)
		}
		a.Inboxes = withoutNulls(inboxes)
	}
	if a.FollowersOf, err = integers(row[3]); err != nil {
		return fmt.Errorf("whose followers activity %d is for: %w", a.ID, err)
	}
	w.activities = append(w.activities, a)
	return nil
}

// timeSent reads the eight bytes of timestamptz_send in hex: microseconds since 2000. Times are brought near as by [near].
func timeSent(text []byte) (time.Time, error) {
	bits, err := strconv.ParseUint(string(text), 16, 64)
	return time.UnixMicro(millennium + min(max(int64(bits), earliest-millennium), latest-millennium)), err
}

// integers reads the text of an array of any number of dimensions and passes over nulls.
func integers(text []byte) (list []int64, err error) {
	_, elements, bounded := strings.Cut(string(text), "=")
	if !bounded {
		elements = string(text)
	}
	for element := range strings.FieldsFuncSeq(elements, func(r rune) bool { return r != '-' && (r < '0' || r > '9') }) {
		n, err := strconv.ParseInt(element, 10, 64)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}
