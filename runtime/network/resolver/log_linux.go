package resolver

import (
	"os"
	"sync"
)

// maxLog bounds the helper's log, and the older one beside it.
const maxLog = 1 << 20

// boundedLog appends to a file that its process has open as standard error, too.
// When it is full its content goes to the same name with ".1".
type boundedLog struct {
	mu   sync.Mutex
	path string
	file *os.File
}

func (l *boundedLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if info, err := l.file.Stat(); err == nil && info.Size()+int64(len(line)) > maxLog {
		// The file stays the same one: a fatal error of the runtime goes there.
		if text, err := os.ReadFile(l.path); err == nil {
			_ = os.WriteFile(l.path+".1", text, 0o600) // a lost log ends nothing
		}
		_ = l.file.Truncate(0)
	}
	return l.file.Write(line)
}
