package planner_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

const testSignature = "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----"

func ownMessage() planner.Message {
	return planner.Message{Subject: "web-1 registers", Parts: []planner.Part{{Body: fullNode().Body(), Signature: testSignature}}}
}

func fenceOf(epoch uint64) planner.Part {
	return planner.Part{Body: planner.Fence{Epoch: epoch, Fenced: true, By: "web-2", Nonce: "n", Reason: "no answer"}.Body(), Signature: testSignature}
}

func TestNodeMessage(t *testing.T) {
	record, err := planner.ParseNodeMessage(ownMessage().String())
	if err != nil || !reflect.DeepEqual(record, fullNode()) {
		t.Errorf("own record: %v, %+v", err, record)
	}

	fenced, err := planner.FenceMessage(ownMessage(), "web-2 fences web-1:\nno answer", fenceOf(8))
	if err != nil {
		t.Fatal(err)
	}
	if fenced.Parts[0] != ownMessage().Parts[0] {
		t.Error("what the node wrote was changed")
	}
	if fenced.Subject != `web-2 fences web-1:\nno answer` {
		t.Errorf("subject %q", fenced.Subject)
	}
	record, err = planner.ParseNodeMessage(fenced.String())
	want := fullNode()
	want.Epoch, want.Fence = 8, &planner.Fence{Epoch: 8, Fenced: true, By: "web-2", Nonce: "n", Reason: "no answer"}
	if err != nil || !reflect.DeepEqual(record, want) {
		t.Errorf("fenced record: %v, %+v", err, record)
	}
	if record.Live() {
		t.Error("a fenced node is live")
	}
	// Only the node itself clears a fence; until then nobody fences it again.
	if _, err := planner.FenceMessage(fenced, "again", fenceOf(9)); err == nil {
		t.Error("a fenced node was fenced again")
	}
}

func TestNodeMessageRefused(t *testing.T) {
	with := func(parts ...planner.Part) string {
		return planner.Message{Subject: "s", Parts: parts}.String()
	}
	own := ownMessage().Parts[0]
	for _, test := range []struct {
		name, text, want string
	}{
		{"no body", "s\n\n", "neither a body"},
		{"no record", "x", "no subject"},
		// A fence that revokes nothing, or gives old leases force again.
		{"fence at the same epoch", with(own, fenceOf(7)), "does not raise"},
		{"fence below", with(own, fenceOf(6)), "does not raise"},
		{"two records", with(own, own), "fence: "},
		{"a fence alone", with(fenceOf(8)), "node record: "},
		{"two fences", with(own, fenceOf(8), fenceOf(9)), "more than two parts"},
	} {
		if _, err := planner.ParseNodeMessage(test.text); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
}

// A node of a later version is fenced like any other.
func TestNodeMessageOfLaterFormat(t *testing.T) {
	own := ownMessage()
	own.Parts[0].Body = strings.Replace(own.Parts[0].Body, `"format": 1`, `"format": 2`, 1)
	fenced, err := planner.FenceMessage(own, "s", fenceOf(8))
	if err != nil {
		t.Fatal(err)
	}
	record, err := planner.ParseNodeMessage(fenced.String())
	var newer *planner.FormatError
	if !errors.As(err, &newer) || newer.Format != 2 || record.Epoch != 8 || record.Fence == nil || record.Key != testKey {
		t.Errorf("%v, %+v", err, record)
	}
}

func TestMessageRecord(t *testing.T) {
	record := ownMessage().Record("web-1", 1700000000, "")
	again, err := planner.ParseRecord(record.Object())
	if err != nil || again != record {
		t.Errorf("%v: %+v, want %+v", err, again, record)
	}
	if _, err := (planner.Message{}).Only(); err == nil {
		t.Error("no part is one part")
	}
}
