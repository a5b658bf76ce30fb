package fediverse_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
)

// A sender delivers three activities to two instances, one of which is broken at first.
func Example() {
	f, err := fediverse.Start(fediverse.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()

	// What the receivers would fetch from the sender's actor.
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	f.Register("https://sender.example/users/alice#main-key", &private.PublicKey)

	// toad.example answers 503 to the first two requests; frog.example, which nobody mentions, takes everything.
	f.Instance("toad.example").SetBehaviour(fediverse.First(2, fediverse.Status(503), fediverse.Always(fediverse.OK)))

	// The sender needs two settings to find all of them: SENDER_CONNECT_TO and SENDER_CA_FILE.
	client, err := deliver.NewClient(deliver.Config{ConnectTo: f.Addr(), CAFile: f.CAFile(), SenderName: "sender-1"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() { deliverAll(client, private) })

	expected := fediverse.Expected{}
	for n := 1; n <= 3; n++ {
		expected.Add("https://toad.example/inbox", activityID(n))
		expected.Add("https://frog.example/users/bob/inbox", activityID(n))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := f.Ledger().WaitFor(ctx, func() bool { return f.Ledger().Accepted("") == 6 }); err != nil {
		log.Fatal(err)
	}

	// All activities are about one thing, so each instance must have accepted them in the order of their ids.
	order := func(activity string) (group string, rank int64) {
		rank, _ = strconv.ParseInt(activity[strings.LastIndexByte(activity, '/')+1:], 10, 64)
		return "alice's post", rank
	}
	fmt.Println(f.Ledger().Verdict(expected, order))
	for _, d := range f.Ledger().Deliveries("toad.example") {
		fmt.Println(d.Process, d.Activity, d.Status)
	}
	// Output:
	// delivered 6, lost 0, twice 0, out of order 0
	// sender-1 https://sender.example/activities/1 503
	// sender-1 https://sender.example/activities/1 503
	// sender-1 https://sender.example/activities/1 202
	// sender-1 https://sender.example/activities/2 202
	// sender-1 https://sender.example/activities/3 202
}

func activityID(n int) string { return fmt.Sprintf("https://sender.example/activities/%d", n) }

// deliverAll is the least that a sender does: one after the other, again until it is taken.
func deliverAll(client *deliver.Client, private *rsa.PrivateKey) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		log.Fatal(err)
	}
	key, err := deliver.ParseKey("https://sender.example/users/alice#main-key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	if err != nil {
		log.Fatal(err)
	}
	for n := 1; n <= 3; n++ {
		document, err := deliver.NewDocument(fmt.Appendf(nil, `{"id":%q,"type":"Update"}`, activityID(n)))
		if err != nil {
			log.Fatal(err)
		}
		for _, inbox := range []string{"https://toad.example/inbox", "https://frog.example/users/bob/inbox"} {
			for client.Post(context.Background(), inbox, document, key).Class != deliver.Delivered {
			}
		}
	}
}
