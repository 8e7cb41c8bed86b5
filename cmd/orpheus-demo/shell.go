//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func title(n int, text string) { fmt.Printf("\n== %d. %s\n", n, text) }

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// show prints a command and what it printed, indented.
func show(command, output string) {
	fmt.Printf("\n  $ %s\n", command)
	for line := range strings.Lines(strings.TrimRight(output, "\n ")) {
		fmt.Println(strings.TrimRight("  "+line, "\n "))
	}
}

// cmd runs a command as the user would, in the user's clone, and shows it.
func (s *story) cmd(ctx context.Context, name string, args ...string) error {
	out, err := s.quiet(ctx, name, args...)
	show(shown(name, args), out)
	return err
}

// quiet runs a command in the user's clone and returns what it printed.
func (s *story) quiet(ctx context.Context, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = s.work
	c.Env = append(os.Environ(), "NO_COLOR=1", "COLUMNS=100", "XDG_CACHE_HOME="+filepath.Join(s.Dir, "cache"),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=init.defaultBranch", "GIT_CONFIG_VALUE_0=main",
		"GIT_AUTHOR_NAME=Orla", "GIT_AUTHOR_EMAIL=orla@example.com",
		"GIT_COMMITTER_NAME=Orla", "GIT_COMMITTER_EMAIL=orla@example.com")
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", shown(name, args), err, out)
	}
	return string(out), err
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

// write changes files of the user's clone.
func (s *story) write(files map[string]string) error {
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(s.work, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// commit commits everything in the user's clone, and pushes it.
func (s *story) commit(ctx context.Context, message string) (hash string, err error) {
	for _, args := range [][]string{{"add", "--all"}, {"commit", "--quiet", "-m", message}, {"push", "--quiet"}} {
		if _, err := s.quiet(ctx, "git", args...); err != nil {
			return "", err
		}
	}
	show(fmt.Sprintf("git add . && git commit -m %q && git push", message), "")
	return s.head(ctx)
}

// head is the commit the user's clone is at.
func (s *story) head(ctx context.Context) (hash string, err error) {
	out, err := s.quiet(ctx, "git", "rev-parse", "HEAD")
	return strings.TrimSpace(out), err
}
