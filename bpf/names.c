/* cgroup/getpeername4|6 and getsockname4|6, on the root of the node's pods: a redirected
 * application goes on seeing whom it called, and its pod's own address.
 *
 * `redirections`, by socket: connect.c.
 */
#include "mesh.h"

STORAGE(redirections, struct redirected);

#define ALLOW 1 /* these hooks may only allow */

static inline struct redirected *redirection(struct bpf_sock_addr *ctx)
{
	return ctx->sk ? redirections.sk_storage_get(ctx->sk, 0, 0) : NULL;
}

static inline void show6(volatile struct bpf_sock_addr *fields, const u32 *ip)
{
	fields->user_ip6[0] = ip[0];
	fields->user_ip6[1] = ip[1];
	fields->user_ip6[2] = ip[2];
	fields->user_ip6[3] = ip[3];
}

static inline int shows_loopback6(volatile struct bpf_sock_addr *fields)
{
	u32 ip[4];

	ip[0] = fields->user_ip6[0];
	ip[1] = fields->user_ip6[1];
	ip[2] = fields->user_ip6[2];
	ip[3] = fields->user_ip6[3];
	return is_loopback(ip);
}

int getpeername4(struct bpf_sock_addr *ctx)
{
	struct redirected *entry = redirection(ctx);

	if (entry && ctx->user_ip4 == LOOPBACK4 && ctx->user_port == swap16(OUTBOUND_PORT)) {
		ctx->user_ip4 = entry->peer.ip[3];
		ctx->user_port = swap16(entry->peer.port);
	}
	return ALLOW;
}

int getpeername6(struct bpf_sock_addr *ctx)
{
	volatile struct bpf_sock_addr *fields = ctx;
	struct redirected *entry = redirection(ctx);

	if (entry && fields->user_port == swap16(OUTBOUND_PORT) && shows_loopback6(fields)) {
		show6(fields, entry->peer.ip);
		fields->user_port = swap16(entry->peer.port);
	}
	return ALLOW;
}

/* A socket bound to the pod's address before it connected shows that by itself. */
int getsockname4(struct bpf_sock_addr *ctx)
{
	struct redirected *entry = redirection(ctx);

	if (entry && entry->own[3] && ctx->user_ip4 == LOOPBACK4)
		ctx->user_ip4 = entry->own[3];
	return ALLOW;
}

int getsockname6(struct bpf_sock_addr *ctx)
{
	volatile struct bpf_sock_addr *fields = ctx;
	struct redirected *entry = redirection(ctx);

	if (entry && entry->own[3] && shows_loopback6(fields))
		show6(fields, entry->own);
	return ALLOW;
}
