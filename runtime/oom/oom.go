// Package oom is for what drivers start: it is not spared, as the agent may be,
// when memory runs out.
package oom

import (
	"fmt"
	"os"
	"strings"
)

// Expose takes from a process what spares the agent: a service manager may have
// lowered its score, and children inherit that. It is called before the process
// starts anything. Where it cannot, they stay as spared as the agent is.
func Expose(pid int) {
	path := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
	if text, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(text), "-") {
		_ = os.WriteFile(path, []byte("0"), 0)
	}
}
