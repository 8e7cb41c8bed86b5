package peer

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

func TestFrames(t *testing.T) {
	many := make([]planner.NodeName, 700)
	for i := range many {
		many[i] = planner.NodeName(fmt.Sprintf("node-%03d", i))
	}
	long := make([]planner.NodeName, 500)
	for i := range long {
		long[i] = planner.NodeName(fmt.Sprintf("%s%03d", strings.Repeat("n", 60), i))
	}
	tests := []struct {
		name string
		said message
		want int // suspects that arrive
	}{
		{"nothing", message{}, 0},
		{"poke", message{Poke: true}, 0},
		{"all", message{Poke: true, words: words{Suspects: many[:3], Blind: true}}, 3},
		// More than anybody may list: the first.
		{"too many", message{words: words{Suspects: many}}, maxSuspects},
		// More than a frame holds: as many as fit.
		{"too long", message{words: words{Suspects: long, Blind: true}}, 247},
	}
	for _, tt := range tests {
		frame := encode(tt.said)
		if len(frame) > maxFrame {
			t.Errorf("%s: frame of %d bytes", tt.name, len(frame))
		}
		body, err := readFrame(bytes.NewReader(frame), nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got, err := decode(body)
		if err != nil || got.Poke != tt.said.Poke || got.Blind != tt.said.Blind || len(got.Suspects) != tt.want {
			t.Errorf("%s: poke %v, blind %v, %d suspects, %v", tt.name, got.Poke, got.Blind, len(got.Suspects), err)
		}
	}
}

func TestDecode(t *testing.T) {
	tests := []struct {
		name, body string
		ok         bool
	}{
		{"nothing", `{}`, true},
		// Of later versions.
		{"unknown field", `{"mood":"good"}`, true},
		{"empty", ``, false},
		{"no JSON", "GET / HTTP/1.1\r\n", false},
		{"another type", `{"suspects":"all"}`, false},
		{"deep", strings.Repeat(`[`, 16000), false},
		{"name with a line break", `{"suspects":["a\nb"]}`, false},
		{"name of a folder", `{"suspects":["../x"]}`, false},
		{"no name", `{"suspects":[""]}`, false},
		{"more than anybody may list", `{"suspects":["a"` + strings.Repeat(`,"a"`, maxSuspects) + `]}`, false},
	}
	for _, tt := range tests {
		if _, err := decode([]byte(tt.body)); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// Each once, in order.
	if m, err := decode([]byte(`{"suspects":["b","a","b"]}`)); err != nil || fmt.Sprint(m.Suspects) != "[a b]" {
		t.Errorf("%v, %v", m.Suspects, err)
	}
}

// FuzzDecode: whatever a peer says is read or refused, and what is read can be
// said again.
func FuzzDecode(f *testing.F) {
	f.Add(encode(message{Poke: true, words: words{Suspects: []planner.NodeName{"a", "b"}, Blind: true}}))
	f.Add([]byte("\xff\xff{}"))
	f.Add([]byte("\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		body, err := readFrame(bytes.NewReader(data), nil)
		if err != nil {
			return
		}
		m, err := decode(body)
		if err != nil {
			return
		}
		again, err := decode(encode(m)[frameHeader:])
		if err != nil || !again.equal(m.words) || again.Poke != m.Poke {
			t.Errorf("%+v becomes %+v, %v", m, again, err)
		}
	})
}
