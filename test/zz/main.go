package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s, err := postgres.Start(ctx, postgres.Options{Settings: map[string]string{"max_connections": "100"}})
	check(err)
	defer s.Close()
	url, err := s.CreateDatabase(ctx, "app")
	check(err)
	c, err := fleet.NewCluster(ctx, os.Args[1], url, fediverse.Config{})
	check(err)
	_, err = fleet.Seed(ctx, c.DB, c.Fedi, fleet.Seeding{Actors: 2, Instances: 2000})
	check(err)
	for i := range 30 {
		c.Fedi.Instance(fleet.Domain(i)).SetAnswer(fediverse.Explained(503, "text/plain", "メンテナンス中です。しばらくお待ちください。 Service is down for maintenance, please try again later"))
	}
	for i := 30; i < 36; i++ {
		c.Fedi.Instance(fleet.Domain(i)).SetAnswer(fediverse.Status(401))
	}
	_, err = c.DB.Exec(ctx, `insert into fedsender.domain_block (domain) values ('i-00050.example'); select fedsender.pause('i-00051.example', now() + interval '2 hours')`)
	check(err)
	_, err = c.Start(ctx, 2)
	check(err)
	_, err = c.DB.Exec(ctx, `insert into fedsender.activity (ap_id, data, actor_id, send_all_instances)
		select id, json_build_object('id', id, 'type', 'Create', 'actor', 'https://home.example/u/0', 'object', id || '/object'), 1, true
		from (select 'https://home.example/u/0/activities/' || n as id from generate_series(1, 4) n) a`)
	check(err)
	check(os.WriteFile("/tmp/zz_url", []byte("export DATABASE_URL='"+url+"' SENDER_CONNECT_TO="+c.Fedi.Addr()+" SENDER_CA_FILE="+c.Fedi.CAFile()+"\n"), 0o644))
	fmt.Println("ready", s.PID())
	<-ctx.Done()
	_ = c.Close(context.Background())
}
