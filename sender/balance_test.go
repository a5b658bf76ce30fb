package sender

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/pg"
)

func TestReadWeights_RefusesWhatCantBePlannedWithAndSaysWhatToDo(t *testing.T) {
	b := newBench(t)
	w, err := b.readWeights(t.Context())
	require.NoError(t, err)
	require.Zero(t, *w)
	for _, text := range []string{`{"light": -1}`, `{"heavy": 3}`, `[]`} {
		b.exec(`update fedsender.balance set version = version + 1, weights = $1::text::json`, text)
		_, err = b.readWeights(t.Context())
		require.ErrorContains(t, err, "to begin anew: delete from fedsender.balance", text)
	}
	b.exec(`delete from fedsender.balance`)
	_, err = b.readWeights(t.Context())
	require.NoError(t, err)
}

// peer is another process that says that it is there and takes nothing.
type peer struct {
	id      string
	session *pg.LeaseSession
}

func (b *bench) leaseSession(id string) *pg.LeaseSession {
	session, err := pg.OpenLeaseSession(b.t.Context(), b.logins.lease.Load(), id, 0, b.log)
	require.NoError(b.t, err)
	b.t.Cleanup(session.Close)
	return session
}

// sharing has this process share instances with another one until the test ends. It returns those that it holds.
func (b *bench) sharing(id string) (other *peer, held []int32) {
	b.exec(`insert into fedsender.instance (domain) select i || '.example' from generate_series(1, 20) i`)
	b.read()
	own := b.leaseSession(b.id)
	keeper := lease.New(b.t.Context(), lease.Config{ID: b.id, Session: own, Handler: b, Weights: b.readWeights, Log: b.log})
	b.session.Store(own)
	b.keeper.Store(keeper)
	ctx, stop := context.WithCancel(b.t.Context())
	b.beside(func() { assert.NoError(b.t, keeper.Run(ctx)) })
	b.t.Cleanup(stop)
	other = &peer{id, b.leaseSession(id)}
	b.until("both share the instances", func() bool {
		other.beat(b)
		held = b.dispatcher.held()
		return len(keeper.Plan().Members()) == 2 && len(held) > 1 && len(held) < 20
	})
	return other, held
}

func (p *peer) beat(b *bench) {
	_, err := p.session.Beat(b.t.Context())
	require.NoError(b.t, err)
}

// busy has this process report 10 deliveries a second for each of its instances, and the other one nothing.
func (b *bench) busy(other *peer, held []int32) {
	other.beat(b)
	loads := make([]float32, len(held))
	for i := range loads {
		loads[i] = 10
	}
	for _, p := range []pg.Process{
		{ID: b.id, Load: 10 * float64(len(held)), Leases: len(held), HeavyIDs: held, HeavyLoads: loads}, {ID: other.id},
	} {
		require.NoError(b.t, pg.WriteProcess(b.t.Context(), b.pool, p))
	}
}

// judge has known the plan of this moment for long.
func (b *bench) judge() *lease.Judge {
	judge := &lease.Judge{}
	judge.Look(b.keeper.Load().Plan(), nil, time.Now().Add(-time.Hour))
	return judge
}

func TestWeigh_FirstProcessWritesOtherWeightsWhereOneHasTooMuch(t *testing.T) {
	b := newBench(t)
	other, held := b.sharing("zz") // after any that is drawn
	judge := b.judge()
	for range 2 { // looks must agree
		b.busy(other, held)
		require.NoError(t, b.weigh(t.Context(), judge))
	}
	w, err := b.readWeights(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, w.Version)
	require.Len(t, w.Heavy, len(held))
	var by string
	b.scan(&by, `select made_by from fedsender.balance`)
	require.Equal(t, b.id, by)
	b.until("it plans with them", func() bool { return b.balanceVersion() == 1 })
}

func TestWeigh_IsLeftToTheFirstProcess(t *testing.T) {
	b := newBench(t)
	other, held := b.sharing("00") // before any that is drawn
	judge := b.judge()
	for range 3 {
		b.busy(other, held)
		require.NoError(t, b.weigh(t.Context(), judge))
	}
	w, err := b.readWeights(t.Context())
	require.NoError(t, err)
	require.Zero(t, w.Version)
}
