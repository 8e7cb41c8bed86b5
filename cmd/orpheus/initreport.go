package main

import (
	"context"
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
	if len(plan.left) > 0 {
		s.prose("", plain, plain, "Left as it was: "+strings.Join(plan.left, ", ")+".")
	}
	if len(plan.compose) > 0 {
		s.prose("", plain, plain, "The services of "+strings.Join(plan.compose, ", ")+" are the fleet's: spec.compose of fleet.yaml lists it.")
	}
	if plan.asked {
		s.prose("", plain, plain, "No job for pull requests: the repository has no remote that tells its forge. Write --ci github, gitlab or gitea to have one.")
	}
	if plan.forge != nil {
		s.prose("", plain, plain, "Say in "+plan.forge.File+" where the job gets orpheus from.")
	}
	report, err := validate(ctx, p.top, p.fleet)
	if err != nil {
		return err
	}
	if report.Broken() == 0 {
		s.blank()
		drawNextSteps(s, p)
		return s.writeTo(e.stdout)
	}
	s.blank()
	s.prose("", plain, bold, "Not everything that was there can be run as it is:")
	s.blank()
	if err := s.writeTo(e.stdout); err != nil {
		return err
	}
	if err := writeReport(e.stdout, report, "text"); err != nil {
		return err
	}
	return &exitError{code: exitFailed}
}

func drawNextSteps(s *screen, p *place) {
	at := ""
	if p.fleet != "." {
		at = " --repository " + p.fleet
	}
	s.prose("", plain, bold, "Next:")
	for _, step := range [][2]string{
		{"", `git add . && git commit -m "A fleet"`},
		{"try it on this machine:", "sudo orpheus dev up" + at},
		{"push it, and on each server (docs/quickstart.md of Orpheus):", "sudo orpheus agent install"},
	} {
		if step[0] != "" {
			s.prose("  ", plain, dim, step[0])
		}
		s.line("  $ " + manifest.Printable(step[1]))
	}
}
