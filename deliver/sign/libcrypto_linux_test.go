//go:build (amd64 || arm64) && !static

package sign

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"
)

func TestLoadLibcrypto_SaysWhyThereIsNone(t *testing.T) {
	for _, c := range []struct {
		names []string
		words []string
	}{
		{[]string{"libnothing.so.3", "libnothing.so.1.1"}, []string{"libnothing.so.3", "libnothing.so.1.1"}},
		{[]string{"libdl.so.2"}, []string{"libdl.so.2 has no "}}, // a library, and not the one
	} {
		_, err := loadLibcrypto(c.names)
		if err == nil {
			t.Fatalf("%q were taken", c.names)
		}
		for _, word := range c.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q: %q does not say %q", c.names, err, word)
			}
		}
	}
	l, err := loadLibcrypto(append([]string{"libnothing.so.3"}, libcryptoNames...))
	if err != nil || !strings.Contains(l.version, "SSL") {
		t.Errorf("got %v, %v", l, err)
	}
}

// TestLibcrypto_ThreadsShareKeys signs with few keys in the cache, so that they are loaded and freed all the time, while
// the garbage collector runs, and checks every signature.
func TestLibcrypto_ThreadsShareKeys(t *testing.T) {
	l := newLibcrypto(t)
	var loaded, freed atomic.Int32
	l.keys = newKeyCache(2, func(key *Key) (*nativeKey, error) { loaded.Add(1); return l.parse(key) }, func(native *nativeKey) {
		freed.Add(1)
		l.free(native)
	})
	keys := []*Key{testKey(t, "rsa1024"), testKey(t, "rsa2048"), testKey(t, "rsa2048-e3"), testKey(t, "ed25519")}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 100 {
				key, message := keys[(i+j)%len(keys)], fmt.Append(nil, i, j)
				signatures, err := l.Sign(key, [][]byte{message})
				if err != nil || !key.verify(message, signatures[0]) {
					t.Errorf("%s: %x is wrong: %v", key, signatures, err)
				}
				if j%10 == 0 {
					runtime.GC()
				}
			}
		})
	}
	group.Wait()
	l.close()
	if loaded.Load() != freed.Load() || loaded.Load() <= int32(len(keys)) {
		t.Errorf("%d keys were loaded and %d freed", loaded.Load(), freed.Load())
	}
}

// null is a C function that returns NULL, or 0.
var null = sync.OnceValue(func() uintptr { return purego.NewCallback(func() uintptr { return 0 }) })

func TestLibcrypto_NullIsAnErrorAndFreesWhatThereIs(t *testing.T) {
	rsaKey, edKey := testKey(t, "rsa1024"), testKey(t, "ed25519")
	for name, of := range map[string]func(*functions) *uintptr{
		"d2i_AutoPrivateKey":    func(f *functions) *uintptr { return &f.parseKey },
		"EVP_PKEY_CTX_new":      func(f *functions) *uintptr { return &f.newContext },
		"EVP_PKEY_sign_init":    func(f *functions) *uintptr { return &f.signInit },
		"EVP_PKEY_CTX_ctrl_str": func(f *functions) *uintptr { return &f.setting },
		"EVP_PKEY_sign":         func(f *functions) *uintptr { return &f.sign },
		"EVP_MD_CTX_new":        func(f *functions) *uintptr { return &f.newOnce },
		"EVP_DigestSignInit":    func(f *functions) *uintptr { return &f.onceInit },
		"EVP_DigestSign":        func(f *functions) *uintptr { return &f.once },
	} {
		key := rsaKey
		if strings.HasPrefix(name, "EVP_MD") || strings.HasPrefix(name, "EVP_Digest") {
			key = edKey
		}
		l := newLibcrypto(t)
		real := *of(&l.call)
		*of(&l.call) = null()
		if signatures, err := l.Sign(key, [][]byte{[]byte("a")}); err == nil || !strings.Contains(err.Error(), name+" failed") {
			t.Errorf("%s: got %x, %v", name, signatures, err)
		}
		*of(&l.call) = real
		signatures, err := l.Sign(key, [][]byte{[]byte("a")})
		if err != nil || !key.verify([]byte("a"), signatures[0]) {
			t.Errorf("after %s: got %x, %v", name, signatures, err)
		}
	}
}

