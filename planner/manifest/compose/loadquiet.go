package compose

import (
	"io"

	"github.com/sirupsen/logrus"
)

// compose-go has no logger of its own: what it thinks of a file it writes to
// standard error, by a logger that the whole process shares and that nothing
// else here uses. What is worth saying of a file is a fault or a warning.
func init() { logrus.SetOutput(io.Discard) }
