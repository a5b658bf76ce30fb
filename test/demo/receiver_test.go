package demo

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReceiver_SaysWhatItRefusesAndWhy(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Receive(ctx, ReceiverOptions{Out: in, Addr: "127.0.0.1:0"}) }()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	address := strings.TrimSuffix(strings.TrimPrefix(lines.Text(), "listening on "), ", for every domain")
	said := make(chan string, 1)
	go func() { lines.Scan(); said <- lines.Text() }()
	answer, err := http.Post("http://"+address+"/inbox", "application/activity+json", strings.NewReader(`{"id": "https://a.example/1\u001b[2J", "type": "Like"}`))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
	require.Regexp(t, `^401 http://`+address+`/inbox: Like https://a.example/1\[2J, .`, <-said)
	cancel()
	require.NoError(t, <-ended)
}

func TestReceiver_AKeyThatCantBeReadIsNamed(t *testing.T) {
	err := Receive(t.Context(), ReceiverOptions{Out: io.Discard, Addr: "127.0.0.1:0", Keys: map[string]string{"https://a.example/u#k": "nowhere.pem"}})
	require.ErrorContains(t, err, "the public key of https://a.example/u#k: open nowhere.pem")
}
