// Kubelet-prober exists so that the tests meet the very code with which a kubelet decides about a pod's gRPC probe.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/kubernetes/pkg/probe"
	grpcprobe "k8s.io/kubernetes/pkg/probe/grpc"

	"petsage.dev/clients/internal/cli"
)

func main() {
	flags := flag.NewFlagSet("kubelet-prober", flag.ContinueOnError)
	host := flags.String("host", "", "host of the pod")
	port := flags.Int("port", 0, "port of the gRPC server")
	service := flags.String("service", "", "service to ask for")
	timeout := flags.Duration("timeout", time.Second, "time for connection and answer together")
	cli.Parse(flags, os.Args[1:], "host", "port")

	result, output, err := grpcprobe.New().Probe(*host, *service, *port, *timeout, grpcprobe.ProbeOptions{})

	line := fmt.Sprintf("%s: %s", result, output)
	if err != nil {
		line += fmt.Sprintf(" (error: %v)", err)
	}
	fmt.Println(strings.ReplaceAll(line, "\n", `\n`))
	os.Exit(exitStatus(result, err))
}

func exitStatus(result probe.Result, err error) int {
	switch {
	case err == nil && result == probe.Success:
		return 0
	case err == nil && result == probe.Failure:
		return 1
	default:
		return 2
	}
}
