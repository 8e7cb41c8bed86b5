package main

import (
	"fmt"
	"regexp"
	"strings"
)

// unitName is the agent's unit in systemd.
const unitName = "orpheus.service"

// plainPath is a path that a unit file holds as it is: no spaces, and nothing
// that systemd puts something else in for.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._+-]*$`)

// unit writes the agent's unit for a binary and a configuration file.
//
// What it leaves out matters as much. Of systemd's sandboxing (ProtectSystem,
// PrivateTmp and the like) each option gives a unit mounts of its own: the
// namespaces and volumes that the agent mounts would not be seen by containerd,
// and would be gone after a restart. Filters of system calls and
// NoNewPrivileges would reach into processes that the agent starts. A
// RuntimeDirectory or StateDirectory would be systemd's to remove and to chown;
// the agent makes both itself.
func unit(binary, configFile string, containerd bool) (string, error) {
	command := binary + " agent"
	if configFile != defaultConfigFile {
		command += " --config " + configFile
	}
	for _, path := range []string{binary, configFile} {
		if !plainPath.MatchString(path) {
			return "", fmt.Errorf("path %q cannot stand in a systemd unit: it must be absolute, of letters, digits and / . _ + - only", path)
		}
	}
	needs := "network-online.target"
	if containerd {
		needs += " containerd.service"
	}
	return strings.NewReplacer("COMMAND", command, "NEEDS", needs).Replace(unitText), nil
}

const unitText = `# Written by "orpheus agent install", which replaces it. What you change belongs
# into a drop-in: systemctl edit orpheus.
[Unit]
Description=Orpheus agent
Documentation=https://github.com/orpheus-cd/orpheus/blob/main/docs/agent.md
# Wanted, not required: what runs there is not to end with the agent, nor the
# agent with it.
Wants=NEEDS
After=NEEDS
# Never given up.
StartLimitIntervalSec=0

[Service]
# Ready as soon as "orpheus status" is answered; Git may be away.
Type=notify
NotifyAccess=main
ExecStart=COMMAND
# Look at the repository now.
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2
TimeoutStartSec=2min
TimeoutStopSec=30s
# For an agent whose loop has stopped turning.
WatchdogSec=2min

# What runs is not the agent's: nothing but the agent itself is ever signalled,
# and nothing below its cgroup touched.
KillMode=process
Delegate=yes
# A driver plugin without memory is no reason to end the agent.
OOMPolicy=continue
# What the agent starts does not inherit it.
OOMScoreAdjust=-500
TasksMax=infinity
# The agent raises its own; what it starts gets the usual 1024.
LimitNOFILE=1024:524288

[Install]
WantedBy=multi-user.target
`
