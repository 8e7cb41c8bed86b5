//go:build linux

package containerd

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Driver runs instances on containerd.
type Driver struct {
	cfg    Config
	client *client.Client
	silent *log.Entry // the client's own log, which says nothing ours does not
	bootID string
	began  time.Time

	images  imageCache
	flights flights
	seen    seen
	reaper  *reaper

	patience time.Duration // for mirrors

	// pulling is held for reading by every pull, for writing by the part of
	// Sweep that takes away what pulls leave behind.
	pulling sync.RWMutex

	mu          sync.Mutex
	httpClients map[clientKey]*http.Client
	roots       map[clientKey]*x509.CertPool // with which httpClients were made
	resting     map[string]time.Time         // mirror → when it last did not answer
	doubts      map[string]bool              // host → it was shown nothing, for a doubt
	stopping    map[string]time.Time         // instance id → when to kill it
	commands    map[string]bool              // that run in instances for callers of ours
}

var (
	_ runtime.Driver  = (*Driver)(nil)
	_ runtime.Watcher = (*Driver)(nil)
	_ runtime.Sweeper = (*Driver)(nil)
	_ runtime.Execer  = (*Driver)(nil)
	_ runtime.Stats   = (*Driver)(nil)
)

// New returns a driver for the server at cfg.Address. It does not connect: a
// server that is not there makes the calls fail, with runtime.ErrUnavailable,
// until it is.
func New(cfg Config) (*Driver, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("containerd driver: %w", err)
	}
	if err := makeDirs(cfg); err != nil {
		return nil, fmt.Errorf("containerd driver: %w", err)
	}
	boot, err := readBootID()
	if err != nil {
		return nil, fmt.Errorf("containerd driver: %w", err)
	}
	c, err := client.New(cfg.Address, client.WithDialOpts(dialOptions()))
	if err != nil {
		return nil, fmt.Errorf("containerd driver: %w", err)
	}
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	return &Driver{
		cfg:         cfg,
		client:      c,
		silent:      logrus.NewEntry(quiet),
		bootID:      boot,
		began:       time.Now(),
		reaper:      newReaper(cfg),
		httpClients: map[clientKey]*http.Client{},
		roots:       map[clientKey]*x509.CertPool{},
		resting:     map[string]time.Time{},
		doubts:      map[string]bool{},
		patience:    mirrorPatience,
		stopping:    map[string]time.Time{},
		commands:    map[string]bool{},
	}, nil
}

// dialOptions make calls fail at once while the server is away and work again
// within half a second after it has come back; the client's own defaults wait
// up to ten seconds in both cases.
func dialOptions() []grpc.DialOption {
	retry := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a unix socket
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: time.Second}),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socketPath(address))
		}),
	}
}

// Close gives the connection up. Instances go on.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.httpClients {
		c.CloseIdleConnections()
	}
	return d.client.Close()
}

// context prepares ctx for the client: our namespace, none of its log.
func (d *Driver) context(ctx context.Context) context.Context {
	return log.WithLogger(namespaces.WithNamespace(ctx, d.cfg.Namespace), d.silent)
}

// rollback is a context for taking away what a cut-off operation made: it
// outlives ctx, but not for ever.
func (d *Driver) rollback(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
}

// Info describes the driver. When containerd does not answer, the
// description comes with an error that is runtime.ErrUnavailable.
func (d *Driver) Info(ctx context.Context) (runtime.Info, error) {
	cgroups := detectCgroups()
	info := runtime.Info{
		Name: planner.DriverContainerd,
		Capabilities: runtime.Capabilities{
			Images: true, NetNS: true, Mounts: true, Init: true, Users: true, Security: true,
			LimitsCPU:    cgroups.has("cpu"),
			LimitsMemory: cgroups.has("memory"),
			LimitsPIDs:   cgroups.has("pids"),
			OOM:          cgroups.has("memory"),
			Terminal:     true,
			UserNames:    true,
			Ulimits:      true,
			Sysctls:      true,
			Reaper:       d.reaper.lacks == "",
		},
		Notes: cgroups.notes(),
	}
	if d.reaper.lacks != "" {
		info.Notes = append(info.Notes, d.reaper.lacks)
	}
	version, err := d.client.Version(d.context(ctx))
	if err != nil {
		info.Notes = append(info.Notes, fmt.Sprintf("containerd at %s does not answer: start it, or name its socket in the agent's configuration", d.cfg.Address))
		return info, d.fail("ask containerd for its version", err)
	}
	info.Version = version.Version
	return info, nil
}
