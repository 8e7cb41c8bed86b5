package runtimetest

import (
	"bytes"
	"os"
	"strings"
)

var logCases = []testCase{
	{name: "Log/Appends", needs: real, run: func(s *scene) {
		w := s.workload("say", "second")
		if err := os.WriteFile(w.Containers[0].LogPath, []byte("first\n"), 0o600); err != nil {
			s.Fatal(err)
		}
		s.begin(w)
		s.wait(w.ID)
		s.awaitLog(w, "said 1\n")
		s.awaitLog(w, "second\n") // stdout and stderr may arrive in either order
		if text := s.log(w); !strings.HasPrefix(text, "first\n") {
			s.Errorf("the log is %q; want the new lines after the old one", text)
		}
	}},

	{name: "Log/LastWords", needs: real, run: func(s *scene) {
		w := s.begin(s.workload("last", "going", "fatal: gone"))
		s.wait(w.ID)
		s.awaitLog(w, "going\n")
		s.awaitLog(w, "fatal: gone\n") // although stdout ended long before
	}},

	{name: "Log/Private", needs: real, run: func(s *scene) {
		w := s.begin(s.workload("say", "secret"))
		s.wait(w.ID)
		info, err := os.Stat(w.Containers[0].LogPath)
		if err != nil {
			s.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			s.Errorf("the log has mode %s; want 0600", info.Mode())
		}
	}},

	{name: "Log/SurvivesTheAgent", needs: real, run: func(s *scene) {
		w := s.begin(s.workload("lines"))
		s.awaitLog(w, "line 3\n")
		s.close()
		seen := len(s.log(w))
		if !within(patience, func() bool { return len(s.log(w)) > seen+100 }) {
			s.Error("the log stands still without a driver object")
		}
		s.restartAgent()
	}},

	{name: "Log/Truncated", needs: real, run: func(s *scene) {
		w := s.begin(s.workload("lines"))
		s.awaitLog(w, "line 50\n")
		if err := os.Truncate(w.Containers[0].LogPath, 0); err != nil {
			s.Fatal(err)
		}
		if !within(patience, func() bool { return strings.Count(s.log(w), "\n") > 5 }) {
			s.Fatal("the log stands still after it was truncated")
		}
		if bytes.IndexByte([]byte(s.log(w)), 0) >= 0 {
			s.Error("the log has a hole after it was truncated")
		}
	}},

	{name: "Log/NoFolder", needs: real, run: func(s *scene) {
		w := s.workload("sleep")
		s.prepare(w)
		w.Containers[0].LogPath = s.logs + "/no/such/folder/log"
		if err := s.driver.Start(s.Context(), w); err == nil || !strings.Contains(err.Error(), "/no/such/folder") {
			s.Errorf("Start: %v; want an error naming the log", err)
		}
		if i := s.find(w.ID); i != nil {
			s.Errorf("listed after a failed start: %+v", *i)
		}
	}},

	{name: "Log/None", needs: real, run: func(s *scene) {
		w := s.workload("say", "nothing")
		w.Containers[0].LogPath = ""
		s.begin(w)
		if e := s.wait(w.ID); e.Code != 0 {
			s.Errorf("exit is %+v; want code 0", e)
		}
	}},
}
