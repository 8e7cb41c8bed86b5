// Package event keeps what happened on a node, for people: every line of the
// agent's log from Info up is an event, so that the two never differ. A Log
// holds the last ones in memory and in a file of bounded size, through restarts
// of the agent; its Handler stands before the handler of the agent's logger.
package event
