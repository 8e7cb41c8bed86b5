//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/runtime/runtimetest/load"
)

// client are the pages by which a test sees the network as an instance does.
type client struct {
	mu   sync.Mutex
	runs map[string]*load.Run
}

func (c *client) register(mux *http.ServeMux) {
	c.runs = map[string]*load.Run{}
	mux.HandleFunc("/fetch", fetch)
	mux.HandleFunc("/resolve", resolve)
	mux.HandleFunc("/datagrams", datagrams)
	mux.HandleFunc("/load/{name}", c.start)
	mux.HandleFunc("/loaded/{name}", c.result)
	mux.HandleFunc("/stream", stream)
	mux.HandleFunc("/blob", blob)
	mux.HandleFunc("/from", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.RemoteAddr) })
}

// fetched is what became of asking for one URL several times.
type fetched struct {
	Hosts  map[string]int `json:"hosts"`
	Errors map[string]int `json:"errors"`
	Bytes  int64          `json:"bytes"`
	Last   string         `json:"last"`
}

// fetch asks for ?url= ?n= times, each time on a connection of its own.
func fetch(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.FormValue("n"))
	out := fetched{Hosts: map[string]int{}, Errors: map[string]int{}}
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for range max(1, n) {
		answer, err := c.Get(r.FormValue("url"))
		if err != nil {
			out.Errors[err.Error()]++
			continue
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			out.Errors[err.Error()]++
			continue
		}
		out.Bytes += int64(len(body))
		out.Last = string(body[:min(len(body), 1000)])
		host, _, _ := strings.Cut(out.Last, " ")
		out.Hosts[host]++
	}
	answerJSON(w, out)
}

// resolved is what the resolver says of a name.
type resolved struct {
	Addresses []string `json:"addresses"`
	Services  []string `json:"services"` // host:port
	Error     string   `json:"error,omitempty"`
}

// resolve looks up ?name=, with ?service= and ?proto= as SRV.
func resolve(w http.ResponseWriter, r *http.Request) {
	var out resolved
	var err error
	if s := r.FormValue("service"); s != "" {
		var all []*net.SRV
		_, all, err = net.DefaultResolver.LookupSRV(r.Context(), s, r.FormValue("proto"), r.FormValue("name"))
		for _, one := range all {
			out.Services = append(out.Services, fmt.Sprintf("%s:%d", one.Target, one.Port))
		}
	} else {
		out.Addresses, err = net.DefaultResolver.LookupHost(r.Context(), r.FormValue("name"))
	}
	if err != nil {
		out.Error = err.Error()
	}
	answerJSON(w, out)
}

// datagrams sends ?n= numbered datagrams of ?size= bytes to ?to=, from one
// socket, ?every= apart, and tells who answered each.
func datagrams(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.FormValue("n"))
	size, _ := strconv.Atoi(r.FormValue("size"))
	every, _ := time.ParseDuration(r.FormValue("every"))
	out := struct {
		Hosts  map[string]int `json:"hosts"`
		Lost   int            `json:"lost"`
		Error  string         `json:"error,omitempty"`
		Answer []string       `json:"answers"` // by number; "" = none
	}{Hosts: map[string]int{}}
	conn, err := net.Dial("udp", r.FormValue("to"))
	if err != nil {
		out.Error = err.Error()
		answerJSON(w, out)
		return
	}
	defer conn.Close()
	buf := make([]byte, 1<<16)
	for k := range max(1, n) {
		text := fmt.Sprintf("%d ", k)
		if len(text) < size {
			text += strings.Repeat("x", size-len(text))
		}
		if _, err := conn.Write([]byte(text)); err != nil {
			out.Error = err.Error()
		}
		conn.SetReadDeadline(time.Now().Add(max(every, 500*time.Millisecond)))
		host := ""
		if got, err := conn.Read(buf); err != nil {
			out.Lost++
		} else {
			host, _, _ = strings.Cut(string(buf[:got]), " ")
			out.Hosts[host]++
			if got < size {
				out.Error = fmt.Sprintf("an answer has %d bytes instead of %d", got, size)
			}
		}
		out.Answer = append(out.Answer, host)
		time.Sleep(every)
	}
	answerJSON(w, out)
}

// start begins to load ?url=; see load.Options.
func (c *client) start(w http.ResponseWriter, r *http.Request) {
	rate, _ := strconv.Atoi(r.FormValue("rate"))
	kept, _ := strconv.Atoi(r.FormValue("kept"))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs[r.PathValue("name")] = load.Start(load.Options{URL: r.FormValue("url"), Rate: rate, Kept: kept, Stream: r.FormValue("stream") != ""})
}

// result ends a load, or with ?on=1 only tells how it stands.
func (c *client) result(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	run := c.runs[r.PathValue("name")]
	c.mu.Unlock()
	switch {
	case run == nil:
		http.Error(w, "no such load", http.StatusNotFound)
	case r.FormValue("on") != "":
		answerJSON(w, run.SoFar())
	default:
		answerJSON(w, run.Stop())
	}
}

// stream sends a line now and then until the client leaves.
func stream(w http.ResponseWriter, r *http.Request) {
	for n := 0; r.Context().Err() == nil; n++ {
		fmt.Fprintln(w, "line", n)
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// blob is ?size= bytes.
func blob(w http.ResponseWriter, r *http.Request) {
	size, _ := strconv.ParseInt(r.FormValue("size"), 10, 64)
	io.CopyN(w, zeros{}, size)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// echoes answers each datagram with the host name and what came.
func echoes(port string) {
	conn, err := net.ListenPacket("udp", net.JoinHostPort("", port))
	check(err)
	buf := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			continue
		}
		conn.WriteTo(append([]byte(hostname()+" "), buf[:n]...), from)
	}
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
