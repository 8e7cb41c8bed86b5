package main

// exitCode is an exit code with what it means. They are as stable as the names of
// flags: scripts and CI branch on them.
type exitCode struct {
	code    string
	verbs   string // that use it; "" = all
	meaning string
}

// exitCodes are all that there are. The reference of the command line shows them.
var exitCodes = []exitCode{
	{"0", "", "it worked; what was asked for is shown"},
	{"1", "", "it was tried and did not work, or the answer is no: nobody answers, there is no such thing, a manifest has a fault, a check failed"},
	{"2", "", "the command line makes no sense, or its input cannot be read"},
	{"3", "`status --exit-code`, `--wait`", "not all is as the repository asks, or not yet, or with `--plan` not as was planned"},
	{"3", "`plan --exit-code`", "the merge would change something"},
	{"the command's", "`exec`", "what the command exited with; 128 + N if signal N ended it or orpheus"},
}
