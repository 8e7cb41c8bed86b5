package manifest

import "github.com/orpheus-cd/orpheus/planner"

var preStopSchema = newSchema(
	object("exec", preStopExecSchema, func(p *planner.PreStop) *planner.PreStop { return p }),
	pointer("httpGet", probeHTTPSchema, func(p *planner.PreStop) **planner.ProbeHTTP { return &p.HTTPGet }),
	pointer("sleep", sleepSchema, func(p *planner.PreStop) **planner.Sleep { return &p.Sleep }),
).exactlyOne("exec", "httpGet", "sleep").foreign("tcpSocket", "write exec or httpGet: a connection alone does nothing")

// The command stands in the hook itself: that is how revisions see it.
var preStopExecSchema = newSchema(
	texts("command", maxArguments, longText, func(p *planner.PreStop) *[]string { return &p.Command }).must().nonEmpty(),
)

var sleepSchema = newSchema(
	number("seconds", 0, maxGrace, func(s *planner.Sleep) *int64 { return &s.Seconds }).must(),
)

var lifecycleSchema = newSchema(
	pointer("preStop", preStopSchema, func(l *planner.Lifecycle) **planner.PreStop { return &l.PreStop }),
).foreign(
	"postStart", "remove it: only preStop is known; a startupProbe waits until the program is up",
	"stopSignal", "write stopSignal beside lifecycle",
)

// restartPolicy takes the one policy a service can have: it is to run for
// ever, so what ends is started again, after the back-off.
func restartPolicy[T any]() field[T] {
	return special("restartPolicy", oneOf("Always").shape(), func(d *decoder, v value, _ *T) {
		switch s, ok := d.text(v, anyText); {
		case !ok, s == "Always":
		case s == "OnFailure" || s == "Never":
			d.wrong(v, quote(s)+" is not possible: a service is to run for ever, so what ends is started again",
				"remove it; what is to end is a job, and jobs are not supported by this version")
		default:
			d.wrong(v, quote(s)+" is not a restart policy", "write Always, or remove it")
		}
	})
}
