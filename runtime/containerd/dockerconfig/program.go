package dockerconfig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/runtime/oom"
)

// programPrefix begins the name of every program that keeps credentials.
const programPrefix = "docker-credential-"

const (
	// programTime is how long a program may take.
	programTime = 30 * time.Second
	// programPatience is how long one that was told to end holds its pipes.
	programPatience = time.Second
	maxAnswer       = 64 << 10
)

// programName keeps a configuration from naming a path.
var programName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// ask runs a program by docker's protocol: the server on its standard input,
// the credentials as JSON on its standard output. Its having none is no error.
// What it prints is part of no error: nobody says that it is not secret.
func ask(ctx context.Context, program, server string) (Login, error) {
	if !programName.MatchString(program) {
		return Login{}, errors.New("is no name of a program")
	}
	ctx, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, programPrefix+program, "get")
	cmd.Env = environment(os.Environ())
	cmd.WaitDelay = programPatience
	inGroup(cmd)
	var out bounded
	cmd.Stdout = &out
	err := run(cmd, server+"\n")
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return Login{}, errors.New("there is no such program in the agent's PATH")
	case ctx.Err() == context.DeadlineExceeded:
		return Login{}, fmt.Errorf("did not answer within %v", programTime)
	case ctx.Err() != nil:
		return Login{}, ctx.Err()
	case errors.As(err, &exit) && knowsNone(out.kept.String()):
		return Login{}, nil
	case errors.As(err, &exit):
		return Login{}, fmt.Errorf("ended with %s; run it by hand: echo %s | %s get", exit.ProcessState, server, programPrefix+program)
	case err != nil:
		return Login{}, fmt.Errorf("cannot be run: %w", withoutPath(err))
	case out.full:
		return Login{}, fmt.Errorf("answered more than %d bytes", maxAnswer)
	}
	var answer struct{ Username, Secret string }
	if json.Unmarshal(out.kept.Bytes(), &answer) != nil {
		return Login{}, errors.New("did not answer in docker's format")
	}
	if answer.Username == "<token>" {
		answer.Username = ""
	}
	return Login{User: answer.Username, Secret: answer.Secret}, nil
}

// run runs a command to its end. Its input, which is short, comes after the
// command is no longer spared: what it starts from then on is not either.
func run(cmd *exec.Cmd, input string) error {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	oom.Expose(cmd.Process.Pid)
	_, _ = io.WriteString(stdin, input) // one that does not want it says so
	stdin.Close()
	return cmd.Wait()
}

// knowsNone recognises the one text by which programs say that they keep
// nothing for a server.
func knowsNone(said string) bool {
	return strings.TrimSpace(said) == "credentials not found in native keychain"
}

// bounded keeps the beginning of what is written to it. The buffer is not
// embedded: its ReadFrom would go round Write.
type bounded struct {
	kept bytes.Buffer
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := maxAnswer - b.kept.Len()
	b.full = b.full || len(p) > room
	b.kept.Write(p[:min(len(p), room)])
	return len(p), nil
}

// passed is what of the environment a program sees: what programs need to find
// their way, and what the clouds' own are configured by. The agent's is its own.
var passed = regexp.MustCompile(`^(PATH|HOME|USER|LOGNAME|LANG|LC_[A-Z]+|TZ|TMPDIR|XDG_[A-Z_]+|DBUS_SESSION_BUS_ADDRESS|GNUPGHOME|PASSWORD_STORE_DIR|SSL_CERT_FILE|SSL_CERT_DIR|(?i:http_proxy|https_proxy|no_proxy)|AWS_\w+|AZURE_\w+|GOOGLE_\w+|CLOUDSDK_\w+|ACR_\w+)=`)

func environment(all []string) []string {
	env := []string{} // never nil: that would be all
	for _, e := range all {
		if passed.MatchString(e) {
			env = append(env, e)
		}
	}
	return env
}
