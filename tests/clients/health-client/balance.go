// This file exists to see how a grpc-go client which balances its load by health judges the server.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/health" // registers the health checking of the client side

	"petsage.dev/clients/internal/cli"
)

func balance(args []string) int {
	flags := flag.NewFlagSet(program+" balance", flag.ContinueOnError)
	addr := flags.String("addr", "", "HOST:PORT of the server")
	service := flags.String("service", "", "service whose health counts")
	seconds := flags.Float64("seconds", 0, "time to go on for")
	cli.Parse(flags, args, "addr", "seconds")
	if *seconds < 0 {
		cli.Fail(flags.Name(), "-seconds must be more than 0")
	}

	name, err := json.Marshal(*service)
	if err != nil {
		cli.Fail(flags.Name(), fmt.Sprintf("-service: %v", err))
	}
	conn := dial(*addr, grpc.WithDefaultServiceConfig(fmt.Sprintf(
		`{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":%s}}`, name)))
	defer conn.Close()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*seconds*float64(time.Second)))
	defer cancel()

	state := conn.GetState()
	conn.Connect()
	for conn.WaitForStateChange(ctx, state) {
		state = conn.GetState()
		emit(struct {
			Event string `json:"event"`
			State string `json:"state"`
		}{"state", state.String()})
	}
	return 0
}
