// Health-client exists so that the tests talk to the server through grpc-go's own health client.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"petsage.dev/clients/internal/cli"
)

const program = "health-client"

// commands take their own arguments and return the exit status.
var commands = map[string]func(args []string) int{
	"check":   check,
	"list":    list,
	"watch":   watch,
	"balance": balance,
}

func main() {
	if len(os.Args) < 2 {
		cli.Fail(program, "missing subcommand: check, list, watch or balance")
	}
	command, known := commands[os.Args[1]]
	if !known {
		cli.Fail(program, fmt.Sprintf("unknown subcommand %q: use check, list, watch or balance", os.Args[1]))
	}
	os.Exit(command(os.Args[2:]))
}

// dial opens a plaintext connection which nothing but its arguments can configure: no proxy, no service config of DNS.
func dial(addr string, options ...grpc.DialOption) *grpc.ClientConn {
	options = append(options,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
	)
	conn, err := grpc.NewClient(addr, options...)
	if err != nil {
		cli.Fail(program, fmt.Sprintf("-addr %q: %v", addr, err))
	}
	return conn
}

// emit prints one JSON line, at once.
func emit(value any) {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		fmt.Fprintf(os.Stderr, "%s: stdout: %v\n", program, err)
		os.Exit(1)
	}
}
