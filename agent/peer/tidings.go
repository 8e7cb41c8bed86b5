package peer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// Announcements have a protocol and connections of their own, so that no probe
// waits behind a large one; who does not know the protocol agrees on that of
// probes during the handshake, and is told nothing.
//
// A frame is four bytes of length, most significant first, and that many bytes
// of JSON. Each telling has one receipt; one that says so is followed by the
// announcement itself.
const (
	announcing      = "orpheus-announce/1"
	maxAnnouncement = 256 << 10
	maxCall         = 1 << 10
	maxInstances    = 1000
	maxServing      = 1 << 62
	longHeader      = 4
)

// position names one announcement of a node.
type position struct {
	Incarnation string `json:"incarnation,omitempty"`
	Serving     uint64 `json:"serving,omitempty"`
}

// telling is what a node that announces says first.
type telling struct {
	// At is its announcement in force. It follows if Told is set; otherwise the
	// call only asks whether the callee holds it.
	At   position `json:"at"`
	Told bool     `json:"told,omitempty"`
	// Have is what the caller holds of the callee's own announcements.
	Have position `json:"have,omitzero"`
}

// receipt answers: what the callee holds of the caller, and up to which
// Serving of that incarnation it goes by it.
type receipt struct {
	Heard   position `json:"heard,omitzero"`
	Applied uint64   `json:"applied,omitempty"`
}

// encodeAnnouncement makes a frame. Of instances beyond what a frame holds, the
// last are left out; it reports how many.
func encodeAnnouncement(a planner.Announcement) (frame []byte, left int, err error) {
	fits, size := 0, longHeader+len(a.Incarnation)+64
	for _, i := range a.Instances[:min(len(a.Instances), maxInstances)] {
		text, err := json.Marshal(i)
		if err != nil {
			return nil, 0, fmt.Errorf("encode announcement: %w", err)
		}
		if size += len(text) + 1; size > maxAnnouncement {
			break
		}
		fits++
	}
	left = len(a.Instances) - fits
	a.Instances = a.Instances[:fits]
	frame, err = long(a)
	return frame, left, err
}

// long makes a frame with a header of four bytes.
func long(what any) ([]byte, error) {
	body, err := json.Marshal(what)
	if err != nil {
		return nil, fmt.Errorf("encode for a peer: %w", err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...), nil
}

// readLong reads the body of one frame of at most most bytes.
func readLong(from io.Reader, most int) ([]byte, error) {
	var header [longHeader]byte
	if _, err := io.ReadFull(from, header[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(header[:])
	if uint64(n) > uint64(most) {
		return nil, fmt.Errorf("a peer sends %d bytes at once, more than %d", n, most)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(from, body)
	return body, err
}

// decodeTelling reads a call from a peer that nobody vouches for.
func decodeTelling(body []byte) (telling, error) {
	var c telling
	if err := json.Unmarshal(body, &c); err != nil {
		return telling{}, fmt.Errorf("read what a peer says: %w", err)
	}
	if c.At.Incarnation == "" || c.At.Serving == 0 || !c.At.valid() || !c.Have.valid() {
		return telling{}, errors.New("a peer names an announcement that there cannot be")
	}
	return c, nil
}

func decodeReceipt(body []byte) (receipt, error) {
	var r receipt
	if err := json.Unmarshal(body, &r); err != nil {
		return receipt{}, fmt.Errorf("read what a peer says: %w", err)
	}
	if !r.Heard.valid() {
		return receipt{}, errors.New("a peer names an announcement that there cannot be")
	}
	return r, nil
}

func (p position) valid() bool { return word(p.Incarnation) && p.Serving <= maxServing }

// decodeAnnouncement reads an announcement from a peer that nobody vouches for.
// What no node can say makes it invalid as a whole.
func decodeAnnouncement(body []byte) (planner.Announcement, error) {
	var a planner.Announcement
	if err := json.Unmarshal(body, &a); err != nil {
		return planner.Announcement{}, fmt.Errorf("read what a peer announces: %w", err)
	}
	switch {
	case a.Serving == 0:
		return planner.Announcement{}, errors.New("a peer announces without saying which of its announcements it is")
	case len(a.Instances) > maxInstances:
		return planner.Announcement{}, fmt.Errorf("a peer announces %d instances, more than %d", len(a.Instances), maxInstances)
	}
	if err := a.Check(); err != nil {
		return planner.Announcement{}, fmt.Errorf("a peer announces what there cannot be: %w", err)
	}
	return a, nil
}

// word reports whether s is short, and letters, digits and .-_+ alone.
func word(s string) bool {
	return len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_+", r))
	})
}
