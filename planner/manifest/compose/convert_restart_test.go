package compose

import "testing"

const serverForEver = "~ restart: runs for ever here"

// restartOfServersRows are services that may end, as the file says, and that
// others connect to.
var restartOfServersRows = []conversion{
	{name: "with a port", file: "restart: on-failure\nports: ['80:80']", faults: []string{`~ restart: "on-failure" runs for ever here: what ends with 0 is started again, too`}},
	{name: "a few times", file: "restart: on-failure:3\nexpose: [80]", faults: []string{"~ restart: is started again, too; nothing is given up"}},
	{name: "with a healthcheck", file: "restart: on-failure\nhealthcheck: {test: x}", faults: []string{serverForEver}},
	{name: "with none", file: "restart: on-failure\nhealthcheck: {test: [NONE]}", faults: []string{"restart: is not possible"}},
	{name: "waited for", file: "services: {web: {image: web:1, restart: on-failure}, app: {image: app:1, depends_on: {web: {condition: service_healthy}}}}",
		faults: []string{serverForEver, "~ services.app.depends_on.web: has no healthcheck"}},
	{name: "waited for to start", file: "services: {web: {image: web:1, restart: on-failure}, app: {image: app:1, depends_on: {web: {condition: service_started}}}}", faults: []string{serverForEver}},
	// People write so of what runs once, too.
	{name: "before another", file: "services: {web: {image: web:1, restart: on-failure}, app: {image: app:1, depends_on: [web]}}", faults: []string{"restart: is not possible"}},
	{name: "a script that ends", file: "restart: on-failure\nexpose: [80]\ncommand: [sh, -c, 'seed && echo done']", faults: []string{"restart: is not possible"}},
	{name: "never again", file: "restart: 'no'\nports: ['80:80']", faults: []string{`~ restart: "no" runs for ever here: what ends is started again`}},
	{name: "Swarm's", file: "ports: ['80:80']\ndeploy: {restart_policy: {condition: on-failure, max_attempts: 3}}",
		faults: []string{`~ deploy.restart_policy.condition: "on-failure" runs for ever here: what ends with 0`, "~ deploy.restart_policy.max_attempts: nothing is given up"}},
	{name: "Swarm's none", file: "ports: ['80:80']\ndeploy: {restart_policy: {condition: none}}", faults: []string{`~ deploy.restart_policy.condition: "none" runs for ever here: what ends is`}},
	{name: "Swarm's on a limit", file: "ports: ['80:80']\ndeploy: {restart_policy: {condition: any, max_attempts: 3}}", faults: []string{"~ deploy.restart_policy.max_attempts: nothing is given up"}},
	{name: "Swarm's on a limit, of what may end", file: "deploy: {restart_policy: {max_attempts: 3}}", faults: []string{"deploy.restart_policy.max_attempts: is not possible"}},
	{name: "Swarm's of none that there is", file: "ports: ['80:80']\ndeploy: {restart_policy: {condition: sometimes}}", faults: []string{`deploy.restart_policy.condition: "sometimes" is not possible`}},
}

func TestRestartOfServers(t *testing.T) { testConversions(t, restartOfServersRows) }
