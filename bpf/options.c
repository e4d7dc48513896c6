/* cgroup/getsockopt, on each proxy's own cgroup: SO_ORIGINAL_DST (level 0) and
 * IP6T_SO_ORIGINAL_DST (level 41), as netfilter would answer them.
 *
 * `destinations`, by accepted socket: sockops.c.
 */
#include "mesh.h"

STORAGE(destinations, struct endpoint);

#define SOL_IP		     0
#define SOL_IPV6	     41
#define ORIGINAL_DESTINATION 80
#define SOCKADDR_IN	     16
#define SOCKADDR_IN6	     28

int getsockopt(struct bpf_sockopt *ctx)
{
	volatile struct bpf_sockopt *result = ctx; /* two stores must not become one */
	struct endpoint *peer;
	u8 *value = ctx->optval, *end = ctx->optval_end;

	if (ctx->optname != ORIGINAL_DESTINATION ||
	    (ctx->level != SOL_IP && ctx->level != SOL_IPV6) || !ctx->sk)
		return 1;
	peer = destinations.sk_storage_get(ctx->sk, 0, 0);
	if (!peer)
		return 1; /* not redirected: the kernel's own answer stands */
	if (ctx->level == SOL_IP) {
		if (value + SOCKADDR_IN > end || !is_mapped(peer->ip))
			return 1;
		*(u16 *)value = AF_INET;
		*(u16 *)(value + 2) = swap16(peer->port);
		*(u32 *)(value + 4) = peer->ip[3];
		*(u64 *)(value + 8) = 0;
		result->optlen = SOCKADDR_IN;
	} else {
		if (value + SOCKADDR_IN6 > end)
			return 1;
		*(u16 *)value = AF_INET6;
		*(u16 *)(value + 2) = swap16(peer->port);
		*(u32 *)(value + 4) = 0;
		*(u32 *)(value + 8) = peer->ip[0];
		*(u32 *)(value + 12) = peer->ip[1];
		*(u32 *)(value + 16) = peer->ip[2];
		*(u32 *)(value + 20) = peer->ip[3];
		*(u32 *)(value + 24) = 0;
		result->optlen = SOCKADDR_IN6;
	}
	result->retval = 0;
	return 1;
}
