package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedCommands reads every command line of orpheus that the pages show,
// in blocks and in the text: each is one that the program takes, by its verbs,
// flags and number of arguments. Nothing is run here; what README and quick start
// say is, by cmd/orpheus/e2e.
func TestDocumentedCommands(t *testing.T) {
	if len(platformCommands) == 0 {
		t.Skip("this system has no agent, and so not all verbs")
	}
	pages := []string{"../../README.md"}
	err := filepath.WalkDir("../../docs", func(file string, _ fs.DirEntry, err error) error {
		if filepath.Ext(file) == ".md" {
			pages = append(pages, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for number, line := range strings.Split(string(text), "\n") {
			for _, words := range commandsIn(line) {
				seen++
				if err := takes(words); err != nil {
					t.Errorf("%s:%d: orpheus %s: %v", page, number+1, strings.Join(words, " "), err)
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("found only %d commands", seen)
	}
}

var (
	prompted = regexp.MustCompile(`^\s*[$#] (.*)$`)
	inline   = regexp.MustCompile("`(orpheus [^`]+)`")
	aside    = regexp.MustCompile(`\s#.*$`)
	called   = regexp.MustCompile(`(?:^|[\s;|(]|&& |until )(?:sudo )?(?:\S*/)?orpheus(?:\.previous)? ([^;|&)]*)`)
	quoted   = regexp.MustCompile(`"[^"]*"|'[^']*'`)
)

// commandsIn finds the words behind each orpheus that a line has people type.
// What tells of verbs without being one to type (an ellipsis, words in capitals
// for what the reader fills in) is words like others.
func commandsIn(line string) [][]string {
	var typed []string
	if m := prompted.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[1], "#") {
		typed = append(typed, aside.ReplaceAllString(m[1], ""))
	} else {
		for _, m := range inline.FindAllStringSubmatch(line, -1) {
			typed = append(typed, m[1])
		}
	}
	var all [][]string
	for _, one := range typed {
		one = quoted.ReplaceAllString(one, "QUOTED")
		for _, m := range called.FindAllStringSubmatch(one, -1) {
			words := strings.Fields(m[1])
			for k, w := range words {
				if strings.HasPrefix(w, ">") || strings.HasPrefix(w, "<") || strings.HasPrefix(w, "2>") {
					words = words[:k]
					break
				}
			}
			if len(words) > 0 && !strings.ContainsAny(m[1], "…[]") {
				all = append(all, words)
			}
		}
	}
	return all
}

// takes reports whether the program would begin to carry out a command line.
func takes(words []string) error {
	root := newRootCommand(io.Discard, io.Discard)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	if cmd == root || cmd.HasSubCommands() && !cmd.Runnable() {
		return fmt.Errorf("there is no such verb")
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	args := cmd.Flags().Args()
	if err := cmd.ValidateArgs(args); err != nil && len(args) > 0 {
		return err // the text may name a verb without what it takes
	}
	return cmd.ValidateFlagGroups()
}

// TestDocumentedManifests validates every whole manifest of README and how-tos.
func TestDocumentedManifests(t *testing.T) {
	pages, err := filepath.Glob("../../docs/howto/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(found[1], "apiVersion: orpheus/v1") {
				continue
			}
			seen++
			dir := t.TempDir()
			initWrite(t, dir, "it.yaml", found[1])
			initWrite(t, dir, "fleet.yaml", "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: docs}\n")
			if code, out, stderr := orpheus(t, dir, "validate"); code != 0 || !strings.Contains(out, "0 warnings") {
				t.Errorf("%s: %d\n%s%s\n%s", page, code, out, stderr, found[1])
			}
		}
	}
	if seen < 3 {
		t.Errorf("found %d manifests", seen)
	}
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")
