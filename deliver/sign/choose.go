package sign

import (
	"fmt"
	"sync/atomic"
)

// Ways to sign, as SENDER_SIGNER names them.
const (
	Auto      = "auto"      // libcrypto where there is one, else Go
	Libcrypto = "libcrypto" // or not at all
	OnlyGo    = "go"
	Batch     = "batch" // several signatures of one key at once; reserved
)

// Choice is what signs.
type Choice struct {
	Backend Backend
	// Library is the version of the libcrypto that is used, in its own words; empty: none is.
	Library string
	// Missing says why no libcrypto was found where one was looked for.
	Missing error

	library           *libcrypto
	byLibcrypto, byGo atomic.Uint64
}

// UnavailableError says that the way to sign that was asked for is not to be had here.
type UnavailableError struct{ Problem string }

func (e *UnavailableError) Error() string { return e.Problem }

// Choose finds what signs in the given way. fault is told of each fault of libcrypto's and must not block. The error is an
// [*UnavailableError].
func Choose(way string, fault func(Fault)) (*Choice, error) {
	c := &Choice{}
	sure := counted{Go{}, &c.byGo}
	c.Backend = sure
	switch way {
	case OnlyGo:
		return c, nil
	case Auto, Libcrypto:
	case Batch:
		return nil, &UnavailableError{"batch is not in this version; use auto, libcrypto or go"}
	default:
		return nil, &UnavailableError{fmt.Sprintf("must be auto, libcrypto or go, not %q", way)}
	}
	if ConstantRSA {
		c.Backend = constant{sure}
		return c, nil
	}
	library, err := loadLibcrypto(libcryptoNames)
	if err != nil {
		c.Missing = err
		if way == Libcrypto {
			return nil, &UnavailableError{"libcrypto can't be used: " + err.Error()}
		}
		return c, nil
	}
	c.library, c.Library = library, library.version
	c.Backend = NewChecked(counted{library, &c.byLibcrypto}, sure, fault)
	return c, nil
}

// Made is how many signatures libcrypto and Go have made.
func (c *Choice) Made() (byLibcrypto, byGo uint64) { return c.byLibcrypto.Load(), c.byGo.Load() }

// Close frees the keys that libcrypto holds. Nothing may sign any more.
func (c *Choice) Close() {
	if c.library != nil {
		c.library.close()
	}
}
