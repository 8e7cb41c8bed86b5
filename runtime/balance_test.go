package runtime

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

func TestLeftOutError(t *testing.T) {
	web := Front{Kind: FrontPublished, Service: planner.ServiceID{Namespace: "shop", Name: "web"}, Port: 80, Protocol: "tcp", Address: "192.0.2.1"}
	err := fmt.Errorf("balance: %w", LeftOutError{{web, "another has it"}, {Front{Kind: FrontHost, Port: 20001, Protocol: "udp"}, "no\nport"}})
	left, is := errors.AsType[LeftOutError](err)
	if !is || len(left) != 2 || left[0].Front.Port != 80 || !errors.Is(err, ErrInvalid) || errors.Is(err, ErrNotFound) {
		t.Errorf("%v is a LeftOutError: %v", err, is)
	}
	if text := left.Error(); !strings.Contains(text, `publish port 80/tcp on "192.0.2.1" of shop/web is left out: another has it; host port 20001/udp`) || strings.Contains(text, "\n") {
		t.Errorf("reads %q", text)
	}
	many := make(LeftOutError, 1000)
	if text := many.Error(); len(text) > 2000 || !strings.HasSuffix(text, "and 990 more") {
		t.Errorf("1000 read as %d bytes: %q", len(text), text)
	}
}
