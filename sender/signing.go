package sender

import (
	"cmp"
	"errors"
	"runtime"
	"time"

	"github.com/fedsender/fedsender/deliver/sign"
)

// openSigner finds what signs.
func (e *engine) openSigner() error {
	choice, err := sign.Choose(cmp.Or(e.config.Signer, sign.Auto), e.signingFault)
	if unavailable := (*sign.UnavailableError)(nil); errors.As(err, &unavailable) {
		return wrong("SENDER_SIGNER", "%s", unavailable.Problem)
	}
	if err != nil {
		return err
	}
	e.choice = choice
	processors, turns := runtime.GOMAXPROCS(0), signingTurns(choice)
	e.stage = sign.NewStage(choice.Backend, turns, func(took time.Duration) {
		e.metrics.Signed(took)
		if e.stage.Waiting() > 0 { // all turns are taken, and share the processors
			took = took * time.Duration(processors) / time.Duration(turns)
		}
		e.speed.signed(time.Now(), took)
	})
	e.metrics.WatchSignatures(func() (byLibcrypto, byGo float64) {
		library, inGo := choice.Made()
		return float64(library), float64(inGo)
	}, func() float64 { return float64(e.stage.Waiting()) })
	return nil
}

// signingTurns is how many signatures are made at one time: one for each processor. A goroutine that calls libcrypto gives up its
// place among those that Go runs, and waits for one afterwards, with its turn; one turn more fills that time, which is a
// fifteenth of that of two processors.
func signingTurns(choice *sign.Choice) int {
	if choice.Library == "" {
		return runtime.GOMAXPROCS(0)
	}
	return runtime.GOMAXPROCS(0) + 1
}

// saySigner says what signs, which is most of what a delivery costs.
func (e *engine) saySigner() {
	switch {
	case sign.ConstantRSA:
		e.log.Warn("this build makes no RSA signatures (build tag norsa): no receiver takes what it sends")
	case e.choice.Library != "":
		e.log.Info("RSA signatures are made by libcrypto", "library", e.choice.Library)
	case e.choice.Missing != nil:
		e.log.Info("RSA signatures are made by crypto/rsa, which takes about three times as long: no libcrypto can be used", "reason", e.choice.Missing)
	}
}

// signingFault says once of each kind what libcrypto did. The signature was made by crypto/rsa instead.
func (e *engine) signingFault(f sign.Fault) {
	e.metrics.SigningFault()
	if f.GivenUp {
		e.log.Error("libcrypto is not used any more, crypto/rsa signs from here on; update OpenSSL, or set SENDER_SIGNER=go", "reason", f.Err)
		return
	}
	e.refusedKey.Do(func() {
		e.log.Warn("libcrypto can't sign with an actor's key, crypto/rsa does; others are counted in fedsender_signing_faults_total", "reason", f.Err)
	})
}
