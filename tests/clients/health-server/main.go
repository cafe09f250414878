// Health-server exists so that the tests check a real downstream: the health service of grpc-go, as its users run it.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"petsage.dev/clients/internal/cli"
)

const program = "health-server"

func main() {
	flags := flag.NewFlagSet(program, flag.ContinueOnError)
	addr := flags.String("addr", "", "HOST:PORT to listen on; port 0 takes any")
	noWatch := flags.Bool("no-watch", false, "leave Watch unimplemented")
	cert := flags.String("tls-cert", "", "certificate of the server, in PEM form")
	key := flags.String("tls-key", "", "its key, in PEM form")
	cli.Parse(flags, os.Args[1:], "addr")
	if (*cert == "") != (*key == "") {
		cli.Fail(program, "-tls-cert and -tls-key go together")
	}

	options := []grpc.ServerOption{grpc.UnaryInterceptor(tellCall), grpc.StreamInterceptor(tellStream)}
	if *cert != "" {
		pair, err := credentials.NewServerTLSFromFile(*cert, *key)
		if err != nil {
			cli.Fail(program, fmt.Sprintf("-tls-cert %q, -tls-key %q: %v", *cert, *key, err))
		}
		options = append(options, grpc.Creds(pair))
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		cli.Fail(program, fmt.Sprintf("-addr %q: %v", *addr, err))
	}
	statuses := health.NewServer()
	server := grpc.NewServer(options...)
	if *noWatch {
		healthpb.RegisterHealthServer(server, withoutWatch{statuses: statuses})
	} else {
		healthpb.RegisterHealthServer(server, statuses)
	}
	go obey(statuses)
	emit(map[string]string{"event": "listening", "address": listener.Addr().String()})
	if err := server.Serve(listener); err != nil {
		cli.Fail(program, err.Error())
	}
}

// obey takes commands from stdin, "set [NAME] STATUS", and ends the program with its end: nobody is left behind.
func obey(statuses *health.Server) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || len(words) > 3 || words[0] != "set" {
			cli.Fail(program, fmt.Sprintf("unknown command %q: write set [NAME] STATUS", lines.Text()))
		}
		name, status := "", words[len(words)-1]
		if len(words) == 3 {
			name = words[1]
		}
		number, known := healthpb.HealthCheckResponse_ServingStatus_value[status]
		if !known {
			cli.Fail(program, fmt.Sprintf("unknown status %q", status))
		}
		statuses.SetServingStatus(name, healthpb.HealthCheckResponse_ServingStatus(number))
		emit(map[string]string{"event": "set", "name": name, "status": status})
	}
	os.Exit(0)
}

// withoutWatch is a health service as they were before Watch came into the protocol.
type withoutWatch struct {
	healthpb.UnimplementedHealthServer
	statuses *health.Server
}

// emit prints one JSON line, at once.
func emit(value any) {
	line, err := json.Marshal(value)
	if err == nil {
		_, err = os.Stdout.Write(append(line, '\n'))
	}
	if err != nil {
		cli.Fail(program, fmt.Sprintf("stdout: %v", err))
	}
}
