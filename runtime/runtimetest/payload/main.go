//go:build unix

// Payload is the program that the conformance suite runs inside instances.
// Its first argument is the mode; every mode that waits does so until a signal
// ends it.
//
//	sleep               print "ready", end with code 0 on SIGTERM or SIGINT
//	exit CODE           end with the code at once
//	trap                print "ready", end with 100+N on signal N (TERM, INT, HUP, USR1)
//	ignore              ignore SIGTERM and SIGINT, print "ready", wait
//	tree TOKEN          start 4 descendants that carry TOKEN in their command
//	                    line, ignore SIGTERM, have their own sessions and were
//	                    given away by their parents; print "ready", wait
//	lines               print "line N" every 5 ms
//	last OUT ERR        print OUT, close stdout, print ERR to stderr, end with 3
//	say TEXT...         print each text on its own line, one more to stderr, end with 0
//	cat                 print the standard input up to its end, end with 0
//	terminal            print "terminal COLUMNSxROWS TERM" now and when it changes,
//	                    end with 130 on SIGINT; with 1 at once without a terminal
//	env                 print the environment, end with 0
//	id                  print "uid U gid G groups [..]", end with 0
//	status              print /proc/self/status, end with 0
//	show PATH           print the file, end with 0
//	cwd                 print the working directory, end with 0
//	write PATH TEXT     write the file and end with 0; with 1 if it cannot
//	append PATH TEXT    the same, adding to the file
//	memory              allocate and touch memory without end
//	burn                keep two cores busy
//	fork N              start N children; print "forked all" or "fork refused", wait
//	plain               leave SIGTERM to the kernel, as sleep(1) does; print "ready", wait
//	orphans N SECONDS   have N children leave a child behind that ends; print
//	                    "zombies M" when there are none, or after some time
//	bomb TOKEN          start children that start children, for 4 seconds at most
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		fail("a mode is missing")
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "sleep":
		end(map[os.Signal]int{syscall.SIGTERM: 0, syscall.SIGINT: 0})
	case "exit":
		os.Exit(number(args, 0))
	case "trap":
		end(map[os.Signal]int{
			syscall.SIGTERM: 100 + int(syscall.SIGTERM), syscall.SIGINT: 100 + int(syscall.SIGINT),
			syscall.SIGHUP: 100 + int(syscall.SIGHUP), syscall.SIGUSR1: 100 + int(syscall.SIGUSR1),
		})
	case "ignore":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		fmt.Println("ready")
		forever()
	case "tree":
		tree(text(args, 0))
	case "branch":
		branch(text(args, 0))
	case "leaf":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		fmt.Println("leaf")
		forever()
	case "lines":
		for n := 0; ; n++ {
			fmt.Println("line", n)
			time.Sleep(5 * time.Millisecond)
		}
	case "last":
		fmt.Println(text(args, 0))
		os.Stdout.Close()
		time.Sleep(200 * time.Millisecond) // whoever copies the stream sees its end
		fmt.Fprintln(os.Stderr, text(args, 1))
		os.Exit(3)
	case "say":
		for _, a := range args {
			fmt.Println(a)
		}
		fmt.Fprintln(os.Stderr, "said", len(args))
	case "cat":
		_, err := io.Copy(os.Stdout, os.Stdin)
		check(err)
	case "terminal":
		terminal()
	case "env":
		for _, e := range os.Environ() {
			fmt.Println(e)
		}
	case "id":
		groups, err := os.Getgroups()
		check(err)
		fmt.Println("uid", os.Getuid(), "gid", os.Getgid(), "groups", groups)
	case "status":
		status, err := os.ReadFile("/proc/self/status")
		check(err)
		fmt.Print(string(status))
	case "show":
		content, err := os.ReadFile(text(args, 0))
		check(err)
		fmt.Print(string(content))
	case "cwd":
		dir, err := os.Getwd()
		check(err)
		fmt.Println(dir)
	case "write":
		check(os.WriteFile(text(args, 0), []byte(text(args, 1)), 0o644))
	case "append":
		f, err := os.OpenFile(text(args, 0), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		check(err)
		_, err = f.WriteString(text(args, 1))
		check(err)
		check(f.Close())
	case "memory":
		memory()
	case "burn":
		go spin()
		spin()
	case "fork":
		fork(number(args, 0))
	case "plain":
		plain()
	case "orphans":
		orphans(number(args, 0), number(args, 1))
	case "desert":
		desert()
	case "bomb":
		end := time.Now().Add(4 * time.Second)
		if len(args) > 1 {
			end = time.Unix(int64(number(args, 1)), 0)
		}
		bomb(text(args, 0), end)
	default:
		fail("unknown mode " + os.Args[1])
	}
}

// end waits for one of the signals and ends with its code. The handlers are in
// place before "ready" is printed.
func end(codes map[os.Signal]int) {
	c := make(chan os.Signal, 1)
	for s := range codes {
		signal.Notify(c, s)
	}
	fmt.Println("ready")
	os.Exit(codes[<-c])
}

// forever blocks without tripping the deadlock detector.
func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

// tree starts two branches, each of which leaves two leaves behind.
func tree(token string) {
	for range 2 {
		check(self(false, "branch", token).Run())
	}
	signal.Ignore(syscall.SIGTERM)
	fmt.Println("ready")
	forever()
}

// branch starts two leaves in their own sessions and ends once they are deaf
// to signals, so that they lose their parent.
func branch(token string) {
	for range 2 {
		leaf := self(true, "leaf", token)
		leaf.Stdout = nil
		out, err := leaf.StdoutPipe()
		check(err)
		check(leaf.Start())
		_, err = out.Read(make([]byte, 5))
		check(err)
	}
}

// bomb starts more bombs, each in its own session.
func bomb(token string, end time.Time) {
	for time.Now().Before(end) {
		child := self(true, "bomb", token, strconv.FormatInt(end.Unix(), 10))
		if err := child.Start(); err == nil {
			go child.Wait()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func self(session bool, args ...string) *exec.Cmd {
	exe, err := os.Executable()
	check(err)
	c := exec.Command(exe, args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
	return c
}

func memory() {
	var held [][]byte
	for {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		held = append(held, block)
		if len(held) > 4096 {
			fail("4 GiB and not killed")
		}
	}
}

// terminal tells of the terminal it runs on.
func terminal() {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGWINCH, syscall.SIGINT)
	for {
		size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		check(err)
		fmt.Printf("terminal %dx%d %s\n", size.Col, size.Row, os.Getenv("TERM"))
		if <-c == syscall.SIGINT {
			os.Exit(130)
		}
	}
}

func spin() {
	for n := uint64(1); n != 0; n++ {
	}
}

func fork(n int) {
	for range n {
		child := self(false, "leaf", "forked")
		child.Stdout = nil
		if err := child.Start(); err != nil {
			fmt.Println("fork refused")
			forever()
		}
	}
	fmt.Println("forked all")
	forever()
}

func text(args []string, i int) string {
	if i >= len(args) {
		fail("an argument is missing")
	}
	return args[i]
}

func number(args []string, i int) int {
	n, err := strconv.Atoi(text(args, i))
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(reason string) {
	fmt.Fprintln(os.Stderr, "payload:", reason)
	os.Exit(1)
}
