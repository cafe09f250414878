// This file exists to ask the server once, with Check or List.
package main

import (
	"context"
	"flag"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"petsage.dev/clients/internal/cli"
)

func check(args []string) int {
	flags := flag.NewFlagSet(program+" check", flag.ContinueOnError)
	addr := flags.String("addr", "", "HOST:PORT of the server")
	service := flags.String("service", "", "service to ask for")
	timeout := flags.Duration("timeout", 2*time.Second, "time for connection and answer together")
	cli.Parse(flags, args, "addr")

	var line struct {
		Code    string `json:"code"`
		Status  string `json:"status"`
		Message string `json:"message"`
	}
	answered := ask(*addr, *timeout, func(ctx context.Context, client healthpb.HealthClient) error {
		answer, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: *service})
		line.Code, line.Message = status.Code(err).String(), status.Convert(err).Message()
		if err == nil {
			line.Status = answer.GetStatus().String()
		}
		return err
	})
	emit(line)
	return exitStatus(answered)
}

func list(args []string) int {
	flags := flag.NewFlagSet(program+" list", flag.ContinueOnError)
	addr := flags.String("addr", "", "HOST:PORT of the server")
	timeout := flags.Duration("timeout", 2*time.Second, "time for connection and answer together")
	cli.Parse(flags, args, "addr")

	var line struct {
		Code     string            `json:"code"`
		Statuses map[string]string `json:"statuses"`
		Message  string            `json:"message,omitempty"`
	}
	line.Statuses = map[string]string{}
	answered := ask(*addr, *timeout, func(ctx context.Context, client healthpb.HealthClient) error {
		answer, err := client.List(ctx, &healthpb.HealthListRequest{})
		line.Code, line.Message = status.Code(err).String(), status.Convert(err).Message()
		for name, service := range answer.GetStatuses() {
			line.Statuses[name] = service.GetStatus().String()
		}
		return err
	})
	emit(line)
	return exitStatus(answered)
}

// ask makes one call and tells whether the server answered it: a code alone does not, since grpc-go makes up
// Unavailable and DeadlineExceeded itself.
func ask(addr string, timeout time.Duration, call func(context.Context, healthpb.HealthClient) error) bool {
	var answers answerCounter
	conn := dial(addr, grpc.WithStatsHandler(&answers))
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return call(ctx, healthpb.NewHealthClient(conn)) == nil || answers.Load() > 0
}

func exitStatus(answered bool) int {
	if answered {
		return 0
	}
	return 1
}

// answerCounter counts the trailers, that is the final statuses, which came from the server.
type answerCounter struct{ atomic.Int32 }

func (c *answerCounter) HandleRPC(_ context.Context, event stats.RPCStats) {
	if _, isTrailer := event.(*stats.InTrailer); isTrailer {
		c.Add(1)
	}
}

func (*answerCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*answerCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*answerCounter) HandleConn(context.Context, stats.ConnStats)                       {}
