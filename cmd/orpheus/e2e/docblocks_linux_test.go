package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// repositoryTop is where the pages lie, from this package.
const repositoryTop = "../../.."

// block is a fenced block of a page that a reader types or writes, and what the
// comment before it tells the test:
//
//	<!-- test: on the laptop; until it works; with A = B -->
//
//	in the source, on the laptop, on the servers, on node-1
//	                  where its commands run; on the servers: on each in turn
//	write FILE        its text is put into that file, there (the laptop's unless
//	                  it says where)
//	until it works    the block is run again until every command of it succeeds
//	with A = B        this run has B in place of A; B may be a word that the stage
//	                  knows, such as "the address of node-1"
//	not run: REASON   nothing is done with it
type block struct {
	page, language string
	line           int // of the fence
	text           string

	place  string
	write  string
	until  bool
	with   [][2]string
	notRun string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// typed are the languages of blocks that people type or write down. All others
// show what comes out.
var typed = map[string]bool{"console": true, "sh": true, "bash": true, "shell": true, "yaml": true}

// readBlocks reads the blocks of a page in their order. One that is typed and
// has no comment fails the test.
func readBlocks(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repositoryTop, page))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	var open *block
	comment := ""
	for number, line := range strings.Split(string(text), "\n") {
		bare := strings.TrimSpace(line)
		switch fence, isFence := strings.CutPrefix(bare, "```"); {
		case open != nil && isFence:
			if typed[open.language] {
				blocks = append(blocks, *open)
			}
			open = nil
		case open != nil:
			open.text += line + "\n"
		case isFence:
			open = &block{page: page, line: number + 1, language: fence}
			if typed[fence] {
				if err := open.read(comment); err != nil {
					t.Errorf("%s: %v", open, err)
				}
			}
			comment = ""
		case strings.HasPrefix(bare, "<!-- test:"):
			comment = bare
		case bare != "":
			comment = ""
		}
	}
	return blocks
}

// read takes what the comment says.
func (b *block) read(comment string) error {
	said, ok := strings.CutPrefix(comment, "<!-- test:")
	if said, _ = strings.CutSuffix(said, "-->"); !ok {
		return errors.New("no comment says how it is tested, or why not")
	}
	for part := range strings.SplitSeq(said, ";") {
		part = strings.TrimSpace(part)
		key, value, _ := strings.Cut(part, " ")
		switch {
		case strings.HasPrefix(part, "not run: "):
			b.notRun = strings.TrimPrefix(part, "not run: ")
		case part == "until it works":
			b.until = true
		case key == "write" && value != "":
			b.write = value
		case key == "with" && strings.Contains(value, " = "):
			old, now, _ := strings.Cut(value, " = ")
			b.with = append(b.with, [2]string{old, now})
		case key == "on" || key == "in":
			b.place = value
		default:
			return fmt.Errorf("the comment says %q, which no test understands", part)
		}
	}
	if b.place == "" {
		b.place = "the laptop"
	}
	return nil
}

// commands are the lines behind a prompt, $ or #; in a block without any, all
// lines are one script.
func (b block) commands() []string {
	var all []string
	for line := range strings.Lines(b.text) {
		for _, prompt := range []string{"$ ", "# "} {
			if command, ok := strings.CutPrefix(line, prompt); ok && b.language == "console" {
				all = append(all, strings.TrimSpace(command))
			}
		}
	}
	if b.language != "console" {
		all = []string{b.text}
	}
	return all
}

// site is a machine, and a person there with a shell.
type site struct {
	name string
	dir  string // where the shell is; commands change it
	env  []string
	// start runs a command on that machine.
	start func(*exec.Cmd) error
}

// stage is where pages are tried.
type stage struct {
	t     *testing.T
	sites map[string][]*site // by the words of a comment
	words map[string]func(*site) string
	state string // a folder
	// heard is told what commands print, as far as somebody has to act on it; nil =
	// nobody has.
	heard func(at *site, out string)

	typed int // commands, each once
}

// play does what a page says, in its order.
func (s *stage) play(blocks []block) {
	s.t.Helper()
	for _, b := range blocks {
		if b.notRun != "" {
			s.t.Logf("%s is not run: %s", b, b.notRun)
			continue
		}
		at := s.sites[b.place]
		if at == nil {
			s.t.Fatalf("%s: nobody knows a place %q", b, b.place)
		}
		for _, one := range at {
			s.do(b, one)
		}
	}
}

// do does what one block says, at one place.
func (s *stage) do(b block, at *site) {
	s.t.Helper()
	if b.write != "" {
		s.writeFile(b, at)
		return
	}
	commands := b.commands()
	if len(commands) == 0 {
		s.t.Errorf("%s has no command", b)
	}
	for _, command := range commands {
		s.typed += 1 + strings.Count(command, "&&")
	}
	for deadline := time.Now().Add(4 * patience); ; time.Sleep(500 * time.Millisecond) {
		failed, shown := "", ""
		for _, command := range commands {
			out, err := s.run(at, s.replace(b, at, command))
			if err != nil {
				failed = fmt.Sprintf("%s, on %s: %s: %v\n%s", b, at.name, command, err, out)
				break
			}
			if s.heard != nil {
				s.heard(at, out)
			}
			shown += fmt.Sprintf("%s, on %s: %s\n%s", b, at.name, command, out)
		}
		switch {
		case failed == "":
			s.t.Log(shown)
			return
		case !b.until || time.Now().After(deadline):
			s.t.Fatal(failed)
		}
	}
}

// replace puts in what this run has instead.
func (s *stage) replace(b block, at *site, text string) string {
	for _, pair := range b.with {
		now := pair[1]
		if word := s.words[now]; word != nil {
			now = word(at)
		}
		text = strings.ReplaceAll(text, pair[0], now)
	}
	return text
}

// writeFile does what a person does with an editor.
func (s *stage) writeFile(b block, at *site) {
	s.t.Helper()
	cmd := exec.Command("bash", "-c", `mkdir -p "$(dirname "$1")" && cat > "$1"`, "bash", b.write)
	cmd.Stdin = strings.NewReader(s.replace(b, at, b.text))
	if out, err := s.execute(at, cmd); err != nil {
		s.t.Fatalf("%s, on %s: write %s: %v\n%s", b, at.name, b.write, err, out)
	}
}

// run has a shell do one command where the last one left it.
func (s *stage) run(at *site, command string) (out string, err error) {
	where := filepath.Join(s.state, "where")
	cmd := exec.Command("bash", "-c", "set -eo pipefail\n"+command+"\npwd > \"$PLACE_OF_SHELL\"")
	cmd.Env = append(cmd.Env, "PLACE_OF_SHELL="+where)
	out, err = s.execute(at, cmd)
	if err == nil {
		if now, err := os.ReadFile(where); err == nil {
			at.dir = strings.TrimSpace(string(now))
		}
	}
	return out, err
}

func (s *stage) execute(at *site, cmd *exec.Cmd) (out string, err error) {
	var printed bytes.Buffer
	cmd.Dir, cmd.Env = at.dir, append(cmd.Env, at.env...)
	cmd.Stdout, cmd.Stderr = &printed, &printed
	cmd.WaitDelay = time.Second // what is left in the background may hold the output
	if err := at.start(cmd); err != nil {
		return "", err
	}
	if err = cmd.Wait(); errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return printed.String(), err
}
