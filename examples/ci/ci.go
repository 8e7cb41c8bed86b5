// Package ci holds the jobs that comment pull requests with the fleet's plan:
// orpheus init writes the one that fits into a new repository.
package ci

import (
	_ "embed"
	"strings"
)

// Forge is a place that hosts repositories, with the job for it.
type Forge struct {
	Name string
	// Hosts are parts of the names of its servers.
	Hosts []string
	// File is where the job lies in a repository.
	File string
	job  string
}

//go:embed github/orpheus-plan.yaml
var github string

//go:embed gitlab/.gitlab-ci.yml
var gitlab string

//go:embed gitea/orpheus-plan.yaml
var gitea string

// Forges are those there is a job for.
func Forges() []Forge {
	return []Forge{
		{"github", []string{"github."}, ".github/workflows/orpheus-plan.yaml", github},
		{"gitlab", []string{"gitlab."}, ".gitlab-ci.yml", gitlab},
		{"gitea", []string{"gitea.", "forgejo.", "codeberg."}, ".gitea/workflows/orpheus-plan.yaml", gitea},
	}
}

// command is how the jobs make the plan.
const command = "orpheus plan "

// Job is the job for the fleet in a folder of the repository, "." = its top.
func (f Forge) Job(folder string) string {
	if folder == "." {
		return f.job
	}
	lines := strings.SplitAfter(f.job, "\n")
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), command) {
			lines[i] = strings.Replace(line, command, command+"--path "+folder+" ", 1)
		}
	}
	return strings.Join(lines, "")
}
