//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ask tells what a program in a container sees:
//
//	get URL            a page (see serve)
//	env NAME           a variable, in brackets; "unset"
//	cat FILE           its content
//	write FILE TEXT    writes it
//	stat PATH          of its file system: tmpfs or disk, bytes; ro or rw; its mode
//	udp HOST:PORT      the answer to a datagram
//	resolve NAME       its addresses, one a line
//	id                 uid:gid and further groups
//	caps               the effective ones, as /proc has them
//	limit NAME         nofile or nproc, soft:hard
//	argv               of the container's program, each in brackets
//	cwd                its working folder
//	end                has it end
func ask(args []string) int {
	args = append(args, "", "", "")
	switch what, arg := args[0], args[1]; what {
	case "get":
		get(arg)
	case "env":
		if v, ok := os.LookupEnv(arg); ok {
			fmt.Printf("[%s]\n", v)
		} else {
			fmt.Println("unset")
		}
	case "cat":
		data, err := os.ReadFile(arg)
		os.Stdout.Write(data)
		return fail(err)
	case "write":
		return fail(os.WriteFile(arg, []byte(args[2]+"\n"), 0o644))
	case "stat":
		return fail(stat(arg))
	case "udp":
		return fail(datagram(arg))
	case "resolve":
		found, err := net.LookupHost(arg)
		slices.Sort(found)
		fmt.Println(strings.Join(found, "\n"))
		return fail(err)
	case "id":
		groups, err := os.Getgroups()
		fmt.Println(fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()), groups)
		return fail(err)
	case "caps":
		return fail(capabilities())
	case "limit":
		return fail(limit(arg))
	case "argv":
		line, err := os.ReadFile("/proc/1/cmdline")
		for word := range strings.SplitSeq(strings.TrimSuffix(string(line), "\x00"), "\x00") {
			fmt.Printf("[%s]", word)
		}
		fmt.Println()
		return fail(err)
	case "end":
		return fail(syscall.Kill(1, syscall.SIGTERM))
	case "cwd":
		dir, err := os.Readlink("/proc/1/cwd")
		fmt.Println(dir)
		return fail(err)
	default:
		return fail(fmt.Errorf("nobody knows how to ask for %q", what))
	}
	return 0
}

func stat(path string) error {
	const tmpfs, readOnly = 0x01021994, 1
	var fs syscall.Statfs_t
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := syscall.Statfs(path, &fs); err != nil {
		return err
	}
	kind, how := "disk", "rw"
	if fs.Type == tmpfs {
		kind = fmt.Sprint("tmpfs ", int64(fs.Blocks)*fs.Bsize)
	}
	if fs.Flags&readOnly != 0 {
		how = "ro"
	}
	fmt.Println(kind, how, info.Mode())
	return nil
}

func datagram(address string) error {
	conn, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	buf := make([]byte, 1<<10)
	n, err := conn.Read(buf)
	fmt.Printf("%s\n", buf[:n])
	return err
}

func capabilities() error {
	status, err := os.ReadFile("/proc/1/status")
	for line := range strings.Lines(string(status)) {
		if name, value, _ := strings.Cut(line, ":"); name == "CapEff" {
			fmt.Print(strings.TrimSpace(value), "\n")
		}
	}
	return err
}

func limit(name string) error {
	const nproc = 6
	which := map[string]int{"nofile": syscall.RLIMIT_NOFILE, "nproc": nproc}[name]
	var l syscall.Rlimit
	if err := syscall.Getrlimit(which, &l); err != nil {
		return err
	}
	fmt.Printf("%d:%d\n", l.Cur, l.Max)
	return nil
}
