package main

import (
	"context"
	"fmt"
	"os"
)

// notifyChecks try the way to those who are told how commits fare. The agent does
// its work without them.
func (n *nodeExam) notifyChecks() []check {
	var checks []check
	if n.config.Notify.CommitStatus != nil {
		checks = append(checks, check{"commit status", n.statusForge})
	}
	for k, h := range n.config.Notify.Webhooks {
		if h.URLFile != "" {
			checks = append(checks, check{fmt.Sprintf("webhooks[%d]", k), func(context.Context) (level, string, string) { return n.hookAddress(h.URLFile) }})
		}
	}
	return checks
}

// statusForge asks the forge for the repository. It sets no status.
func (n *nodeExam) statusForge(ctx context.Context) (level, string, string) {
	forge, err := n.config.notification().Status.Check(ctx)
	switch {
	case ctx.Err() != nil:
		return levelWarn, fmt.Sprintf("%s does not answer within %s", forge, checkTimeout), "try again; the agent is more patient"
	case err != nil:
		return levelWarn, err.Error(), "correct notify.commitStatus in " + n.file + ", or the token"
	}
	return levelOK, forge + ": answers; whether the token may set a status is seen with the first", ""
}

// hookAddress looks whether the address of a webhook is there. Nothing is sent.
func (n *nodeExam) hookAddress(file string) (level, string, string) {
	address, err := readSecret(file)
	switch {
	case err != nil:
		return levelWarn, err.Error(), fmt.Sprintf("make the file readable for user %d", os.Geteuid())
	case address == "":
		return levelWarn, file + " is empty", "write the webhook's address there"
	}
	return levelOK, file + " holds an address; nothing is sent there now", ""
}
