package peer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// A frame is two bytes of length, most significant first, and that many bytes
// of JSON. Each request has one reply; both are a message.
const (
	maxFrame    = 16 << 10
	maxSuspects = 500
	frameHeader = 2
)

// message is all that peers say. Fields of later versions are ignored.
type message struct {
	// Poke says: look at the repository now.
	Poke bool `json:"poke,omitempty"`
	words
}

// words are what a node says of itself and of others.
type words struct {
	Suspects []planner.NodeName `json:"suspects,omitempty"` // whom it cannot reach
	Blind    bool               `json:"blind,omitempty"`    // it cannot read the repository
}

func (w words) equal(o words) bool {
	return w.Blind == o.Blind && slices.Equal(w.Suspects, o.Suspects)
}

// encode makes a frame. Of suspects beyond what a frame holds, the last are
// left out.
func encode(m message) []byte {
	size := frameHeader + len(`{"poke":true,"suspects":[],"blind":true}`)
	fits := 0
	for _, n := range m.Suspects[:min(len(m.Suspects), maxSuspects)] {
		size += len(n) + len(`"",`)
		if size > maxFrame {
			break
		}
		fits++
	}
	m.Suspects = m.Suspects[:fits]
	body, err := json.Marshal(m)
	if err != nil || len(body) > maxFrame-frameHeader {
		// Only names that are none of ours could do that: they say nothing.
		return encode(message{Poke: m.Poke, words: words{Blind: m.Blind}})
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(body))), body...)
}

// decode reads the body of a frame from a peer that nobody vouches for. Names
// that are no names of nodes make it invalid as a whole.
func decode(body []byte) (message, error) {
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		return message{}, fmt.Errorf("read what a peer says: %w", err)
	}
	if len(m.Suspects) > maxSuspects {
		return message{}, fmt.Errorf("a peer lists %d suspects, more than %d", len(m.Suspects), maxSuspects)
	}
	for _, n := range m.Suspects {
		if planner.NodeRef(n).Parse().Kind != planner.RefNode {
			return message{}, errors.New("a peer lists a suspect with a name that no node can have")
		}
	}
	slices.Sort(m.Suspects)
	m.Suspects = slices.Compact(m.Suspects)
	return m, nil
}

// readFrame reads the body of one frame into buf, which it lets grow.
func readFrame(from io.Reader, buf []byte) ([]byte, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(from, header[:]); err != nil {
		return buf[:0], err
	}
	n := int(binary.BigEndian.Uint16(header[:]))
	if n > maxFrame-frameHeader {
		return buf[:0], fmt.Errorf("a peer sends %d bytes at once, more than %d", n, maxFrame)
	}
	buf = slices.Grow(buf[:0], n)[:n]
	_, err := io.ReadFull(from, buf)
	return buf, err
}
