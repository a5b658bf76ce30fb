//go:build (amd64 || arm64) && !static

package sign

import (
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

const (
	// maxLoaded bounds the keys that libcrypto holds for us, some 8 KiB each with what it works out in advance.
	maxLoaded = 1024
	// oldest is 1.1.1, the first with EVP_DigestSign (OPENSSL_VERSION_NUMBER(3)).
	oldest = 0x10101000
)

// libcryptoNames are what the loader of the C library is asked for, on glibc and on musl: the newest first, then what a
// system without versions in its names has.
var libcryptoNames = []string{"libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so"}

// libcrypto signs through the EVP interface of OpenSSL's library (EVP_DigestSign(3)), which is loaded at run time. Keys
// may be shared between threads as long as nobody changes them, contexts may not (openssl-threads(7)): each signature has
// a context of its own. RSA blinding stays on, as it is by default.
type libcrypto struct {
	version string // "OpenSSL 3.0.19 27 Jan 2026"
	call    functions
	sha256  uintptr // EVP_MD, which belongs to the library
	keys    *keyCache
}

// functions are addresses in the library.
type functions struct {
	versionText, versionNumber             uintptr
	parseKey, freeKey                      uintptr
	newContext, freeContext                uintptr
	sha256, signInit, sign                 uintptr
	firstError, clearErrors, describeError uintptr
}

// names say which symbol each function is.
func (f *functions) names() map[string]*uintptr {
	return map[string]*uintptr{
		"OpenSSL_version": &f.versionText, "OpenSSL_version_num": &f.versionNumber,
		"d2i_AutoPrivateKey": &f.parseKey, "EVP_PKEY_free": &f.freeKey,
		"EVP_MD_CTX_new": &f.newContext, "EVP_MD_CTX_free": &f.freeContext,
		"EVP_sha256": &f.sha256, "EVP_DigestSignInit": &f.signInit, "EVP_DigestSign": &f.sign,
		"ERR_get_error": &f.firstError, "ERR_clear_error": &f.clearErrors, "ERR_error_string_n": &f.describeError,
	}
}

// loadLibcrypto loads the first of the libraries that there is and that has what is needed. The error says of each why it
// was not taken.
func loadLibcrypto(names []string) (*libcrypto, error) {
	var missing []string
	for _, name := range names {
		l, err := openLibcrypto(name)
		if err == nil {
			return l, nil
		}
		missing = append(missing, err.Error())
	}
	return nil, errors.New(strings.Join(missing, "; "))
}

func openLibcrypto(name string) (_ *libcrypto, err error) {
	defer caught(&err)
	runtime.LockOSThread() // dlerror(3) tells a thread why its own last call failed
	defer runtime.UnlockOSThread()
	library, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	// A library that is not taken stays loaded: what it has registered with the C library may point into it.
	l := &libcrypto{}
	for symbol, address := range l.call.names() {
		if *address, err = purego.Dlsym(library, symbol); err != nil {
			return nil, fmt.Errorf("%s has no %s", name, symbol)
		}
	}
	text, _, _ := purego.SyscallN(l.call.versionText, 0)
	l.version = textAt(text)
	if number, _, _ := purego.SyscallN(l.call.versionNumber); number < oldest {
		return nil, fmt.Errorf("%s is %s, older than 1.1.1", name, l.version)
	}
	if l.sha256, _, _ = purego.SyscallN(l.call.sha256); l.sha256 == 0 {
		return nil, fmt.Errorf("%s has no SHA-256", name)
	}
	l.keys = newKeyCache(maxLoaded, l.parse, func(key uintptr) { purego.SyscallN(l.call.freeKey, key) })
	return l, nil
}

// Lanes implements [Backend].
func (l *libcrypto) Lanes() int { return 1 }

// Sign implements [Backend].
func (l *libcrypto) Sign(key *Key, messages [][]byte) ([][]byte, error) {
	signatures := make([][]byte, len(messages))
	err := l.keys.use(key, func(loaded uintptr) (err error) {
		for i, message := range messages {
			if signatures[i], err = l.sign(key, loaded, message); err != nil {
				return fmt.Errorf("libcrypto and an %s: %w", key, err)
			}
		}
		return nil
	})
	return signatures, err
}

func (l *libcrypto) sign(key *Key, loaded uintptr, message []byte) ([]byte, error) {
	runtime.LockOSThread() // the library keeps what went wrong by thread
	defer runtime.UnlockOSThread()
	context, _, _ := purego.SyscallN(l.call.newContext)
	if context == 0 {
		return nil, l.failure("EVP_MD_CTX_new")
	}
	defer purego.SyscallN(l.call.freeContext, context)
	digest := l.sha256
	if key.algorithm == Ed25519 {
		digest = 0 // it has its own
	}
	if done, _, _ := purego.SyscallN(l.call.signInit, context, 0, digest, 0, loaded); int32(done) != 1 {
		return nil, l.failure("EVP_DigestSignInit")
	}
	signature := make([]byte, key.size())
	length := uintptr(len(signature)) // in: the room; out: what it took
	done, _, _ := purego.SyscallN(l.call.sign, context,
		uintptr(unsafe.Pointer(unsafe.SliceData(signature))), uintptr(unsafe.Pointer(&length)),
		uintptr(unsafe.Pointer(unsafe.SliceData(message))), uintptr(len(message)))
	if int32(done) != 1 {
		return nil, l.failure("EVP_DigestSign")
	}
	if length != uintptr(len(signature)) {
		return nil, fmt.Errorf("EVP_DigestSign made %d bytes instead of %d", length, len(signature))
	}
	return signature, nil
}

// parse hands a key to the library in the form that Go writes, whatever form it came in. The copy in between is wiped.
func (l *libcrypto) parse(key *Key) (uintptr, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key.private)
	if err != nil {
		return 0, fmt.Errorf("an %s can't be written as PKCS#8", key)
	}
	defer clear(der)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var pinner runtime.Pinner
	defer pinner.Unpin()
	start := unsafe.SliceData(der)
	pinner.Pin(start)
	// The library moves this to the end of the key. As a pointer of Go's it would point past an object then, which the
	// garbage collector takes for a fault.
	at := uintptr(unsafe.Pointer(start))
	loaded, _, _ := purego.SyscallN(l.call.parseKey, 0, uintptr(unsafe.Pointer(&at)), uintptr(len(der)))
	if loaded == 0 {
		return 0, fmt.Errorf("libcrypto and an %s: %w", key, l.failure("d2i_AutoPrivateKey"))
	}
	return loaded, nil
}

// failure is why the last call of this thread went wrong. The library's words name its functions and reasons, and hold
// nothing of a key.
func (l *libcrypto) failure(function string) error {
	code, _, _ := purego.SyscallN(l.call.firstError)
	if code == 0 {
		return fmt.Errorf("%s failed", function)
	}
	text := make([]byte, 256) // what ERR_error_string_n(3) asks for at least
	purego.SyscallN(l.call.describeError, code, uintptr(unsafe.Pointer(unsafe.SliceData(text))), uintptr(len(text)))
	purego.SyscallN(l.call.clearErrors)
	said, _, _ := strings.Cut(string(text), "\x00")
	return fmt.Errorf("%s failed: %s", function, said)
}

// close lets go of all keys.
func (l *libcrypto) close() { l.keys.drop() }

// textAt copies a C string of the library's own, which has an end and does not move.
func textAt(address uintptr) string {
	if address == 0 {
		return ""
	}
	start := *(**byte)(unsafe.Pointer(&address)) // as vet wants it: no uintptr is made a pointer
	length := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(start), length)) != 0 {
		length++
	}
	return string(unsafe.Slice(start, length))
}
