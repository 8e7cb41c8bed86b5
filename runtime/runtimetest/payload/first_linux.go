package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"
)

// plain leaves SIGTERM to the kernel, which keeps it from the first process of a
// container. A Go program has handlers otherwise.
func plain() {
	var byDefault [32]byte // struct sigaction
	if _, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGTERM), uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0); e != 0 {
		fail(e.Error())
	}
	fmt.Println("ready")
	forever()
}

// orphans has children leave children of theirs behind, that end.
func orphans(n, seconds int) {
	for range n {
		check(self(false, "desert").Run())
	}
	left := 0
	for deadline := time.Now().Add(time.Duration(seconds) * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if left = zombies(); left == 0 || time.Now().After(deadline) {
			break
		}
	}
	fmt.Println("zombies", left)
}

func desert() { check(self(false, "exit", "0").Start()) }

// zombies counts the processes that have ended and that nobody has waited for.
func zombies() (n int) {
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	check(err)
	for _, name := range all {
		stat, _ := os.ReadFile(name)
		if bytes.Contains(stat, []byte(") Z ")) {
			n++
		}
	}
	return n
}
