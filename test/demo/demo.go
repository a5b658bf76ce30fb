package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/sourcegraph/conc/pool"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

// Options says what is shown.
type Options struct {
	Out io.Writer
	// Binary is the sender's executable.
	Binary string
	// Postgres says where its programs come from.
	Postgres postgres.Binaries
	// Instances is the number of simulated servers, MinInstances to MaxInstances.
	Instances int
	// Activities is about how many are written; 0: as many as make a show of DefaultDeliveries.
	Activities int
	// Keep goes on after the verdict until ctx ends.
	Keep bool
}

const (
	// MinInstances leaves a share for each sender; more than MaxInstances would take minutes.
	MinInstances, MaxInstances = 10, 2000
	// DefaultDeliveries keep two processors busy for some ten seconds: a signature takes 0.85 ms, and what the demo
	// does itself nearly as much.
	DefaultDeliveries = 16_000

	senders = 3
	// victim is the sender that is killed, counted from 0.
	victim = 1
	// settlePatience is how long nothing may arrive before the verdict says that it is lost.
	settlePatience = time.Minute
	// cleanPatience bounds the end of processes that are asked to end.
	cleanPatience = 20 * time.Second
)

var (
	// ErrBad means that something was lost, out of order or refused. What it was has been printed.
	ErrBad = errors.New("the demo found deliveries that are wrong")
	// ErrInterrupted means that ctx ended before there was a verdict.
	ErrInterrupted = errors.New("interrupted before the end; all of it is stopped and removed")
)

// demo is one show.
type demo struct {
	Options
	screen  *screen
	cast    cast
	server  *postgres.Server
	cluster *fleet.Cluster
	senders []*fleet.Sender
	stream  *stream
	watch   *watch
	kill    kill
}

// Run shows everything and returns when it has ended and been removed. The error is nil when the verdict is good.
func Run(ctx context.Context, o Options) error {
	d := &demo{Options: o, cast: newCast(o.Instances)}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	fail := func(err error) { cancel(fault{err}) }
	d.screen = newScreen(o.Out, fail)
	err := d.play(ctx, fail)
	d.screen.clear()
	if err != nil && ctx.Err() != nil {
		if err = faultOf(ctx); err == nil {
			err = ErrInterrupted
			d.screen.print("", "  Stopping …")
		}
	}
	return errors.Join(err, d.clean(ctx))
}

// fault ends the show from beside it.
type fault struct{ error }

func (f fault) Unwrap() error { return f.error }

// faultOf is why ctx ended, nil when somebody wanted it to.
func faultOf(ctx context.Context) error {
	var f fault
	if errors.As(context.Cause(ctx), &f) {
		return f.error
	}
	return nil
}

func (d *demo) play(ctx context.Context, fail func(error)) error {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	var watching conc.WaitGroup
	defer watching.Wait()
	watchCtx, endWatch := context.WithCancel(ctx)
	defer endWatch()
	watching.Go(func() { d.watch.run(watchCtx, fail) })

	acts := pool.New().WithContext(ctx).WithCancelOnError().WithFirstError()
	began := time.Now()
	acts.Go(func(ctx context.Context) error { return d.stream.run(ctx) })
	acts.Go(func(ctx context.Context) error { return d.direct(ctx, began) })
	if err := acts.Wait(); err != nil {
		return err
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	if d.Keep {
		return d.goOn(ctx)
	}
	endWatch()
	watching.Wait()
	if err := d.stopSenders(ctx); err != nil {
		return err
	}
	return d.judge()
}

// direct lets things go wrong while the stream flows.
func (d *demo) direct(ctx context.Context, began time.Time) error {
	at := func(share float64) error {
		return sleep(ctx, time.Until(began.Add(time.Duration(share*float64(d.stream.duration)))))
	}
	if err := at(.15); err != nil {
		return err
	}
	d.takeDown()
	if err := at(.3); err != nil {
		return err
	}
	if err := d.killOne(ctx); err != nil {
		return err
	}
	// What failed is tried again 8 s later, which should not be the end of the show.
	d.cast.calm.Store(true)
	if err := at(.45); err != nil {
		return err
	}
	return d.bringBack(ctx)
}

// settle waits until every cursor has reached the last activity, which goes to every server.
func (d *demo) settle(ctx context.Context) error {
	c := d.stream.count()
	d.screen.event("The application has committed %s activities, %d of them %s late.", thousands(c.committed), c.late, seconds(lateBy))
	d.screen.more("It has rolled back %d more.", c.rolledBack)
	done, err := d.settled(ctx)
	switch {
	case err != nil:
		return err
	case done:
		d.screen.event("Every cursor has reached the last activity.")
	default:
		d.screen.event("Not every cursor has reached the last activity; nothing moves.")
	}
	return nil
}

// settled waits as long as deliveries arrive.
func (d *demo) settled(ctx context.Context) (bool, error) {
	ledger := d.cluster.Fedi.Ledger()
	for {
		before := ledger.Accepted("")
		waiting, cancel := context.WithTimeout(ctx, settlePatience)
		err := d.cluster.WaitSettled(waiting)
		patient := waiting.Err() == nil
		cancel()
		switch {
		case err == nil:
			return true, nil
		case patient || ctx.Err() != nil:
			return false, err
		case ledger.Accepted("") == before:
			return false, nil
		}
	}
}

// stopSenders asks those that are left to end.
func (d *demo) stopSenders(ctx context.Context) error {
	left := d.cluster.Senders()
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanPatience)
	defer cancel()
	stops := pool.New().WithErrors().WithFirstError()
	for _, s := range left {
		stops.Go(func() error { return s.Stop(ctx) })
	}
	if err := stops.Wait(); err != nil {
		return err
	}
	d.screen.event("%s were told to end (SIGTERM) and did in %s.", names(left), seconds(time.Since(began)))
	return nil
}

// goOn writes an activity now and then until ctx ends, and judges again.
func (d *demo) goOn(ctx context.Context) error {
	verdict := d.judge()
	d.screen.print("  It goes on, with an activity each second, until you press Ctrl-C.", "")
	if err := d.stream.trickle(ctx); ctx.Err() == nil {
		return err
	}
	if err := faultOf(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanPatience)
	defer cancel()
	if err := d.cluster.WaitSettled(ctx); err != nil {
		return fmt.Errorf("what was written last does not arrive: %w", err)
	}
	if err := d.stopSenders(ctx); err != nil {
		return err
	}
	return errors.Join(verdict, d.judge())
}

// clean ends and removes all that is left. Nobody needs it any more, so senders are not asked but killed.
func (d *demo) clean(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanPatience)
	defer cancel()
	var failed []error
	if d.watch != nil {
		d.watch.close()
	}
	if d.cluster != nil {
		for _, s := range d.cluster.Senders() {
			s.Kill()
		}
		failed = append(failed, d.cluster.Close(ctx))
	}
	if d.server != nil {
		failed = append(failed, d.server.Close())
	}
	return errors.Join(failed...)
}

// sleep returns early, with the cause, when ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
