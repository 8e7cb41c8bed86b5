package main

import "testing"

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
		got := clipInside(c.text, c.width)
		if got != c.want || columns(got) > c.width {
			t.Errorf("%q at %d columns: %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
