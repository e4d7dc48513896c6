/* cgroup/bind4 and bind6, on the root of the node's pods: keep the proxy's ports in a
 * prepared pod for the proxy, and note its sockets.
 *
 * `pods`, `proxy_cgroups`: the agent. `proxy_sockets`, by socket: written here, read by
 * sockops.c, because "the caller" means nothing there.
 */
#include "mesh.h"

STORAGE(proxy_sockets, u32);

#define ALLOW  1
#define REFUSE 0 /* bind() returns EPERM */

static inline int check(struct bpf_sock_addr *ctx)
{
	u16 port = swap16(ctx->user_port);
	u64 netns;
	struct pod *pod;
	u32 noted = 1;

	if (!is_proxy_port(port))
		return ALLOW;
	netns = bpf_get_netns_cookie(ctx);
	pod = pods.lookup(&netns);
	if (!pod || !(pod->flags & POD_PREPARED))
		return ALLOW;
	if (!is_proxy()) {
		count(RESERVED_PORT);
		return REFUSE;
	}
	/* Not noted, it would listen and never be found: better that the proxy hears of it. */
	if (ctx->sk &&
	    !proxy_sockets.sk_storage_get(ctx->sk, &noted, BPF_SK_STORAGE_GET_F_CREATE)) {
		count(NO_MEMORY);
		return REFUSE;
	}
	return ALLOW;
}

int bind4(struct bpf_sock_addr *ctx)
{
	return check(ctx);
}

int bind6(struct bpf_sock_addr *ctx)
{
	return check(ctx);
}