func TestLibcrypto_FailureSaysWhatTheLibrarySaysAndLeavesNothingBehind(t *testing.T) {
	l := newLibcrypto(t)
	// A signature that does not fit into its room: EVP_PKEY_sign says so in its error queue.
	small := testKey(t, "rsa1024")
	large, err := l.parse(testKey(t, "rsa2048"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.free(large)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := l.sign(small, large, []byte("a")); err == nil || !strings.Contains(err.Error(), "EVP_PKEY_sign failed: error:") {
		t.Errorf("got %v", err)
	}
	if code, _, _ := purego.SyscallN(l.call.firstError); code != 0 {
		t.Errorf("error %x is left in the queue", code)
	}
	// What is no key at all is several errors.
	rubbish := new([64]byte)
	at := uintptr(unsafe.Pointer(rubbish))
	if key, _, _ := purego.SyscallN(l.call.parseKey, 0, uintptr(unsafe.Pointer(&at)), uintptr(len(rubbish))); key != 0 {
		t.Fatal("rubbish is a key")
	}
	runtime.KeepAlive(rubbish)
	if err := l.failure("d2i_AutoPrivateKey"); !strings.Contains(err.Error(), "error:") {
		t.Errorf("got %v", err)
	}
	if code, _, _ := purego.SyscallN(l.call.firstError); code != 0 {
		t.Errorf("error %x is left in the queue", code)
	}
	// The other way round it fits, and is not what was asked for.
	tiny, err := l.parse(small)
	if err != nil {
		t.Fatal(err)
	}
	defer l.free(tiny)
	if _, err := l.sign(testKey(t, "rsa2048"), tiny, []byte("a")); err == nil || !strings.Contains(err.Error(), "128 bytes instead of 256") {
		t.Errorf("got %v", err)
	}
}

// TestLibcrypto_BrokenKeyIsAnErrorThatShowsNothing takes keys that no parser lets through.
func TestLibcrypto_BrokenKeyIsAnErrorThatShowsNothing(t *testing.T) {
	good := testKey(t, "rsa2048").private.(*rsa.PrivateKey)
	for name, spoil := range map[string]func(*rsa.PrivateKey){
		"another exponent": func(k *rsa.PrivateKey) { k.D = new(big.Int).Sub(k.D, big.NewInt(2)) },
		"an even modulus":  func(k *rsa.PrivateKey) { k.N = new(big.Int).Sub(k.N, big.NewInt(1)) },
		"another prime": func(k *rsa.PrivateKey) {
			k.Primes = []*big.Int{new(big.Int).Add(k.Primes[0], big.NewInt(2)), k.Primes[1]}
		},
	} {
		broken := &rsa.PrivateKey{PublicKey: good.PublicKey, D: good.D, Primes: good.Primes}
		spoil(broken)
		key, err := NewKey(broken)
		if err != nil {
			continue
		}
		var told []Fault
		c := NewChecked(newLibcrypto(t), Go{}, func(f Fault) { told = append(told, f) })
		signatures, err := c.Sign(key, [][]byte{[]byte("a")})
		if err == nil && !key.verify([]byte("a"), signatures[0]) {
			t.Errorf("%s: a wrong signature", name)
		}
		for _, secret := range []*big.Int{broken.D, broken.Primes[0], broken.Primes[1]} {
			for _, shown := range []string{fmt.Sprint(err), fmt.Sprint(told)} {
				if strings.Contains(shown, secret.String()) || strings.Contains(shown, secret.Text(16)) {
					t.Errorf("%s: shows the key: %s", name, shown)
				}
			}
		}
		t.Logf("%s: %v, %v", name, err, told)
	}
}

// BenchmarkLibcrypto_Call is what one call costs that does nothing: EVP_MD_CTX_free(NULL).
func BenchmarkLibcrypto_Call(b *testing.B) {
	l := newLibcrypto(b)
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		purego.SyscallN(l.call.freeContext, 0)
	}
}

func TestChoose_FindsLibcryptoWhereThereIsOne(t *testing.T) {
	for _, way := range []string{Auto, Libcrypto} {
		c, err := Choose(way, func(f Fault) { t.Error(f) })
		if err != nil || c.Library == "" || c.Missing != nil {
			t.Fatalf("%s: got %+v, %v", way, c, err)
		}
		t.Cleanup(c.Close)
		key := testKey(t, "rsa2048")
		signatures, err := NewStage(c.Backend, 0, nil).Sign(t.Context(), Request{Key: key, Message: text("a")})
		if err != nil || !key.verify([]byte("a"), signatures) {
			t.Errorf("%s: got %x, %v", way, signatures, err)
		}
		_, _ = c.Backend.Sign(testKey(t, "ed25519"), [][]byte{[]byte("a"), []byte("b")})
		if library, inGo := c.Made(); library != 1 || inGo != 2 {
			t.Errorf("%s: counts %d and %d", way, library, inGo)
		}
	}
}

func TestChoose_TakesGoWhereThereIsNone(t *testing.T) {
	names := libcryptoNames
	defer func() { libcryptoNames = names }()
	libcryptoNames = []string{"libnothing.so.3"}
	c, err := Choose(Auto, nil)
	if err != nil || c.Library != "" || c.Missing == nil || !strings.Contains(c.Missing.Error(), "libnothing.so.3") {
		t.Errorf("got %+v, %v", c, err)
	}
	key := testKey(t, "rsa1024")
	want, _ := Go{}.Sign(key, [][]byte{[]byte("a")})
	if got, err := c.Backend.Sign(key, [][]byte{[]byte("a")}); err != nil || !bytes.Equal(got[0], want[0]) {
		t.Errorf("got %x, %v", got, err)
	}
	c.Close()
	var unavailable *UnavailableError
	if _, err := Choose(Libcrypto, nil); !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "libnothing.so.3") {
		t.Errorf("got %v", err)
	}
}
