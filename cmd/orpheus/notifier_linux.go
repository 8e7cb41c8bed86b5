package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// notifier is the service manager that started the agent, in the words of
// sd_notify(3). The zero value is none, and is told nothing.
type notifier struct {
	socket   string        // where it listens; "" = nowhere
	patience time.Duration // it restarts an agent that is silent for so long; 0 = never
	log      *slog.Logger
	deaf     bool // it could not be told the last time
}

// statusInterval is how often the manager's line about the agent is looked at.
const statusInterval = 5 * time.Second

// newNotifier reads who started this process. What it read is not for its
// children.
func newNotifier(log *slog.Logger) *notifier {
	s := &notifier{socket: os.Getenv("NOTIFY_SOCKET"), log: log}
	if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
			s.patience = time.Duration(us) * time.Microsecond
		}
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(name) // fails for names that are none
	}
	return s
}

// follow says that the agent is ready, as it is: its socket is served. Until
// ctx ends it keeps the manager's line about it true and, as long as the
// agent's own loop turns, the watchdog quiet. Git, drivers and services are no
// part of that: a restart would not help them.
func (s *notifier) follow(ctx context.Context, alive func(context.Context) error, status func() *api.Status) {
	if s.socket == "" {
		return
	}
	told := statusLine(status())
	s.say("READY=1", "STATUS="+told)
	look := time.NewTicker(statusInterval)
	defer look.Stop()
	beat := make(<-chan time.Time) // never
	if s.patience > 0 {
		t := time.NewTicker(s.patience / 4)
		defer t.Stop()
		beat = t.C
	}
	for {
		select {
		case <-ctx.Done():
			s.say("STOPPING=1", "STATUS=stopping; what runs keeps running")
			return
		case <-look.C:
			if line := statusLine(status()); line != told {
				told = line
				s.say("STATUS=" + line)
			}
		case <-beat:
			bounded, cancel := context.WithTimeout(ctx, s.patience/4)
			if err := alive(bounded); err == nil {
				s.say("WATCHDOG=1")
			} else if ctx.Err() == nil {
				s.log.Error("the service manager is going to restart this agent", "err", err)
			}
			cancel()
		}
	}
}

// say sends lines in one datagram. That the manager cannot be told is worth one
// word.
func (s *notifier) say(lines ...string) {
	// An address that begins with @ is an abstract one to package net as well.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(strings.Join(lines, "\n")))
		conn.Close()
	}
	if err != nil && !s.deaf {
		s.log.Warn("the service manager cannot be told how the agent fares", "err", err)
	}
	s.deaf = err != nil
}

// statusLine is the agent in one line: the commit in force and how its services
// fare, or what is in the way.
func statusLine(st *api.Status) string {
	ready, wanted := 0, 0
	for _, s := range st.Services {
		ready, wanted = ready+s.Ready, wanted+s.Replicas
	}
	line := "no commit yet"
	if st.Repository.Applied.Hash != "" {
		line = fmt.Sprintf("commit %s, %d of %d ready", st.Repository.Applied.Short(), ready, wanted)
	}
	if st.Repository.Error != "" {
		line += "; Git cannot be read: " + st.Repository.Error
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' ' // a new line would be another message
		}
		return r
	}, line)
}
