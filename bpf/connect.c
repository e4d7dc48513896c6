/* cgroup/connect4 and connect6, on the root of the node's pods: send an enrolled pod's TCP
 * connections to the proxy's outbound listener on loopback.
 *
 * `pods`, `proxy_cgroups`: the agent. `unfinished`: sockops.c counts. `redirections`, by
 * socket: written here, read by names.c and sockops.c.
 *
 * UDP and all else than TCP passes as it is. MPTCP comes here as the TCP socket below it.
 */
#include "mesh.h"

#define SOL_SOCKET	1
#define SO_BINDTODEVICE 25
#define ALLOW		1
#define REFUSE		0 /* connect() returns EPERM */

enum way { LEAVE, REDIRECT, FAIL };

STORAGE(redirections, struct redirected);

/* The pod itself: loopback, the unspecified address (which means loopback) and its own. */
static inline int is_own(struct pod *pod, const u32 *ip)
{
	if (is_loopback(ip) || (!ip[3] && !ip[0] && !ip[1] && (!ip[2] || ip[2] == MAPPED)))
		return 1;
	for (u32 i = 0; i < POD_ADDRESSES; i++) {
		if (i >= pod->address_count)
			break;
		if (is_same(pod->addresses[i].ip, ip))
			return 1;
	}
	return 0;
}

/* The pod's first address of the family: what getsockname would say without a mesh. */
static inline void note_own(struct pod *pod, struct redirected *entry)
{
	int mapped = is_mapped(entry->peer.ip);

	for (u32 i = 0; i < POD_ADDRESSES; i++) {
		struct address *own = &pod->addresses[i];

		if (i >= pod->address_count)
			break;
		if (is_mapped(own->ip) != mapped)
			continue;
		entry->own[0] = own->ip[0];
		entry->own[1] = own->ip[1];
		entry->own[2] = own->ip[2];
		entry->own[3] = own->ip[3];
		break;
	}
}

static inline enum way redirect(struct bpf_sock_addr *ctx, struct redirected *entry)
{
	u64 netns = bpf_get_netns_cookie(ctx);
	struct pod *pod = pods.lookup(&netns);
	u64 *entries;

	if (!pod || !(pod->flags & POD_OUTBOUND) || is_own(pod, entry->peer.ip) || is_proxy())
		return LEAVE;
	/* Each pod has its own budget, so that a storm of connects hits nobody else. */
	entries = unfinished.lookup(&netns);
	if (!entries || *entries >= POD_BUDGET) {
		count(OVER_BUDGET);
		return FAIL;
	}
	note_own(pod, entry);
	return REDIRECT;
}

static inline enum way decide(struct bpf_sock_addr *ctx, struct redirected *entry)
{
	struct bpf_sock *sk = ctx->sk;
	struct redirected *stored;
	enum way way;
	char none[4] = {};

	if (!sk)
		return LEAVE;
	way = redirect(ctx, entry);
	if (way != REDIRECT) {
		/* A socket may connect again, after a failure or a disconnect. */
		redirections.sk_storage_delete(sk);
		return way;
	}
	stored = redirections.sk_storage_get(sk, entry, BPF_SK_STORAGE_GET_F_CREATE);
	if (!stored) {
		count(NO_MEMORY);
		return FAIL;
	}
	*stored = *entry;
	/* A socket bound to a device would not reach loopback. */
	if (sk->bound_dev_if &&
	    bpf_setsockopt(ctx, SOL_SOCKET, SO_BINDTODEVICE, none, sizeof(none)))
		return FAIL;
	count(REDIRECTED);
	return REDIRECT;
}

int connect4(struct bpf_sock_addr *ctx)
{
	struct redirected entry = {};
	enum way way;

	if (ctx->type != SOCK_STREAM ||
	    (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_MPTCP))
		return ALLOW;
	entry.peer.ip[2] = MAPPED;
	entry.peer.ip[3] = ctx->user_ip4;
	entry.peer.port = swap16(ctx->user_port);
	way = decide(ctx, &entry);
	if (way == REDIRECT) {
		ctx->user_ip4 = LOOPBACK4;
		ctx->user_port = swap16(OUTBOUND_PORT);
	}
	return way == FAIL ? REFUSE : ALLOW;
}

int connect6(struct bpf_sock_addr *ctx)
{
	volatile struct bpf_sock_addr *fields = ctx; /* the verifier wants single-word accesses */
	struct redirected entry = {};
	enum way way;

	if (ctx->type != SOCK_STREAM ||
	    (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_MPTCP))
		return ALLOW;
	entry.peer.ip[0] = fields->user_ip6[0];
	entry.peer.ip[1] = fields->user_ip6[1];
	entry.peer.ip[2] = fields->user_ip6[2];
	entry.peer.ip[3] = fields->user_ip6[3];
	entry.peer.port = swap16(fields->user_port);
	way = decide(ctx, &entry);
	if (way == REDIRECT) {
		int mapped = is_mapped(entry.peer.ip);

		fields->user_ip6[0] = 0;
		fields->user_ip6[1] = 0;
		fields->user_ip6[2] = mapped ? MAPPED : 0;
		fields->user_ip6[3] = mapped ? LOOPBACK4 : LOOPBACK6;
		fields->user_port = swap16(OUTBOUND_PORT);
	}
	return way == FAIL ? REFUSE : ALLOW;
}
