//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// board holds the pages whose answers a test changes.
type board struct {
	mu    sync.Mutex
	codes map[string]int // 0 = never answer
	asked map[string]int
	fault func() // begins, the first time
}

// newBoard begins with what $PAGES says: "live=200 ready=503".
func newBoard() *board {
	b := &board{codes: map[string]int{}, asked: map[string]int{}, fault: sync.OnceFunc(fault)}
	for _, word := range strings.Fields(os.Getenv("PAGES")) {
		name, code, _ := strings.Cut(word, "=")
		n, err := strconv.Atoi(code)
		check(err)
		b.codes[name] = n
	}
	return b
}

// page answers with the code that was set last, 200 if none was.
func (b *board) page(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	b.mu.Lock()
	code, set := b.codes[name]
	b.asked[name]++
	b.mu.Unlock()
	fmt.Println("page", name)
	switch {
	case !set && name == "ready":
		b.fault()
	case !set:
	case code == 0:
		<-r.Context().Done()
	default:
		w.WriteHeader(code)
	}
}

func (b *board) set(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.FormValue("code"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.codes[r.FormValue("page")] = code
}

func (b *board) count(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintln(w, b.asked[r.FormValue("page")])
}

// get asks for a page and ends with 0 if it is there.
func get(url string) {
	answer, err := http.Get(url)
	check(err)
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, answer.Body)
	check(err)
	if answer.StatusCode != http.StatusOK {
		fmt.Println("\x1b[31mstatus", answer.StatusCode)
		os.Exit(1)
	}
}

// leave ends and leaves a child behind that holds its output open.
func leave() {
	child := exec.Command("/proc/self/exe", "deaf")
	child.Env = []string{"SILENT=1"}
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	check(child.Start())
	fmt.Println("left")
}
