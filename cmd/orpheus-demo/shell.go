//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// patience is how long the story waits for one step.
const patience = 2 * time.Minute

func title(n int, text string) { fmt.Printf("\n== %d. %s\n", n, text) }

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// show prints a command and what it printed, indented.
func show(command, output string) {
	fmt.Printf("\n  $ %s\n", command)
	for line := range strings.Lines(output) {
		fmt.Print("  " + line)
	}
}

// cmd runs a command as the user would and shows it.
func (s *story) cmd(ctx context.Context, dir, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "NO_COLOR=1",
		"GIT_AUTHOR_NAME=Orla", "GIT_AUTHOR_EMAIL=orla@example.com",
		"GIT_COMMITTER_NAME=Orla", "GIT_COMMITTER_EMAIL=orla@example.com")
	out, err := c.CombinedOutput()
	show(shown(name, args), string(out))
	if err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(name), args[0], err)
	}
	return nil
}

// shown is a command line as a person would type it.
func shown(name string, args []string) string {
	words := []string{filepath.Base(name)}
	for _, arg := range args {
		if strings.Contains(arg, " ") {
			arg = `"` + arg + `"`
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

func (s *story) write(files map[string]string) error {
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(s.work, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// commit commits everything in the user's clone and pushes it.
func (s *story) commit(ctx context.Context, message string) error {
	for _, args := range [][]string{{"add", "--all"}, {"commit", "--quiet", "-m", message}, {"push", "--quiet", "origin", "HEAD:main"}} {
		if err := s.cmd(ctx, s.work, "git", args...); err != nil {
			return err
		}
	}
	return nil
}

// status shows what a user sees.
func (s *story) status(ctx context.Context) error {
	return s.cmd(ctx, s.work, s.orpheus, "status", "--socket", s.fleet.Socket())
}

// answers waits until the published port is answered by a version of web.
func (s *story) answers(ctx context.Context, version string) error {
	url := fmt.Sprintf("http://127.0.0.1:%d/", s.port)
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	last := "nothing"
	for {
		if body, err := get(ctx, &client, url); err == nil {
			// "web-0 2 17": host, version, process.
			last = body
			if words := strings.Fields(body); len(words) == 3 && words[1] == version {
				show("curl "+url, fmt.Sprintf("I am %s, version %s, process %s.\n", words[0], words[1], words[2]))
				return nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer as version %s; last: %q", url, version, last)
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return string(body), err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
