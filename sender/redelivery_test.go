package sender

import (
	"slices"
	"testing"
)

// settled makes an instance that is held, with so many activities that are settled.
func (b *bench) settled(domain string, n int) (id int32, activities []int64) {
	b.t.Helper()
	id = b.instance(domain)
	for range n {
		activities = append(activities, b.activity())
	}
	b.exec(`update fedsender.queue_state set last_successful_id = $1`, activities[n-1])
	b.read()
	if err := b.Acquired(b.t.Context(), []int32{id}); err != nil {
		b.t.Fatal(err)
	}
	return id, activities
}

const askAgain = `
	insert into fedsender.redelivery (instance_id, activity_id, inbox)
	values ($1, $2, $3)
	on conflict do nothing`

func TestRedelivery_IsMadeOnceAlthoughMoreAreAskedForBeforeItIsSaved(t *testing.T) {
	b := newBench(t)
	id, activities := b.settled("a.example", 2)
	for i, a := range activities {
		b.exec(askAgain, id, a, "https://a.example/inbox")
		if err := b.redeliver(t.Context(), []int32{id}); err != nil {
			t.Fatal(err)
		}
		b.until("it is delivered", func() bool { return len(b.got(id)) > i && b.dispatcher.count().inFlight == 0 })
	}
	if got := b.got(id); !slices.Equal(got, activities) {
		t.Errorf("sent %d, want %d", got, activities)
	}
}

func TestRedelivery_AskedForAgainBeforeItIsSavedStays(t *testing.T) {
	b := newBench(t)
	id, activities := b.settled("a.example", 1)
	b.exec(askAgain, id, activities[0], "https://a.example/inbox")
	if err := b.redeliver(t.Context(), []int32{id}); err != nil {
		t.Fatal(err)
	}
	b.until("it is delivered", func() bool { return len(b.got(id)) == 1 && b.dispatcher.count().inFlight == 0 })
	b.exec(askAgain, id, activities[0], "https://a.example/other")
	b.saved()
	var left int
	b.scan(&left, `select count(*) from fedsender.redelivery`)
	if left != 1 {
		t.Error("the second inbox is forgotten")
	}
}

func TestRedelivery_AllAreMadeAlthoughTheWorkerHasNoRoomForThemAtOnce(t *testing.T) {
	b := newBench(t)
	const n = 150
	id, activities := b.settled("a.example", n)
	b.exec(`
		insert into fedsender.redelivery (instance_id, activity_id, inbox)
		select $1, unnest($2::bigint[]), 'https://a.example/inbox'`, id, activities)
	if err := b.redeliver(t.Context(), []int32{id}); err != nil {
		t.Fatal(err)
	}
	b.until("all are delivered", func() bool {
		b.saved()
		b.redeliverMore(t.Context()) // as runRedeliveries does
		return len(b.got(id)) >= n
	})
	got := b.got(id)
	slices.Sort(got)
	if !slices.Equal(got, activities) {
		t.Errorf("sent %d deliveries, want each of %d once", len(got), n)
	}
}

func TestRedelivery_WhoseActivityIsGoneIsADeadLetterAgain(t *testing.T) {
	b := newBench(t)
	id, activities := b.settled("a.example", 3)
	b.exec(askAgain, id, activities[0], "https://a.example/inbox")
	b.exec(askAgain, id, activities[0], "https://a.example/other")
	b.exec(askAgain, id, activities[1], "") // for whom nobody there asks any more
	b.exec(`delete from fedsender.activity where id = $1`, activities[0])
	b.exec(`update fedsender.activity set send_all_instances = false, send_followers_of = '{}', send_inboxes = '{}' where id = $1`, activities[1])
	if err := b.redeliver(t.Context(), []int32{id}); err != nil {
		t.Fatal(err)
	}
	b.until("all are dead letters", func() bool {
		b.saved()
		b.redeliverMore(t.Context()) // as runRedeliveries does
		var left int
		b.scan(&left, `select count(*) from fedsender.redelivery`)
		return left == 0
	})
	var letters []string
	b.scan(&letters, `select array_agg(activity_id - $2::bigint || ' ' || coalesce(inbox, '') || ': ' || reason order by activity_id, inbox) from fedsender.dead_letter where instance_id = $1`, id, activities[0])
	want := []string{
		"0 https://a.example/inbox: it was to be sent again, but the activity was deleted before",
		"0 https://a.example/other: it was to be sent again, but the activity was deleted before",
		"1 : it was to be sent again, but has no inbox there any more",
	}
	if !slices.Equal(letters, want) {
		t.Errorf("%q", letters)
	}
	if got := b.got(id); len(got) != 0 {
		t.Errorf("sent %d", got)
	}
}

func TestRedelivery_OfAnInstanceThatIsLostBeforeItIsSavedStays(t *testing.T) {
	b := newBench(t)
	id, activities := b.settled("a.example", 1)
	b.exec(askAgain, id, activities[0], "https://a.example/inbox")
	b.exec(`delete from fedsender.activity`)
	if err := b.redeliver(t.Context(), []int32{id}); err != nil {
		t.Fatal(err)
	}
	b.dispatcher.remove([]int32{id})
	b.saved()
	var rows int
	b.scan(&rows, `select (select count(*) from fedsender.redelivery) + (select count(*) from fedsender.dead_letter)`)
	if rows != 1 {
		t.Errorf("%d rows are left, want the redelivery or its dead letter", rows)
	}
}
