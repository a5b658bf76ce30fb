//go:build !linux || !(amd64 || arm64) || static

package sign

import "errors"

// libcryptoNames are none: there is no loader in this build.
var libcryptoNames []string

// libcrypto is never there.
type libcrypto struct {
	Go
	version string
}

func (*libcrypto) close() {}

func loadLibcrypto([]string) (*libcrypto, error) {
	return nil, errors.New("this build can't load libraries: it was made with STATIC=1, or is not for Linux on amd64 or arm64")
}
