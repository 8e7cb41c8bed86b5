//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// act stands in for a program of another image, by its name: with $ACTS set the
// payload is whatever its links are called. Some programs ask or check something
// and end; a shell runs these; all others are servers.
func act(name string, args []string) int {
	switch name {
	case "sh":
		if len(args) == 2 && args[0] == "-c" {
			return shell(args[1])
		}
		return fail(errors.New("a line of commands is missing"))
	case "docker-entrypoint.sh", "tini":
		if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			return act(filepath.Base(args[0]), args[1:])
		}
		return actAsServer()
	case "probe":
		return ask(args)
	case "pg_isready":
		return fail(dial("localhost:5432"))
	case "redis-cli":
		return fail(dial("localhost:6379"))
	case "rabbitmq-diagnostics":
		return fail(dial("localhost:5672"))
	case "curl", "mc":
		return eachAddress(args, func(u *url.URL) error { return visit(u.String()) })
	case "migrate":
		return migrate(args)
	}
	return actAsServer()
}

func fail(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// actAsServer listens on the ports in $LISTEN (80/tcp 53/udp) until SIGTERM, and
// answers as serve does.
func actAsServer() int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGWINCH)
	h := pages()
	for _, each := range strings.Fields(os.Getenv("LISTEN")) {
		port, protocol, _ := strings.Cut(each, "/")
		if protocol == "udp" {
			go echoes(port)
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("", port))
		if err != nil {
			return fail(err)
		}
		go http.Serve(l, h)
	}
	fmt.Println("ready")
	<-stop
	return 0
}

func dial(address string) error {
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// visit takes any answer for a good one.
func visit(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// eachAddress calls f for the arguments that are URLs.
func eachAddress(args []string, f func(*url.URL) error) int {
	for _, a := range args {
		if u, err := url.Parse(a); err == nil && u.Host != "" {
			if err := f(u); err != nil {
				return fail(err)
			}
			fmt.Println("reached", u.Host)
		}
	}
	return 0
}

// migrate looks for the steps of a database and for the database: -path DIR
// -database URL up. It fails without either.
func migrate(args []string) int {
	at := slices.Index(args, "-path")
	if at < 0 || at+1 == len(args) || args[len(args)-1] != "up" {
		return fail(fmt.Errorf("migrate %q: -path DIR and up are missing", args))
	}
	steps, err := filepath.Glob(filepath.Join(args[at+1], "*.up.sql"))
	if err != nil || len(steps) == 0 {
		return fail(fmt.Errorf("no steps in %s", args[at+1]))
	}
	fmt.Println("migrated", len(steps))
	return eachAddress(args, func(u *url.URL) error { return dial(u.Host) })
}

// shell runs a line of the commands that act knows, with &&, || and ;.
func shell(line string) (code int) {
	word, skip := "", false
	var words []string
	run := func(next string) (ended bool) {
		if word != "" {
			words, word = append(words, word), ""
		}
		if len(words) > 0 && !skip {
			if words[0] == "exit" {
				if len(words) > 1 && words[1] != "$?" {
					code, _ = strconv.Atoi(words[1])
				}
				return true
			}
			code = act(filepath.Base(words[0]), words[1:])
		}
		words = nil
		skip = next == "&" && code != 0 || next == "|" && code == 0
		return false
	}
	quote := rune(0)
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word += string(c)
		case c == '\'' || c == '"':
			quote = c
		case c == '&' || c == '|' || c == ';' || c == '\n':
			if run(string(c)) {
				return code
			}
		case c == ' ' || c == '\t':
			if word != "" {
				words, word = append(words, word), ""
			}
		default:
			word += string(c)
		}
	}
	run("")
	return code
}
