// Package cli exists so that every program here answers a wrong call alike: one clear line and exit status 64.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

const exitUsage = 64

// Parse reads args into flags and ends the program if they are wrong or one of the required flags is missing.
func Parse(flags *flag.FlagSet, args []string, required ...string) {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Printf("usage: %s [flags]\n", flags.Name())
		flags.SetOutput(os.Stdout)
		flags.PrintDefaults()
		os.Exit(0)
	}
	if err != nil {
		Fail(flags.Name(), err.Error())
	}
	if flags.NArg() > 0 {
		Fail(flags.Name(), fmt.Sprintf("unexpected argument %q", flags.Arg(0)))
	}
	var missing []string
	for _, name := range required {
		if option := flags.Lookup(name); option.Value.String() == option.DefValue {
			missing = append(missing, "-"+name)
		}
	}
	if len(missing) > 0 {
		Fail(flags.Name(), "missing "+strings.Join(missing, ", "))
	}
}

// Fail tells the user in one line what was wrong with the call and ends the program.
func Fail(program, message string) {
	fmt.Fprintf(os.Stderr, "%s: %s\n", program, message)
	os.Exit(exitUsage)
}
