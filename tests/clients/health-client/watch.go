// This file exists to watch with a crowd: many streams over many connections, counted and not listed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"petsage.dev/clients/internal/cli"
)

func watch(args []string) int {
	flags := flag.NewFlagSet(program+" watch", flag.ContinueOnError)
	addr := flags.String("addr", "", "HOST:PORT of the server")
	service := flags.String("service", "", "service to watch")
	watchers := flags.Int("watchers", 1, "number of Watch streams")
	connections := flags.Int("connections", 1, "number of TCP connections the streams are spread over")
	distinct := flags.Bool("distinct", false, "let each watcher ask for SERVICE-INDEX")
	firstTimeout := flags.Duration("first-timeout", 30*time.Second, "time for the first message of every watcher")
	untilFirst := flags.Bool("until-first", false, "end after the first messages")
	cli.Parse(flags, args, "addr")
	if *watchers < 1 || *connections < 1 {
		cli.Fail(flags.Name(), "-watchers and -connections must be 1 or more")
	}

	stopped, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	firstOver, cancel := context.WithTimeout(stopped, *firstTimeout)
	defer cancel()

	clients := make([]healthpb.HealthClient, *connections)
	for i := range clients {
		conn := dial(*addr)
		defer conn.Close()
		conn.Connect()
		clients[i] = healthpb.NewHealthClient(conn)
	}
	news := make(chan message, *watchers)
	for i := range *watchers {
		name := *service
		if *distinct {
			name = fmt.Sprintf("%s-%d", *service, i)
		}
		go follow(clients[i%*connections], name, i, news)
	}

	everyone := crowd{watchers: make([]watcher, *watchers)}
	everyone.hear(firstOver, news, func() bool { return everyone.begun == *watchers })
	received := everyone.emitFirst()
	if *untilFirst {
		return exitStatus(received == *watchers)
	}
	everyone.hear(stopped, news, func() bool { return everyone.ended == *watchers })
	everyone.emitEnd()
	return 0
}

// message is what happened to one watcher: a status came or, with an error, its stream ended.
type message struct {
	watcher int
	status  string
	err     error
}

// follow sends on what one Watch stream brings until it ends.
func follow(client healthpb.HealthClient, service string, index int, news chan<- message) {
	stream, err := client.Watch(context.Background(), &healthpb.HealthCheckRequest{Service: service})
	for err == nil {
		var answer *healthpb.HealthCheckResponse
		if answer, err = stream.Recv(); err == nil {
			news <- message{watcher: index, status: answer.GetStatus().String()}
		}
	}
	news <- message{watcher: index, err: err}
}

type watcher struct {
	seen  []string
	ended bool
	code  codes.Code
}

// crowd is all that is known of the watchers; begun counts those with a first message or a failure.
type crowd struct {
	watchers []watcher
	begun    int
	ended    int
}

// hear takes in the news until enough is known or the context is over.
func (c *crowd) hear(ctx context.Context, news <-chan message, enough func() bool) {
	for !enough() {
		select {
		case m := <-news:
			c.add(m)
		case <-ctx.Done():
			for { // what came before the end counts
				select {
				case m := <-news:
					c.add(m)
				default:
					return
				}
			}
		}
	}
}

func (c *crowd) add(m message) {
	w := &c.watchers[m.watcher]
	if len(w.seen) == 0 {
		c.begun++
	}
	if m.err == nil {
		w.seen = append(w.seen, m.status)
		return
	}
	c.ended++
	w.ended = true
	if !errors.Is(m.err, io.EOF) { // EOF is the end with OK
		w.code = status.Code(m.err)
	}
}

func (c *crowd) emitFirst() (received int) {
	statuses, failures := map[string]int{}, map[string]int{}
	for _, w := range c.watchers {
		if len(w.seen) > 0 {
			statuses[w.seen[0]]++
			received++
		} else if w.ended {
			failures[w.code.String()]++
		}
	}
	emit(struct {
		Event    string         `json:"event"`
		Received int            `json:"received"`
		Failed   int            `json:"failed"`
		Statuses map[string]int `json:"statuses"`
		Codes    map[string]int `json:"codes"`
	}{"first", received, c.begun - received, statuses, failures})
	return received
}

func (c *crowd) emitEnd() {
	ends, sequences := map[string]int{}, map[string]int{}
	for _, w := range c.watchers {
		if w.ended {
			ends[w.code.String()]++
		}
		sequences[strings.Join(w.seen, ",")]++
	}
	emit(struct {
		Event     string         `json:"event"`
		Watchers  int            `json:"watchers"`
		Ended     int            `json:"ended"`
		Codes     map[string]int `json:"codes"`
		Sequences map[string]int `json:"sequences"`
	}{"end", len(c.watchers), c.ended, ends, sequences})
}
