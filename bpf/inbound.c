/* sk_lookup, one link in each enrolled pod's network namespace: give connections from
 * outside to the proxy's listener, whatever port they are for.
 *
 * `addresses`: the agent (the hook cannot learn the netns cookie, so the pod's address stands
 * for it). `listeners`: sockops.c. `probes`: probes.c.
 *
 * Fails closed: an enrolled pod must never answer what policy has not seen.
 */
#include "mesh.h"

SOCKHASH(listeners, struct slot, MAX_LISTENERS);
TABLE("hash", struct probe, struct prober, probes, MAX_PROBES, BPF_F_NO_PREALLOC);

#define LOOPBACK_INDEX 1

static inline int drop(enum count reason)
{
	count(reason);
	return SK_DROP;
}

/* Calls the pod makes to itself. What arrives on lo is 127/8, ::1, and the proxy's last hop,
 * whose socket is bound to lo; a call to the pod's own address shows the device which has the
 * address, so that it is known by its two equal ends. */
static inline int is_self_call(u32 ifindex, const u32 *local, const u32 *remote)
{
	return ifindex == LOOPBACK_INDEX || is_same(local, remote);
}

int steer(struct bpf_sk_lookup *ctx)
{
	volatile struct bpf_sk_lookup *fields =
		ctx; /* keeps the loads apart, as the verifier wants */
	u32 local4 = fields->local_ip4, remote4 = fields->remote_ip4;
	u32 ifindex = fields->ingress_ifindex, port = fields->local_port;
	/* As one word, which is what a kernel before 5.18 takes. */
	u32 remote_port = *(volatile u32 *)&fields->remote_port;
	struct address local = {}, remote = {};
	struct probe probe = {};
	struct slot slot = {};
	struct bpf_sock *sk;
	u64 *netns;
	long error;

	if (fields->protocol != IPPROTO_TCP)
		return SK_PASS;
	local.ip[0] = fields->local_ip6[0];
	local.ip[1] = fields->local_ip6[1];
	local.ip[2] = fields->local_ip6[2];
	local.ip[3] = fields->local_ip6[3];
	remote.ip[0] = fields->remote_ip6[0];
	remote.ip[1] = fields->remote_ip6[1];
	remote.ip[2] = fields->remote_ip6[2];
	remote.ip[3] = fields->remote_ip6[3];
	if (fields->family == AF_INET) {
		local = (struct address){{0, 0, MAPPED, local4}};
		remote = (struct address){{0, 0, MAPPED, remote4}};
	}
	if (is_self_call(ifindex, local.ip, remote.ip))
		return SK_PASS;
	probe.kubelet = remote;
	probe.pod = local;
	probe.kubelet_port = swap16(remote_port);
	probe.pod_port = port;
	if (probes.lookup(&probe)) {
		count(PROBED);
		return SK_PASS;
	}
	netns = addresses.lookup(&local);
	if (!netns)
		return drop(NO_POD);
	slot.netns = *netns;
	slot.port = port == HBONE_PORT ? HBONE_PORT : INBOUND_PORT;
	sk = listeners.lookup(&slot);
	if (!sk)
		return drop(NO_LISTENER);
	/* Without NO_REUSEPORT the kernel would choose any member of the listener's group. */
	error = bpf_sk_assign((void *)ctx, sk, BPF_SK_LOOKUP_F_NO_REUSEPORT);
	bpf_sk_release(sk);
	if (error)
		return drop(NOT_ASSIGNED);
	count(STEERED);
	return SK_PASS;
}
