package sender

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/deliver/sign"
)

func TestSigningTurns_AreOneForEachProcessorAndOneMoreForLibcrypto(t *testing.T) {
	processors := runtime.GOMAXPROCS(0)
	require.Equal(t, processors, signingTurns(&sign.Choice{}))
	require.Equal(t, processors+1, signingTurns(&sign.Choice{Library: "OpenSSL 3.0.19"}))
}
