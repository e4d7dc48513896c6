/* sockops, on the root of the node's pods: take up the proxy's listeners, and carry a
 * redirected connection's destination from the client's socket to the accepted one.
 *
 * `redirections`: connect.c. `proxy_sockets`: bind.c. `listeners`: written here, read by
 * inbound.c; the kernel takes a closed one out. `pending`: only here, from the client's SYN
 * (its port is chosen by then) to the end of the handshake or of the client; `unfinished`
 * counts its entries by pod. `destinations`: written here, read by options.c.
 *
 * The destination moves while the accepted socket is still locked in the handshake, so that
 * it is there before accept() can return, whatever the client does meanwhile.
 */
#include "mesh.h"

STORAGE(redirections, struct redirected);
STORAGE(proxy_sockets, u32);
STORAGE(destinations, struct endpoint);
SOCKHASH(listeners, struct slot, MAX_LISTENERS);
TABLE("hash", struct flow, struct endpoint, pending, MAX_PENDING, BPF_F_NO_PREALLOC);

static inline void set_address(struct flow *flow, u32 family, u32 ip4, const u32 *ip)
{
	int is_ip4 = family == AF_INET;

	flow->ip[0] = is_ip4 ? 0 : ip[0];
	flow->ip[1] = is_ip4 ? 0 : ip[1];
	flow->ip[2] = is_ip4 ? MAPPED : ip[2];
	flow->ip[3] = is_ip4 ? ip4 : ip[3];
}

/* All context loads come first: behind a computed pointer the verifier refuses them. */
static inline void local_end(volatile struct bpf_sock_ops *ops, struct flow *flow)
{
	u32 family = ops->family, ip4 = ops->local_ip4;
	u32 ip[4] = {ops->local_ip6[0], ops->local_ip6[1], ops->local_ip6[2], ops->local_ip6[3]};

	flow->port = ops->local_port;
	set_address(flow, family, ip4, ip);
}

static inline void remote_end(volatile struct bpf_sock_ops *ops, struct flow *flow)
{
	u32 family = ops->family, ip4 = ops->remote_ip4;
	u32 ip[4] = {ops->remote_ip6[0], ops->remote_ip6[1], ops->remote_ip6[2],
		     ops->remote_ip6[3]};

	flow->port = swap32(ops->remote_port);
	set_address(flow, family, ip4, ip);
}

static inline void forget(struct flow *flow)
{
	u64 *entries;

	if (pending.delete(flow))
		return;
	entries = unfinished.lookup(&flow->netns);
	if (entries)
		__sync_fetch_and_add(entries, -1);
}

static inline void on_connect(struct bpf_sock_ops *ops, struct bpf_sock *sk, struct flow *flow)
{
	struct redirected *entry = redirections.sk_storage_get(sk, 0, 0);
	struct endpoint peer;
	u64 *entries;

	if (!entry || swap32(ops->remote_port) != OUTBOUND_PORT)
		return;
	peer = entry->peer;
	local_end(ops, flow);
	forget(flow); /* none is left by design; a second one would be counted twice */
	/* Without an entry the proxy finds no destination and closes. */
	if (pending.insert(flow, &peer)) {
		count(NO_MEMORY);
		return;
	}
	entries = unfinished.lookup(&flow->netns);
	if (entries)
		__sync_fetch_and_add(entries, 1);
	bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG);
}

static inline void on_accept(struct bpf_sock_ops *ops, struct bpf_sock *sk, struct flow *flow)
{
	struct endpoint *peer;
	struct endpoint copy;

	if (ops->local_port != OUTBOUND_PORT)
		return;
	remote_end(ops, flow);
	peer = pending.lookup(flow);
	if (!peer)
		return; /* a direct call of the listener, which the proxy refuses */
	copy = *peer;
	if (!destinations.sk_storage_get(sk, &copy, BPF_SK_STORAGE_GET_F_CREATE))
		count(NO_MEMORY);
	forget(flow);
}

static inline void on_listen(struct bpf_sock_ops *ops, struct bpf_sock *sk, u64 netns)
{
	struct slot slot = {.netns = netns, .port = ops->local_port};
	long error;

	if (!proxy_sockets.sk_storage_get(sk, 0, 0) || slot.port == DNS_PORT)
		return;
	/* BPF_ANY: a newer proxy takes over by listening. */
	error = listeners.sock_hash_update(ops, &slot, BPF_ANY);
	if (error)
		count(NO_MEMORY);
}

int sockops(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	struct flow flow = {};
	u32 op = ops->op;

	if (!sk)
		return 1;
	flow.netns = bpf_get_netns_cookie(ops);
	if (op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		on_connect(ops, sk, &flow);
	} else if (op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		on_accept(ops, sk, &flow);
	} else if (op == BPF_SOCK_OPS_TCP_LISTEN_CB) {
		on_listen(ops, sk, flow.netns);
	} else if (op == BPF_SOCK_OPS_STATE_CB && ops->args[1] == BPF_TCP_CLOSE) {
		local_end(ops, &flow);
		forget(&flow);
	}
	return 1;
}
