/* cgroup/connect4, connect6 and sockops, on the root of the node's pods: note the connections
 * that the kubelet makes to enrolled pods, where these want to be probed. inbound.c leaves them
 * to the app, so that probes need no policy's leave.
 *
 * `kubelet_cgroups`, `probe_ports`: the agent. `kubelet_sockets`, by socket: written at connect,
 * where "the caller" means something. `probes`: only here, from before the SYN until the socket
 * closes: as long as nobody else of its network namespace can have the same four words.
 *
 * Nothing depends on an entry but a probe: without one it is judged as any connection is.
 *
 * Of its helpers the newest is bpf_get_netns_cookie in sockops (5.15); the caller's cgroup is
 * known to connect hooks since 5.7.
 */
#include "mesh.h"

STORAGE(kubelet_sockets, u32);
TABLE("hash", struct endpoint, u64, probe_ports, MAX_PROBE_PORTS, BPF_F_NO_PREALLOC);
TABLE("hash", struct probe, struct prober, probes, MAX_PROBES, BPF_F_NO_PREALLOC);

#define ALLOW 1

static inline int is_kubelet(void)
{
	u64 cgroup = bpf_get_current_cgroup_id();

	return kubelet_cgroups.lookup(&cgroup) != NULL;
}

static inline int note_caller(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	u64 netns;
	u32 noted = 1;

	if (!sk || ctx->type != SOCK_STREAM)
		return ALLOW;
	netns = bpf_get_netns_cookie(ctx);
	/* Whoever is in a pod's network is that pod, wherever its process was put. */
	if (pods.lookup(&netns) || !is_kubelet()) {
		/* A socket may connect again, in another's hands. */
		kubelet_sockets.sk_storage_delete(sk);
		return ALLOW;
	}
	if (!kubelet_sockets.sk_storage_get(sk, &noted, BPF_SK_STORAGE_GET_F_CREATE))
		count(PROBES_FULL);
	return ALLOW;
}

int probe_connect4(struct bpf_sock_addr *ctx)
{
	return note_caller(ctx);
}

int probe_connect6(struct bpf_sock_addr *ctx)
{
	return note_caller(ctx);
}

/* All context loads come first: behind a computed pointer the verifier refuses them. */
static inline void both_ends(volatile struct bpf_sock_ops *ops, struct probe *probe)
{
	u32 family = ops->family, local4 = ops->local_ip4, remote4 = ops->remote_ip4;
	u32 local_port = ops->local_port, remote_port = ops->remote_port;
	struct address local = {
		{ops->local_ip6[0], ops->local_ip6[1], ops->local_ip6[2], ops->local_ip6[3]}};
	struct address remote = {
		{ops->remote_ip6[0], ops->remote_ip6[1], ops->remote_ip6[2], ops->remote_ip6[3]}};

	if (family == AF_INET) {
		local = (struct address){{0, 0, MAPPED, local4}};
		remote = (struct address){{0, 0, MAPPED, remote4}};
	}
	probe->kubelet = local;
	probe->pod = remote;
	probe->kubelet_port = local_port;
	probe->pod_port = swap32(remote_port);
}

static inline void on_connect(struct bpf_sock_ops *ops, struct bpf_sock *sk, struct probe *probe)
{
	struct prober prober = {.netns = bpf_get_netns_cookie(ops)};
	struct endpoint end = {.port = probe->pod_port};
	struct prober *last;

	if (!addresses.lookup(&probe->pod))
		return;
	/* None is left by design. If one were all the same, it would be for another. */
	last = probes.lookup(probe);
	if (last && last->netns == prober.netns)
		probes.delete(probe);
	/* Whoever writes pods can have the kubelet call anywhere: it passes only where the
	 * called pod itself wants to be probed, and never to the proxy's own ports. */
	__builtin_memcpy(end.ip, probe->pod.ip, sizeof(end.ip));
	if (!kubelet_sockets.sk_storage_get(sk, 0, 0) || !probe_ports.lookup(&end) ||
	    is_proxy_port(end.port))
		return;
	prober.socket = bpf_get_socket_cookie(ops);
	if (probes.update(probe, &prober)) {
		count(PROBES_FULL);
		return;
	}
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static inline void on_close(struct bpf_sock_ops *ops, struct bpf_sock *sk, struct probe *probe)
{
	struct prober *last;

	if (!kubelet_sockets.sk_storage_get(sk, 0, 0))
		return;
	last = probes.lookup(probe);
	if (last && last->socket == bpf_get_socket_cookie(ops))
		probes.delete(probe);
}

int probe_sockops(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	u32 op = ops->op;
	struct probe probe;

	if (!sk)
		return 1;
	if (op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		both_ends(ops, &probe);
		on_connect(ops, sk, &probe);
	} else if (op == BPF_SOCK_OPS_STATE_CB && ops->args[1] == BPF_TCP_CLOSE) {
		both_ends(ops, &probe);
		on_close(ops, sk, &probe);
	}
	return 1;
}
