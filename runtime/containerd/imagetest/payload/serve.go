//go:build linux

package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// serve answers HTTP until SIGTERM.
func serve() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	l, err := net.Listen("tcp", net.JoinHostPort("", port))
	check(err)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	fmt.Println("ready")
	open := newLines(os.Getenv("LINGER"))
	s := &http.Server{Handler: open.handler(pages()), ConnState: open.note}
	go func() { check(s.Serve(l)) }()
	if port != "0" {
		go echoes(port)
	}
	<-stop
	fmt.Println("told to end")
	for os.Getenv("FAULT") == "deaf" {
		<-stop
	}
	open.close()
	os.Exit(0)
}

func pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s %s %d\n", hostname(), os.Getenv("VERSION"), os.Getpid())
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, os.Getenv(r.FormValue("name")))
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, r.FormValue("path")) })
	b := newBoard()
	mux.HandleFunc("/page/{name}", b.page)
	mux.HandleFunc("/set", b.set)
	mux.HandleFunc("/count", b.count)
	new(client).register(mux)
	return mux
}

func hostname() string {
	name, _ := os.Hostname()
	return name
}

// database behaves like a database server with a data folder: two at once on
// one folder would destroy it, so it takes a lock and writes its pid beside it.
func database(dir string) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	check(err)
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(filepath.Join(dir, "lock"))
		fmt.Fprintf(os.Stderr, "FATAL: data folder is in use by %s: %v\n", holder, err)
		os.Exit(3)
	}
	host, _ := os.Hostname()
	check(lock.Truncate(0))
	_, err = lock.WriteAt([]byte(host+" "+strconv.Itoa(os.Getpid())), 0)
	check(err)
	journal, err := os.OpenFile(filepath.Join(dir, "journal"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	check(err)
	_, err = fmt.Fprintf(journal, "%d begin %s\n", time.Now().UnixNano(), host)
	check(err)
	serve()
}
