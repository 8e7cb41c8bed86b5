package planner_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// holdBody checks what holds for all bodies that can be read: they are JSON,
// and written they are read as the same.
func holdBody(t *testing.T, text string, err error, written string, again func(string) (string, error)) {
	t.Helper()
	if newer := new(planner.FormatError); err != nil && !errors.As(err, &newer) {
		if strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("the error is not printable: %q", err)
		}
		return
	}
	if !json.Valid([]byte(text)) {
		t.Errorf("read what is no JSON: %q", text)
	}
	if strings.Contains(written, "\n\n") || strings.HasSuffix(written, "\n") || !strings.HasPrefix(written, "{") {
		t.Errorf("not a body of a message: %q", written)
	}
	if err != nil || len(written) > planner.MaxRecordBytes {
		return
	}
	if twice, err := again(written); err != nil || twice != written {
		t.Errorf("%v: written\n%s\nthen\n%s", err, written, twice)
	}
}

func FuzzNodeRecord(f *testing.F) {
	f.Add(fullNode().Body())
	parse := func(b string) (string, error) { v, err := planner.ParseNodeRecord(b); return v.Body(), err }
	f.Fuzz(func(t *testing.T, body string) {
		written, err := parse(body)
		holdBody(t, body, err, written, parse)
	})
}

func FuzzNodeStatus(f *testing.F) {
	f.Add(fullStatus().Body())
	parse := func(b string) (string, error) { v, err := planner.ParseNodeStatus(b); return v.Body(), err }
	f.Fuzz(func(t *testing.T, body string) {
		written, err := parse(body)
		holdBody(t, body, err, written, parse)
	})
}

func FuzzLeaseDoc(f *testing.F) {
	f.Add(fullDoc().Body())
	f.Add(strings.Replace(fullDoc().Body(), `"format": 1`, `"format": 2`, 1))
	parse := func(b string) (string, error) { v, err := planner.ParseLeaseDoc(b); return v.Body(), err }
	f.Fuzz(func(t *testing.T, body string) {
		written, err := parse(body)
		holdBody(t, body, err, written, parse)
		if doc, err := planner.ParseLeaseDoc(body); err == nil {
			if joined := planner.JoinShards(doc.Shards()); joined.Body() != written {
				t.Errorf("cut and joined\n%s\nwant\n%s", joined.Body(), written)
			}
		}
	})
}

func FuzzFleetRecord(f *testing.F) {
	f.Add(fullFleet().Body())
	parse := func(b string) (string, error) { v, err := planner.ParseFleetRecord(b); return v.Body(), err }
	f.Fuzz(func(t *testing.T, body string) {
		written, err := parse(body)
		holdBody(t, body, err, written, parse)
	})
}

func FuzzFence(f *testing.F) {
	f.Add(planner.Fence{Epoch: 2, Fenced: true, By: "web-2", Nonce: "n", Reason: "no answer"}.Body())
	parse := func(b string) (string, error) { v, err := planner.ParseFence(b); return v.Body(), err }
	f.Fuzz(func(t *testing.T, body string) {
		written, err := parse(body)
		holdBody(t, body, err, written, parse)
	})
}

func FuzzBeatMark(f *testing.F) {
	f.Add(planner.BeatMark{Challenge: true, Node: "a", By: "b", Replaced: planner.Ring("a", "s").At(0).Hash(), Nonce: "n"}.Body())
	f.Add(planner.BeatMark{Node: "a", By: "b", Epoch: 4, Nonce: "n", Reason: "no answer"}.Body())
	parse := func(b string) (string, error) { v, err := planner.ParseBeatMark(b); return v.Body(), err }
	f.Fuzz(func(t *testing.T, body string) {
		written, err := parse(body)
		holdBody(t, body, err, written, parse)
	})
}

// FuzzNodeMessage also covers the text around the bodies.
func FuzzNodeMessage(f *testing.F) {
	own := planner.Message{Subject: "s", Parts: []planner.Part{{Body: fullNode().Body(), Signature: testSignature}}}
	f.Add(own.String())
	fenced, err := planner.FenceMessage(own, "fenced", planner.Part{Body: planner.Fence{Epoch: 8, Fenced: true, By: "web-2", Nonce: "n"}.Body()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fenced.String())
	f.Fuzz(func(t *testing.T, text string) {
		record, err := planner.ParseNodeMessage(text)
		if err == nil && record.Fence != nil && record.Epoch != record.Fence.Epoch {
			t.Errorf("epoch %d with fence %+v", record.Epoch, record.Fence)
		}
		if m, err := planner.ParseMessage(text); err == nil {
			if again, err := planner.ParseMessage(m.String()); err != nil || again.String() != m.String() {
				t.Errorf("%v: %q then %q", err, m.String(), again.String())
			}
		}
	})
}
