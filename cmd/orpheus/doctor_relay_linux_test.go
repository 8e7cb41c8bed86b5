package main

import (
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

func TestJudgeRelay(t *testing.T) {
	fine := &api.Relay{PID: 7, Version: "abc", Since: ago(time.Hour), Open: 2}
	closed := func(n api.NotOpened) *api.Endpoints {
		return &api.Endpoints{Services: []api.ServiceEndpoints{{Name: "web", NotOpened: []api.NotOpened{n}}}}
	}
	for _, tc := range []struct {
		relay *api.Relay
		led   *api.Endpoints
		level level
		want  string
	}{
		{nil, nil, levelOK, "as soon as the agent runs"},
		{fine, nil, levelOK, "process 7, program abc, for 60m: 2 ports open"},
		{fine, closed(testMeant), levelOK, "8602 of this node is the program's own"},
		{fine, closed(testNotOpened), levelWarn, testNotOpened.Reason},
		{&api.Relay{Faults: []string{"no space left"}}, nil, levelFail, "no space left"},
	} {
		if level, text, remedy := judgeRelay("none", tc.relay, tc.led, testNow); level != tc.level || !strings.Contains(text, tc.want) || (level == levelOK) != (remedy == "") {
			t.Errorf("%v %q, remedy %q, want %v and %q", level, text, remedy, tc.level, tc.want)
		}
	}
}
