package gitsynctest

// TB is the part of testing.TB that is used here: programs that are no tests
// use this package, too, and must not link package testing's flags.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	TempDir() string
	Cleanup(func())
}

// NewServer starts a server that ends with the test.
func NewServer(t TB, opts Options) *Server {
	t.Helper()
	if opts.Root == "" {
		opts.Root = t.TempDir()
	}
	s, err := Start(opts)
	if err != nil {
		t.Fatalf("start git server: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// Must is for calls that only fail when the test machine is broken.
func Must[T any](value T, err error) func(TB) T {
	return func(t TB) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%v", err)
		}
		return value
	}
}
