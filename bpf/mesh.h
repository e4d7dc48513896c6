/* What the hooks share: structs (compared with agent/node/layout.py by a test), maps and
 * small helpers. Addresses are four words in network order, IPv4 in v4-mapped form; ports
 * are in host order. Ports, marks, sizes and PIN come from the loader as definitions.
 *
 * Maps are pinned: the first loader makes them, every later one takes them over. None is an
 * LRU map, since an evicted entry would cost somebody a connection.
 */
#ifndef WEFT_MESH_H
#define WEFT_MESH_H

#define AF_INET	      2
#define AF_INET6      10
#define SOCK_STREAM   1
#define IPPROTO_TCP   6
#define IPPROTO_MPTCP 262

#define swap16(x) ((u16)((((x)&0xff) << 8) | (((x) >> 8) & 0xff)))
#define swap32(x) __builtin_bswap32(x)
#define MAPPED	  swap32(0xffff) /* third word of ::ffff:a.b.c.d */
#define LOOPBACK4 swap32(0x7f000001)
#define LOOPBACK6 swap32(1) /* last word of ::1 */

#define POD_PREPARED 1 /* the proxy's ports are reserved, its listeners are taken up */
#define POD_OUTBOUND 2 /* connections are redirected */

enum count {
	REDIRECTED,    /* connections sent to the outbound listener */
	STEERED,       /* connections from outside given to a listener */
	NO_POD,	       /* dropped: nobody enrolled the address */
	NO_LISTENER,   /* dropped: the proxy is down */
	NOT_ASSIGNED,  /* dropped: the kernel refused the listener */
	OVER_BUDGET,   /* refused: the pod has too many unfinished connects */
	NO_MEMORY,     /* refused, or without a destination: no room for the entry */
	RESERVED_PORT, /* refused: bind to one of the proxy's ports */
	PROBED,	       /* connections of the kubelet, left to the app */
	PROBES_FULL,   /* connections of the kubelet judged as any: no room for the entry */
	COUNTS,
};

struct endpoint {
	u32 ip[4];
	u32 port;
};

struct flow { /* a client's end of a connection to the outbound listener */
	u64 netns;
	u32 ip[4];
	u32 port;
	u32 unused;
};

struct slot { /* which listener: of which netns, on which port */
	u64 netns;
	u32 port;
	u32 unused;
};

struct address {
	u32 ip[4];
};

struct pod {
	u32 flags;
	u32 sysctls; /* the agent's: which were set before it came */
	u32 address_count;
	u32 unused;
	char uid[40]; /* the agent's */
	struct address addresses[POD_ADDRESSES];
};

struct probe { /* a connection of the kubelet */
	struct address kubelet;
	struct address pod;
	u32 kubelet_port;
	u32 pod_port;
};

struct prober { /* the socket that makes it */
	u64 netns;
	u64 socket;
};

struct redirected { /* what the application may go on seeing */
	struct endpoint peer;
	u32 own[4];
};

#define TABLE(type, key, leaf, name, entries, flags) \
	BPF_TABLE_PINNED(type, key, leaf, name, entries, PIN "/" #name, flags)

/* bcc has no pinned form of these two. */
#define STORAGE(name, leaf_type)                                                                  \
	struct name##_table_t {                                                                   \
		int key;                                                                          \
		leaf_type leaf;                                                                   \
		leaf_type *(*sk_storage_get)(void *, void *, int);                                \
		int (*sk_storage_delete)(void *);                                                 \
		u32 flags;                                                                        \
	};                                                                                        \
	__attribute__((section("maps/sk_storage:" PIN "/" #name))) struct name##_table_t name = { \
		.flags = BPF_F_NO_PREALLOC};                                                      \
	BPF_ANNOTATE_KV_PAIR(name, int, leaf_type)

#define SOCKHASH(name, key_type, entries)                                                       \
	struct name##_table_t {                                                                 \
		key_type key;                                                                   \
		u64 leaf;                                                                       \
		struct bpf_sock *(*lookup)(key_type *);                                         \
		int (*sock_hash_update)(void *, key_type *, u64);                               \
		u32 max_entries;                                                                \
	};                                                                                      \
	__attribute__((section("maps/sockhash:" PIN "/" #name))) struct name##_table_t name = { \
		.max_entries = entries}

/* Filled by the agent. */
TABLE("hash", u64, struct pod, pods, MAX_PODS, 0);		 /* netns cookie */
TABLE("hash", struct address, u64, addresses, MAX_ADDRESSES, 0); /* pod address -> cookie */
TABLE("hash", u64, u64, proxy_cgroups, MAX_PROXIES, 0);		 /* cgroup id */
TABLE("hash", u64, u64, kubelet_cgroups, MAX_KUBELETS, 0);	 /* cgroup id */
TABLE("hash", u64, u64, unfinished, MAX_PODS, 0);		 /* cookie -> entries in pending */

TABLE("array", u32, u64, counts, COUNTS, 0);

static inline void count(u32 what)
{
	u64 *value = counts.lookup(&what);

	if (value)
		__sync_fetch_and_add(value, 1);
}

static inline int is_proxy(void)
{
	/* A mark would prove nothing: CAP_NET_RAW is enough to set it. */
	u64 cgroup = bpf_get_current_cgroup_id();

	return proxy_cgroups.lookup(&cgroup) != NULL;
}

static inline int is_proxy_port(u32 port)
{
	return port == OUTBOUND_PORT || port == INBOUND_PORT || port == HBONE_PORT ||
	       port == DNS_PORT;
}

static inline int is_mapped(const u32 *ip)
{
	return !ip[0] && !ip[1] && ip[2] == MAPPED;
}

static inline int is_loopback(const u32 *ip)
{
	if (is_mapped(ip))
		return (ip[3] & 0xff) == 127;
	return !ip[0] && !ip[1] && !ip[2] && ip[3] == LOOPBACK6;
}

static inline int is_same(const u32 *a, const u32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

#endif
