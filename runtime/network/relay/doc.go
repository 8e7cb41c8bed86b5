// Package relay balances connections in user space, for nodes whose agent may
// not use nftables: service addresses are addresses of loopback there.
package relay
