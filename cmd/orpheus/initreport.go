package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// reportInit tells what was written, whether it is a fleet, and how to go on.
func (e *env) reportInit(ctx context.Context, p *place, plan *initPlan) error {
	s := e.newScreen()
	t := &table{titles: []string{"WRITTEN", ""}}
	for _, f := range plan.files {
		t.add(f.note, dim, cell{text: f.path})
	}
	t.draw(s)
	s.blank()
	report, err := validate(ctx, p.top, p.fleet)
	if err != nil {
		return err
	}
	broken := report.Broken() > 0
	for _, said := range plan.remarks(p, broken) {
		s.prose("", plain, plain, said)
	}
	if broken {
		s.blank()
		s.prose("", plain, bold, "Not everything that was there can be run as it is:")
	}
	if len(report.Faults) > 0 {
		s.blank()
		if err := s.writeTo(e.stdout); err != nil {
			return err
		}
		if err := writeReport(e.stdout, report, "text"); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(e.stdout); err != nil {
			return err
		}
		s = e.newScreen()
	} else {
		s.blank()
	}
	if broken {
		s.prose("", plain, bold, "Mend that, and look again:")
	} else {
		s.prose("", plain, bold, "Next:")
	}
	plan.nextSteps(p, p.address(ctx), broken).draw(s)
	if err := s.writeTo(e.stdout); err != nil || !broken {
		return err
	}
	return &exitError{code: exitFailed}
}

// remarks are what is worth to know of what was written and what was not.
func (plan *initPlan) remarks(p *place, broken bool) []string {
	var all []string
	say := func(text string) { all = append(all, text) }
	if len(plan.left) > 0 {
		say("Left as it was: " + strings.Join(plan.left, ", ") + ".")
	}
	if len(plan.found.compose) > 0 && !plan.jobOnly {
		say("The services of " + strings.Join(plan.found.compose, ", ") + " are the fleet's: spec.compose of fleet.yaml lists it.")
	}
	if foreign := plan.found.foreign; len(foreign) > 0 && !plan.jobOnly {
		const named = 5
		names := strings.Join(foreign[:min(len(foreign), named)], ", ")
		if len(foreign) > named {
			names += fmt.Sprintf(" and %d more", len(foreign)-named)
		}
		say("Not read: " + names + ": spec.ignore of fleet.yaml says so.")
		if plan.found.kubernetes {
			say("Some of these are for Kubernetes: orpheus convert makes services of them.")
		}
	}
	if plan.asked {
		at := ""
		if p.fleet != "." {
			at = " --path " + shellWord(p.fleet)
		}
		say("No job for pull requests: the repository has no remote that tells its forge. orpheus init" + at + " --ci github, gitlab or gitea adds it.")
	}
	if plan.forge != nil {
		say("Say in " + plan.forge.File + " where the job gets orpheus from.")
	}
	if plan.dirty && !broken {
		say("Other changes of the repository are no part of the commit below, but for what is staged already.")
	}
	return all
}

// nextStep is a command, and what is to be said of it; "" = nothing.
type nextStep struct{ about, command string }

type nextSteps []nextStep

func (n nextSteps) draw(s *screen) {
	for _, step := range n {
		if step.about != "" {
			s.prose("  ", plain, dim, step.about)
		}
		s.line("  $ " + manifest.Printable(step.command))
	}
}

// nextSteps lead on from the folder in which the user is. The commands of all but
// the first name files from the top of the repository.
func (plan *initPlan) nextSteps(p *place, address string, broken bool) nextSteps {
	var all nextSteps
	if here, err := os.Getwd(); err == nil {
		if real, err := filepath.EvalSymlinks(here); err == nil {
			here = real
		}
		if rel, err := filepath.Rel(here, p.top); err == nil && rel != "." {
			all = append(all, nextStep{command: "cd " + shellWord(rel)})
		}
	}
	repository, inside := "", ""
	if p.fleet != "." {
		repository, inside = " --repository "+shellWord(p.fleet), " --path "+shellWord(p.fleet)
	}
	if broken {
		at := ""
		if p.fleet != "." {
			at = " " + shellWord(p.fleet)
		}
		return append(all, nextStep{command: "orpheus validate" + at})
	}
	names, message := ".", "A fleet"
	if plan.dirty {
		var written []string
		for _, f := range plan.files {
			written = append(written, shellWord(f.path))
		}
		for _, name := range plan.found.compose {
			written = append(written, shellWord(p.in(name)))
		}
		names = strings.Join(written, " ")
	}
	if plan.jobOnly {
		message = "Plans in pull requests"
	}
	all = append(all, nextStep{command: "git add " + names + ` && git commit -m "` + message + `"`})
	if plan.jobOnly {
		return all
	}
	return append(all,
		nextStep{"try it on this machine:", "sudo orpheus dev up" + repository},
		nextStep{"push it, and on each server (docs/quickstart.md of Orpheus):", "sudo orpheus agent install --repository " + shellWord(shownAddress(address)) + inside})
}

// shownAddress is an address without what it has of credentials.
func shownAddress(address string) string {
	if address == "" {
		return "URL"
	}
	if u, err := url.Parse(address); err == nil && u.User != nil {
		if _, secret := u.User.Password(); secret || u.Scheme != "ssh" {
			u.User = nil
		}
		return u.String()
	}
	return address
}

// shellWord is text as one word of a shell.
func shellWord(text string) string {
	if text != "" && strings.Trim(text, jobPath+":@") == "" && text[0] != '-' {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
