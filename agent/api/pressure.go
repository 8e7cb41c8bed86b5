package api

import "time"

// Pressure is something a node is short of: it takes no new work.
type Pressure struct {
	Resource string    `json:"resource"` // disk, inodes, memory, pids
	Place    string    `json:"place,omitempty"`
	Used     int       `json:"usedPercent"`
	Free     uint64    `json:"free"` // bytes or pieces
	Total    uint64    `json:"total"`
	Since    time.Time `json:"since"`
	Text     string    `json:"text"`
}
