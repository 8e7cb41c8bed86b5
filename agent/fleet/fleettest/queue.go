package fleettest

import (
	"container/heap"
	"time"
)

// event is something that happens at an instant of true time. Events of the
// same instant happen in the order in which they were planned.
type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return e
}

// after plans something.
func (w *World) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now + max(d, 0), w.seq, do})
}

// Run lets time pass until an instant.
func (w *World) Run(until time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= until && w.broken == nil {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		w.events++
		e.do()
	}
	if w.broken == nil {
		w.now = max(w.now, until)
	}
}
