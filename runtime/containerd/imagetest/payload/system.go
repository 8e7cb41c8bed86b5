//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// memory touches every page it gets, until somebody stops it.
func memory() {
	fmt.Println("ready")
	var held [][]byte
	for {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		held = append(held, block)
		if len(held)%16 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// family starts a chain of children, each in a session of its own, whose
// parents do not wait for them.
func family(depth string) {
	n, err := strconv.Atoi(depth)
	check(err)
	if n > 0 {
		child := exec.Command("/proc/self/exe", "family", strconv.Itoa(n-1))
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		check(child.Start())
	}
	untilTerm()
}

// report prints what the kernel says of this process and tries what a
// container must not do.
func report() {
	f, err := os.Open("/proc/self/status")
	check(err)
	for s := bufio.NewScanner(f); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), ":")
		switch name {
		case "Uid", "Gid", "Groups", "CapEff", "CapBnd", "CapPrm", "NoNewPrivs", "Seccomp":
			fmt.Printf("%s: %s\n", name, strings.TrimSpace(value))
		}
	}
	try("write-root", os.WriteFile("/written", nil, 0o600))
	try("write-tmp", os.WriteFile("/tmp/written", nil, 0o600))
	try("mount", syscall.Mount("none", "/tmp", "tmpfs", 0, ""))
	try("unshare-user", syscall.Unshare(syscall.CLONE_NEWUSER))
	try("sysctl", os.WriteFile("/proc/sys/kernel/domainname", []byte("x"), 0o600))
	group := "/sys/fs/cgroup/memory" // version 1 has a folder for each controller
	if _, err := os.Stat(group); err != nil {
		group = "/sys/fs/cgroup"
	}
	try("cgroup", os.Mkdir(group+"/made", 0o700))
	_, err = os.ReadFile("/proc/sysrq-trigger")
	try("sysrq", err)
	score, _ := os.ReadFile("/proc/self/oom_score_adj")
	fmt.Printf("oom_score_adj: %s\n", strings.TrimSpace(string(score)))
	var files syscall.Rlimit
	check(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files))
	fmt.Printf("nofile: %d\n", files.Cur)
	host, _ := os.Hostname()
	fmt.Printf("hostname: %s\n", host)
	fmt.Println("end: report")
}

func try(what string, err error) {
	if err == nil {
		fmt.Printf("%s: works\n", what)
		return
	}
	fmt.Printf("%s: %v\n", what, err)
}
