package sign

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

const signingString = "(request-target): post /inbox\nhost: toad.example\ndate: Mon, 02 Nov 2026 09:05:07 GMT\n" +
	"digest: SHA-256=RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="

// backends are all that this build has.
func backends(t testing.TB) map[string]Backend {
	t.Helper()
	all := map[string]Backend{"go": Go{}}
	if len(libcryptoNames) > 0 {
		all["libcrypto"] = newLibcrypto(t)
	}
	return all
}

// newLibcrypto fails where there is none: a machine for tests has it, because PostgreSQL wants it.
func newLibcrypto(t testing.TB) *libcrypto {
	t.Helper()
	l, err := loadLibcrypto(libcryptoNames)
	if err != nil {
		t.Fatalf("there is no libcrypto to test with: %s", err)
	}
	t.Cleanup(l.close)
	return l
}

// vectors were made with openssl dgst -sha256 -sign and openssl pkeyutl -sign -rawin.
var vectors = []struct{ key, message, signature string }{
	{"rsa1024", signingString, "B9tKeDZ0v5ldmxjROTobIkJV9jaosCAe2M76gePtBuywpidGTkDTa5IGWb2mByrsNDO76bE7WmD/4h6sWIgFKwL2" +
		"TRFKGm0Rk60ya6BSonn/3YSXqrvtZ4jbF+lNUrHOrytT2T22Aidgf1KnmsEYhCwTDOsGIqc6gxoNIDO1A7Q="},
	{"ed25519", signingString, "KKJ9WowYsMYM0V5JqKB4lAnQnhs6qphyI5HwHu6GU/+7eIqpJuLGcsqvUOTQ52e+G1IZhOSCHbiKVcNy1daaBg=="},
}

func TestBackends_MakeTheSignaturesOfTheVectors(t *testing.T) {
	for name, backend := range backends(t) {
		for _, v := range vectors {
			signatures, err := backend.Sign(testKey(t, v.key), [][]byte{[]byte(v.message)})
			if err != nil {
				t.Fatalf("%s, %s: %s", name, v.key, err)
			}
			if got := base64.StdEncoding.EncodeToString(signatures[0]); got != v.signature {
				t.Errorf("%s, %s: got %s, want %s", name, v.key, got, v.signature)
			}
		}
	}
}

func TestBackends_MakeTheSameSignaturesWithEveryKindOfKey(t *testing.T) {
	messages := [][]byte{nil, {}, {0}, []byte(signingString), []byte("ä\x00\xff\n"), bytes.Repeat([]byte("x"), 1<<20)}
	for name, key := range testKeys(t) {
		want, err := Go{}.Sign(key, messages)
		if err != nil {
			t.Fatalf("go, %s: %s", name, err)
		}
		for by, backend := range backends(t) {
			got, err := backend.Sign(key, messages)
			if err != nil {
				t.Errorf("%s, %s: %s", by, name, err)
				continue
			}
			for i, message := range messages {
				if !bytes.Equal(got[i], want[i]) || !key.verify(message, got[i]) {
					t.Errorf("%s, %s, message %d: got %x, want %x", by, name, i, got[i], want[i])
				}
			}
		}
	}
}

func FuzzBackends_MakeTheSameSignatures(f *testing.F) {
	keys := []*Key{testKey(f, "rsa1024"), testKey(f, "rsa2048-e3"), testKey(f, "rsa2047"), testKey(f, "ed25519")}
	all := backends(f)
	f.Add(byte(0), []byte(signingString))
	f.Add(byte(3), []byte{})
	f.Fuzz(func(t *testing.T, which byte, message []byte) {
		key := keys[int(which)%len(keys)]
		var first []byte
		for name, backend := range all {
			signatures, err := backend.Sign(key, [][]byte{message})
			if err != nil || !key.verify(message, signatures[0]) {
				t.Fatalf("%s, %s: %x is wrong: %v", name, key, signatures, err)
			}
			if first != nil && !bytes.Equal(first, signatures[0]) {
				t.Fatalf("%s, %s: %x, and another one made %x", name, key, signatures[0], first)
			}
			first = signatures[0]
		}
	})
}

func TestKey_VerifiesOnlyItsOwnSignatures(t *testing.T) {
	for name, key := range testKeys(t) {
		signatures, err := Go{}.Sign(key, [][]byte{[]byte("a")})
		if err != nil {
			t.Fatal(err)
		}
		wrong := bytes.Clone(signatures[0])
		wrong[len(wrong)/2] ^= 1
		if !key.verify([]byte("a"), signatures[0]) || key.verify([]byte("b"), signatures[0]) || key.verify([]byte("a"), wrong) || key.verify([]byte("a"), nil) {
			t.Errorf("%s does not tell right from wrong", name)
		}
	}
}

func TestKey_ShowsItsKindAndNothingElse(t *testing.T) {
	key := testKey(t, "rsa2048")
	private := key.private.(*rsa.PrivateKey)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if shown := fmt.Sprintf(format, key); shown != "RSA key of 2048 bits" {
			t.Errorf("%s shows %s", format, shown)
		}
		if shown := fmt.Sprintf(format, struct{ K *Key }{key}); strings.Contains(shown, private.D.String()) {
			t.Errorf("%s in a struct shows %s", format, shown)
		}
	}
	if shown := key.LogValue().String(); shown != "RSA key of 2048 bits" {
		t.Errorf("a log shows %s", shown)
	}
	if shown := fmt.Sprint(testKey(t, "ed25519")); shown != "Ed25519 key" {
		t.Errorf("got %s", shown)
	}
}
