//go:build (amd64 || arm64) && !static

package sign

import (
	"crypto/sha256"
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

// libcrypto signs through the EVP interface of OpenSSL's library (EVP_PKEY_sign(3), EVP_DigestSign(3)), which is loaded at
// run time. RSA blinding stays on, as it is by default.
type libcrypto struct {
	version string // "OpenSSL 3.0.19 27 Jan 2026"
	call    functions
	keys    *keyCache[*nativeKey]
}

// functions are addresses in the library.
type functions struct {
	versionText, versionNumber             uintptr
	parseKey, freeKey                      uintptr
	newContext, freeContext                uintptr
	signInit, setting, sign                uintptr
	newOnce, freeOnce, onceInit, once      uintptr
	firstError, clearErrors, describeError uintptr
}

// names say which symbol each function is.
func (f *functions) names() map[string]*uintptr {
	return map[string]*uintptr{
		"OpenSSL_version": &f.versionText, "OpenSSL_version_num": &f.versionNumber,
		"d2i_AutoPrivateKey": &f.parseKey, "EVP_PKEY_free": &f.freeKey,
		"EVP_PKEY_CTX_new": &f.newContext, "EVP_PKEY_CTX_free": &f.freeContext,
		"EVP_PKEY_sign_init": &f.signInit, "EVP_PKEY_CTX_ctrl_str": &f.setting, "EVP_PKEY_sign": &f.sign,
		"EVP_MD_CTX_new": &f.newOnce, "EVP_MD_CTX_free": &f.freeOnce,
		"EVP_DigestSignInit": &f.onceInit, "EVP_DigestSign": &f.once,
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
	l.keys = newKeyCache(maxLoaded, l.parse, l.free)
	return l, nil
}

// Lanes implements [Backend].
func (l *libcrypto) Lanes() int { return 1 }

// Sign implements [Backend].
func (l *libcrypto) Sign(key *Key, messages [][]byte) ([][]byte, error) {
	signatures := make([][]byte, len(messages))
	signOne := l.sign
	if key.algorithm == Ed25519 {
		signOne = l.signOnce
	}
	err := l.keys.use(key, func(native *nativeKey) (err error) {
		for i, message := range messages {
			if signatures[i], err = signOne(key, native, message); err != nil {
				return fmt.Errorf("libcrypto and an %s: %w", key, err)
			}
		}
		return nil
	})
	return signatures, err
}

// sign signs the digest, with a context that was prepared before: to prepare one for each signature takes the library
// longer than all of Go's part.
func (l *libcrypto) sign(key *Key, native *nativeKey, message []byte) (_ []byte, err error) {
	runtime.LockOSThread() // the library keeps what went wrong by thread
	defer runtime.UnlockOSThread()
	context := native.take()
	if context == 0 {
		if context, err = l.prepare(native); err != nil {
			return nil, err
		}
	}
	digest := sha256.Sum256(message)
	signature := make([]byte, key.size())
	length := uintptr(len(signature)) // in: the room; out: what it took
	done, _, _ := purego.SyscallN(l.call.sign, context,
		uintptr(unsafe.Pointer(unsafe.SliceData(signature))), uintptr(unsafe.Pointer(&length)),
		uintptr(unsafe.Pointer(&digest)), uintptr(len(digest)))
	if int32(done) != 1 {
		err = l.failure("EVP_PKEY_sign")
		purego.SyscallN(l.call.freeContext, context)
		return nil, err
	}
	native.give(context)
	return whole("EVP_PKEY_sign", signature, length)
}

// prepare makes a context that signs digests of SHA-256 with PKCS #1 v1.5, which RSA keys have without being told.
func (l *libcrypto) prepare(native *nativeKey) (uintptr, error) {
	context, _, _ := purego.SyscallN(l.call.newContext, native.key, 0)
	if context == 0 {
		return 0, l.failure("EVP_PKEY_CTX_new")
	}
	if done, _, _ := purego.SyscallN(l.call.signInit, context); int32(done) != 1 {
		defer purego.SyscallN(l.call.freeContext, context)
		return 0, l.failure("EVP_PKEY_sign_init")
	}
	name, value := []byte("digest\x00"), []byte("sha256\x00")
	done, _, _ := purego.SyscallN(l.call.setting, context,
		uintptr(unsafe.Pointer(unsafe.SliceData(name))), uintptr(unsafe.Pointer(unsafe.SliceData(value))))
	if int32(done) != 1 {
		defer purego.SyscallN(l.call.freeContext, context)
		return 0, l.failure("EVP_PKEY_CTX_ctrl_str")
	}
	return context, nil
}

// signOnce is for Ed25519, which signs the message itself, and with a context of its own each time.
func (l *libcrypto) signOnce(key *Key, native *nativeKey, message []byte) ([]byte, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	context, _, _ := purego.SyscallN(l.call.newOnce)
	if context == 0 {
		return nil, l.failure("EVP_MD_CTX_new")
	}
	defer purego.SyscallN(l.call.freeOnce, context)
	if done, _, _ := purego.SyscallN(l.call.onceInit, context, 0, 0, 0, native.key); int32(done) != 1 {
		return nil, l.failure("EVP_DigestSignInit")
	}
	signature := make([]byte, key.size())
	length := uintptr(len(signature)) // in: the room; out: what it took
	done, _, _ := purego.SyscallN(l.call.once, context,
		uintptr(unsafe.Pointer(unsafe.SliceData(signature))), uintptr(unsafe.Pointer(&length)),
		uintptr(unsafe.Pointer(unsafe.SliceData(message))), uintptr(len(message)))
	if int32(done) != 1 {
		return nil, l.failure("EVP_DigestSign")
	}
	return whole("EVP_DigestSign", signature, length)
}

func whole(function string, signature []byte, length uintptr) ([]byte, error) {
	if length != uintptr(len(signature)) {
		return nil, fmt.Errorf("%s made %d bytes instead of %d", function, length, len(signature))
	}
	return signature, nil
}

// parse hands a key to the library in the form that Go writes, whatever form it came in. The copy in between is wiped.
func (l *libcrypto) parse(key *Key) (*nativeKey, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key.private)
	if err != nil {
		return nil, fmt.Errorf("an %s can't be written as PKCS#8", key)
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
		return nil, fmt.Errorf("libcrypto and an %s: %w", key, l.failure("d2i_AutoPrivateKey"))
	}
	return &nativeKey{key: loaded}, nil
}

// free is called when nobody signs with the key.
func (l *libcrypto) free(native *nativeKey) {
	for _, context := range native.contexts {
		purego.SyscallN(l.call.freeContext, context)
	}
	purego.SyscallN(l.call.freeKey, native.key)
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
