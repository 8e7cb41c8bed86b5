package e2e

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestUnprivileged tells the stories of the process driver once more, as the
// user nobody.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("all stories are told without privileges already")
	}
	t.Parallel()
	const nobody = 65534
	dir, err := os.MkdirTemp("", "orpheus-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(dir, "e2e.test")
	copyProgram(t, "/proc/self/exe", self)
	stories := []string{"TestLifecycle", "TestBrokenManifest", "TestKilledDuringStartAndStop", "TestDrift", "TestGitOverHTTPS", "TestAttack41StatusIsLocal", "TestLogs", "TestProgramsKeepTheirPorts"}
	child := exec.Command(self, "-test.run=^("+strings.Join(stories, "|")+")$/^process$", "-test.v="+strconv.FormatBool(testing.Verbose()))
	child.Dir = dir
	child.Env = []string{
		orpheusVariable + "=" + orpheus, payloadVariable + "=" + payload,
		"TMPDIR=" + dir, "HOME=" + dir, "PATH=" + os.Getenv("PATH"),
	}
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
	out, err := child.CombinedOutput()
	t.Logf("as nobody:\n%s", out)
	if err != nil {
		t.Error(err)
	}
	for _, story := range stories {
		if testing.Verbose() && !strings.Contains(string(out), "PASS: "+story+"/process") {
			t.Errorf("%s was not told", story)
		}
	}
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err == nil {
		_, err = io.Copy(out, in)
	}
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
