package main

import (
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// drawStatus draws a node, or with detail its first service. What people hold, what
// the node is short of and how all stands come first, then where that comes from.
func drawStatus(s *screen, st *api.Status, detail bool, now time.Time) {
	drawHolds(s, st.Holds)
	drawPressure(s, st.Pressure, now)
	if detail {
		drawOneService(s, st, st.Services[0], now)
		return
	}
	verdictOf(st, now).draw(s)
	drawDeletions(s, st.Deletions)
	drawNode(s, st, false, now)
	drawTrouble(s, st)
	drawServices(s, st)
}

// drawOneService draws a service, and what of its node may concern it.
func drawOneService(s *screen, st *api.Status, service api.Service, now time.Time) {
	standingOf(st, service).draw(s)
	drawAdvice(s, adviceHere(service))
	s.blank()
	drawNode(s, st, true, now)
	drawTrouble(s, st)
	drawService(s, st, service, "", st.NotOpened, now)
}

// adviceHere says what there is to do about a service's rollout, as far as its
// node knows one.
func adviceHere(service api.Service) []string {
	if service.Rollout == nil {
		return nil
	}
	return rolloutAdvice(service.Rollout)
}
