package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"
)

const (
	maxBridgeConnections = 64
	// What one instance may ask, so that it does not keep the agent busy.
	bridgeRate, bridgeBurst = 5, 20
	maxBridgeClients        = 4096 // that are told apart
	bridgeLook              = 5 * time.Second
	bridgeComplaint         = 10 * time.Minute // between two lines of the log about the same trouble
)

// BridgeOptions say how instances of the node are served.
type BridgeOptions struct {
	Bridge    string // name of the link
	Port      int
	Endpoints func() *Endpoints
	Look      time.Duration // between two looks whether the bridge is the same; 0 = 5 s
	Log       *slog.Logger
}

// ServeBridge tells the instances on a bridge where endpoints are, and nothing
// else: /v1/endpoints and /v1/http_sd, to be read. It answers on the bridge's
// own addresses, only what comes in by that link from an address of its
// subnets. It waits for a bridge that is not there yet, goes over to a new one
// of the name, and returns when ctx ends.
func ServeBridge(ctx context.Context, o BridgeOptions) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Look == 0 {
		o.Look = bridgeLook
	}
	log := o.Log.With("bridge", o.Bridge, "port", o.Port)
	var told string
	var toldAt time.Time
	for ctx.Err() == nil {
		err := o.serveOnce(ctx, func(addresses []netip.Prefix) {
			told = ""
			log.Info("instances of this node are served with endpoints", "addresses", addresses)
		})
		if err != nil && !errors.Is(err, errNoBridge) && (err.Error() != told || time.Since(toldAt) > bridgeComplaint) {
			told, toldAt = err.Error(), time.Now()
			log.Warn("instances of this node are not served with endpoints", "err", err)
		}
		pause(ctx, o.Look)
	}
}

// errNoBridge: it is made with the first instance.
var errNoBridge = errors.New("the bridge is not there or has no address")

// serveOnce serves the bridge that is there now, until it is another one.
func (o BridgeOptions) serveOnce(ctx context.Context, began func([]netip.Prefix)) error {
	link, addresses, err := bridgeNow(o.Bridge)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listeners, err := o.listen(ctx, addresses)
	if err != nil {
		return err
	}
	began(addresses)
	s := &Server{handler: bridgeHandler(o.Endpoints, addresses), log: o.Log}
	errs := make(chan error, len(listeners))
	var done sync.WaitGroup
	for _, l := range listeners {
		done.Go(func() {
			defer cancel()
			errs <- s.serve(ctx, netutil.LimitListener(l, maxBridgeConnections))
		})
	}
	for pause(ctx, o.Look) {
		if now, have, err := bridgeNow(o.Bridge); err != nil || now.Index != link.Index || !slices.Equal(have, addresses) {
			break
		}
	}
	cancel()
	done.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

// pause waits, and reports whether ctx still stands.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// bridgeNow returns a link and its addresses that others can route to.
func bridgeNow(name string) (*net.Interface, []netip.Prefix, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, nil, errNoBridge
	}
	all, err := link.Addrs()
	if err != nil {
		return nil, nil, fmt.Errorf("addresses of %s: %w", name, err)
	}
	var addresses []netip.Prefix
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			addresses = append(addresses, p)
		}
	}
	if len(addresses) == 0 {
		return nil, nil, errNoBridge
	}
	return link, addresses, nil
}

func (o BridgeOptions) listen(ctx context.Context, addresses []netip.Prefix) ([]net.Listener, error) {
	var listeners []net.Listener
	config := net.ListenConfig{Control: onlyFrom(o.Bridge)}
	for _, a := range addresses {
		l, err := config.Listen(ctx, "tcp", net.JoinHostPort(a.Addr().String(), strconv.Itoa(o.Port)))
		if err != nil {
			for _, open := range listeners {
				open.Close()
			}
			return nil, fmt.Errorf("listen for instances: %w", err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// bridgeHandler answers instances.
func bridgeHandler(endpoints func() *Endpoints, addresses []netip.Prefix) http.Handler {
	answers := &leading{endpoints: endpoints}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/endpoints", answers.serveEndpoints)
	mux.HandleFunc("GET /v1/http_sd", answers.serveTargets)
	asked := &askers{limits: map[netip.Addr]*rate.Limiter{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, ok := inSubnets(r.RemoteAddr, addresses)
		switch {
		case !ok:
			http.Error(w, "this address answers only instances of its node", http.StatusForbidden)
		case !namesBridge(r.Host, addresses):
			// A web page in an instance's browser, by a name of its own.
			http.Error(w, "this address is asked for by its number only", http.StatusMisdirectedRequest)
		case !asked.allow(from):
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests", http.StatusTooManyRequests)
		default:
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			mux.ServeHTTP(w, r)
		}
	})
}

// inSubnets returns the address a request came from, if it is one of an
// instance: not the bridge's own, nor one beyond it.
func inSubnets(remote string, addresses []netip.Prefix) (netip.Addr, bool) {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}, false
	}
	addr := from.Addr().Unmap().WithZone("")
	for _, p := range addresses {
		if p.Contains(addr) && p.Addr() != addr {
			return addr, true
		}
	}
	return addr, false
}

func namesBridge(host string, addresses []netip.Prefix) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	addr, err := netip.ParseAddr(trimBrackets(name))
	if err != nil {
		return false
	}
	for _, p := range addresses {
		if p.Addr() == addr.Unmap() {
			return true
		}
	}
	return false
}

// askers bounds how often each instance asks.
type askers struct {
	mu     sync.Mutex
	limits map[netip.Addr]*rate.Limiter
}

func (a *askers) allow(from netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	limit := a.limits[from]
	if limit == nil {
		if len(a.limits) >= maxBridgeClients {
			clear(a.limits) // many addresses: who has asked much gets a new start
		}
		limit = rate.NewLimiter(bridgeRate, bridgeBurst)
		a.limits[from] = limit
	}
	return limit.Allow()
}
