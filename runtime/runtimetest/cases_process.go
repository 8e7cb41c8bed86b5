package runtimetest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/orpheus-cd/orpheus/runtime"
)

var processCases = []testCase{
	{name: "Environment", needs: real, run: func(s *scene) {
		s.Setenv("ORPHEUS_CONFORMANCE_CANARY", "of the agent")
		w := s.workload("env")
		w.Containers[0].Env = []runtime.Env{
			{Name: "PLAIN", Value: "a b\tc=d \"e\""},
			{Name: "EMPTY"},
			{Name: "PASSWORD", Value: "hunter2-" + w.ID, Secret: true},
		}
		s.begin(w)
		s.wait(w.ID)
		for _, line := range []string{"PLAIN=a b\tc=d \"e\"", "EMPTY=", "PASSWORD=hunter2-" + w.ID} {
			s.awaitLog(w, line+"\n")
		}
		if strings.Contains(s.log(w), "CANARY") {
			s.Error("the instance sees the agent's environment")
		}
		if listed := fmt.Sprintf("%+v", s.list()); strings.Contains(listed, "hunter2") {
			s.Error("the listing shows a secret")
		}
	}},

	{name: "Arguments", needs: real, run: func(s *scene) {
		w := s.begin(s.workload("say", "", "a b", "$HOME", "'\"\\", "é\x01"))
		s.wait(w.ID)
		s.awaitLog(w, "said 5\n") // on stderr, which may arrive between the lines of stdout
		const said = "\na b\n$HOME\n'\"\\\né\x01\n"
		if !within(patience, func() bool { return strings.Replace(s.log(w), "said 5\n", "", 1) == said }) {
			s.Errorf("the log without stderr is %q; want %q", strings.Replace(s.log(w), "said 5\n", "", 1), said)
		}
	}},

	{name: "User", needs: all(real, needs("Users", func(c runtime.Capabilities) bool { return c.Users })), run: func(s *scene) {
		w := s.workload("id")
		uid, gid := int64(12345), int64(23456)
		w.Containers[0].Security.RunAsUser, w.Containers[0].Security.RunAsGroup = &uid, &gid
		s.begin(w)
		if e := s.wait(w.ID); e.Code != 0 {
			s.Fatalf("exit is %+v", e)
		}
		s.awaitLog(w, "uid 12345 gid 23456 groups [")
		if text := s.log(w); !strings.Contains(text, "groups []") && !strings.Contains(text, "groups [23456]") {
			s.Errorf("%q: has other groups", text)
		}
	}},

	{name: "NoNewPrivileges", needs: real, run: func(s *scene) {
		w := s.begin(s.workload("status"))
		s.wait(w.ID)
		s.awaitLog(w, "NoNewPrivs:\t1\n")
	}},

	{name: "Stats", needs: real, run: func(s *scene) {
		reader, ok := s.driver.(runtime.Stats)
		if !ok {
			s.Skip("not run: the driver reads no Stats")
		}
		w := s.begin(s.workload("burn"))
		var use runtime.Usage
		var err error
		if !within(patience, func() bool {
			use, err = reader.Stats(s.Context(), w.ID)
			return err != nil || use.CPU > 0 && use.MemoryBytes > 0 && use.PIDs > 0
		}) || err != nil {
			if errors.Is(err, errors.ErrUnsupported) {
				s.Skip("not run: the driver reads no Stats")
			}
			s.Errorf("Stats: %+v, %v; want more than nothing of each", use, err)
		}
	}},
}
