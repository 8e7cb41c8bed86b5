package terminal

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What does not fit is left out inside: a slot's number stands at the end.
func TestClipInside(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"web-0", 5, "web-0"},
		{"a-rather-long-name-12", 12, "a-rathe…e-12"},
		{"日本語日本語日本語-3", 10, "日本語…-3"},
		{"", 4, ""},
	} {
		got := ClipInside(c.text, c.width)
		if got != c.want || Columns(got) > c.width {
			t.Errorf("%q at %d columns: %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

// Never less than a terminal needs: a line that is too long breaks the screen.
func TestColumns(t *testing.T) {
	for text, want := range map[string]int{
		"abc": 3, "é": 1, "e\u0301": 1, "日本": 4, "ｗ": 2, "한글": 4, "✅": 2, "⚡": 2, "🚀": 2, "☁\ufe0f": 2, "─█░…→·": 6, "": 0,
	} {
		if got := Columns(text); got != want {
			t.Errorf("%q: %d columns, want %d", text, got, want)
		}
	}
}

func TestBar(t *testing.T) {
	for _, row := range []struct {
		done, total int64
		bar         string
		percent     int
	}{
		{0, 10, "░░░░", 0},
		{10, 10, "████", 100},
		{5, 10, "██░░", 50},
		{999, 1000, "███▉", 99}, // 100 % only where nothing is missing
		{1, 8, "▌░░░", 12},
		{3, 0, "░░░░", 0},   // not known
		{-1, 10, "░░░░", 0}, // nonsense of an agent
		{20, 10, "████", 100},
		{1 << 62, 1 << 62, "████", 100},
	} {
		if bar, percent := Bar(row.done, row.total, 4), Percent(row.done, row.total); bar != row.bar || percent != row.percent {
			t.Errorf("%d of %d: %q %d, want %q %d", row.done, row.total, bar, percent, row.bar, row.percent)
		}
	}
	if Bar(1, 2, 0) != "" || Bar(1, 2, -3) != "" {
		t.Error("a bar without room")
	}
}

func TestSteps(t *testing.T) {
	for _, row := range []struct {
		done, begun, total int
		want               string
	}{
		{0, 0, 4, "░░░░░░░░"},
		{1, 2, 4, "██▒▒░░░░"},
		{4, 4, 4, "████████"},
		{2, 1, 4, "████░░░░"}, // what is done has begun
		{9, 9, 4, "████████"},
		{-1, -2, 4, "░░░░░░░░"},
		{1, 1, 0, ""},
	} {
		if got := Steps(row.done, row.begun, row.total, 8); got != row.want {
			t.Errorf("%+v: %q", row, got)
		}
	}
}

// TestColours: who may have colours.
func TestColours(t *testing.T) {
	for _, row := range []struct {
		noColor, force, term string
		want                 bool
	}{
		{"", "", "xterm", false}, // this is no terminal
		{"", "1", "xterm", true},
		{"", "1", "dumb", true}, // as was said in so many words
		{"", "0", "xterm", false},
		{"1", "1", "xterm", false},
	} {
		t.Setenv("NO_COLOR", row.noColor)
		t.Setenv("CLICOLOR_FORCE", row.force)
		t.Setenv("TERM", row.term)
		if got := Colours(&bytes.Buffer{}); got != row.want {
			t.Errorf("%+v: %v", row, got)
		}
	}
}

// TestFitHeight: the last line says what does not fit, and no line is lost unsaid.
func TestFitHeight(t *testing.T) {
	lines := strings.Fields("a b c d e")
	rest := func(hidden int) string { return fmt.Sprint("and ", hidden) }
	for height, want := range map[int][]string{
		0: lines, 1: lines, 5: lines, 9: lines,
		4: {"a", "b", "c", "and 2"},
		2: {"a", "and 4"},
	} {
		if got := fitHeight(lines, height, rest); !slices.Equal(got, want) {
			t.Errorf("height %d: %q, want %q", height, got, want)
		}
	}
	if lines[3] != "d" {
		t.Error("the caller's lines were changed")
	}
}

// A frame leaves nothing of the one before, and takes nothing away of itself: not
// the last character of a full row, nor the last row of a full screen.
func TestFrame(t *testing.T) {
	for _, row := range []struct {
		lines         []string
		width, height int
		want          string
	}{
		{[]string{"ab", "abcd"}, 4, 3, begin + "ab\x1b[K\r\nabcd\x1b[3;1H\x1b[J" + end},
		{[]string{"ab", "\x1b[31mabcd\x1b[0m"}, 4, 2, begin + "ab\x1b[K\r\n\x1b[31mabcd\x1b[0m" + end},
		{[]string{"日本"}, 4, 1, begin + "日本" + end},
		{nil, 4, 2, begin + "\x1b[1;1H\x1b[J" + end},
	} {
		if got := frame(row.lines, row.width, row.height); got != row.want {
			t.Errorf("%q: %q, want %q", row.lines, got, row.want)
		}
	}
}
