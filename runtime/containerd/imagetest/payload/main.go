//go:build linux

// Payload is the program of our test images. Its first argument says what it
// does; every mode that waits ends with code 0 on SIGTERM.
//
//	serve           HTTP on $PORT (8080): / answers hostname, $VERSION and pid,
//	                /env?name=N a variable, /file?path=P a file, /healthz "ok"
//	                /page/NAME the status that /set?page=NAME&code=C or $PAGES
//	                gave it (0 = no answer), /count?page=NAME how often it was
//	                asked for; prints "page NAME" each time, and "told to end".
//	                Datagrams to the port are answered with the hostname and what
//	                came; client.go has pages that ask others. $FAULT makes it
//	                fail (faults.go); on SIGTERM it takes $LINGER at most to
//	                close kept connections as HTTP has it
//	lines           print "line N" every 10 ms
//	database DIR    take an exclusive lock in DIR as PostgreSQL does, or exit
//	                with 3 if another holds it; write a heartbeat; serve as above
//	memory          allocate and touch memory without end
//	deaf            ignore SIGTERM
//	get URL         ask for a page, end with 1 unless it is there
//	leave           end, but leave a child behind that holds the output open
//	say TEXT CODE   print a text, ^[ in it as an escape, and end at once
//	cat             print the standard input up to its end
//	exit CODE       end at once
//	family          start children of children that leave their session, wait
//	report          print the process's security attributes, one "name: value"
//	                a line, then whether some forbidden things work
//	show FILE...    print files, then "end: show"
//	burn            use one core
//
// With $ACTS set it is the program that it is called as: see actor.go.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/orpheus-cd/orpheus/runtime/containerd/containerinit" // it is that, too, in tests
)

func main() {
	if os.Getenv("ACTS") != "" {
		os.Exit(act(filepath.Base(os.Args[0]), os.Args[1:]))
	}
	mode, args := "serve", os.Args[1:]
	if len(args) > 0 {
		mode, args = args[0], args[1:]
	}
	switch mode {
	case "serve":
		serve()
	case "lines":
		go func() {
			for n := 0; ; n++ {
				fmt.Println("line", n)
				time.Sleep(10 * time.Millisecond)
			}
		}()
		untilTerm()
	case "database":
		database(argument(args))
	case "memory":
		memory()
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		if os.Getenv("SILENT") == "" {
			fmt.Println("ready")
		}
		for {
			time.Sleep(time.Hour) // an empty select would be taken for a deadlock
		}
	case "cat":
		_, err := io.Copy(os.Stdout, os.Stdin)
		check(err)
	case "exit":
		code, err := strconv.Atoi(argument(args))
		check(err)
		os.Exit(code)
	case "get":
		get(argument(args))
	case "leave":
		leave()
	case "say":
		fmt.Println(strings.ReplaceAll(argument(args), "^[", "\x1b"))
		code, err := strconv.Atoi(argument(args[1:]))
		check(err)
		os.Exit(code)
	case "family":
		family(argument(append(args, "3")))
	case "report":
		report()
	case "show":
		for _, name := range args {
			text, err := os.ReadFile(name)
			check(err)
			fmt.Printf("%s:\n%s\n", name, text)
		}
		fmt.Println("end: show")
	case "burn":
		for n := uint64(1); n != 0; n = n*6364136223846793005 + 1442695040888963407 {
			continue
		}
	default:
		fmt.Fprintf(os.Stderr, "unknown mode %q\n", mode)
		os.Exit(2)
	}
}

func argument(args []string) string {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "an argument is missing")
		os.Exit(2)
	}
	return args[0]
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// untilTerm says that the program is ready and waits to be told to end.
func untilTerm() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	fmt.Println("ready")
	<-stop
	os.Exit(0)
}
