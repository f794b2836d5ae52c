// SPDX-License-Identifier: MIT OR Apache-2.0
//
// An XDP load balancer for TCP and UDP over IPv4 that answers no packet itself: it sends each one on to a real server,
// wrapped into another IP packet (IPIP), and the server answers the client directly (direct server return).
//
//     packet ──► service in `vips`? ──► connection known in `connections`? ──► its server
//                     │ no: pass                   │ no
//                     ▼                            ▼
//               network stack            Maglev table of the service's pool: hash of the 5-tuple ──► a server
//
//     and then: 20 bytes of IPv4 header in front, Ethernet addresses swapped, out by the way it came in (XDP_TX).
//
// The Maglev table (`ring`, 251 places a pool) spreads clients evenly, is the same on every balancer with the same list of
// servers, and moves few clients when that list changes; those that have a connection stay where they are, by
// `connections`. It is computed here, in the kernel, by the packet that first finds it out of date: user space changes
// `servers` and then adds one to `wanted_generation`, and that is all.
//
// What always holds: a packet leaves by XDP_TX only with a whole outer header and a right checksum; a full or missing
// table never drops what is not ours.

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define IP4(a, b, c, d) bpf_htonl((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

#define POOLS 4
#define SERVERS_MAX 16	// of one pool; a power of two
#define RING_PLACES 251 // of one pool; a prime, well above the number of servers
#define NO_SERVER 0xffff

// ---------------------------------------------------------------------------------------------------------------------
// What user space sees

struct vip {
	__be32 address;
	__be16 port;
	__u8 proto;
	__u8 unused; // zero
};

struct service {
	__u32 pool;  // whose servers: 0 to POOLS-1
	__u32 stats; // index into `stats`
};

struct place {
	__u16 server;	  // index into the pool's servers
	__u16 generation; // of the table that this entry belongs to
};

struct connection {
	__be32 client;
	__be16 client_port;
	__be16 port;
	__be32 address;
	__u8 proto;
	__u8 unused[3]; // zero
};

struct stats {
	__u64 packets;
	__u64 bytes; // of the packets as they came, without the outer header
	__u64 new_connections;
	__u64 no_server; // dropped: the pool is empty
	__u64 too_big;	 // dropped: no room for the outer header
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct vip);
	__type(value, struct service);
} vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, POOLS * RING_PLACES);
	__type(key, __u32); // pool * RING_PLACES + hash % RING_PLACES
	__type(value, struct place);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct connection);
	__type(value, __be32); // address of the server
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32); // `stats` of the service
	__type(value, struct stats);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, POOLS * SERVERS_MAX);
	__type(key, __u32);    // pool * SERVERS_MAX + server
	__type(value, __u64); // connections that the ring has given to this server
} chosen SEC(".maps");

const volatile __be32 outer_source = IP4(10, 0, 0, 1);
const volatile __u32 mtu = 1500; // of the link to the servers

// The servers of each pool; address 0: free place. In .data, so user space may change them while this runs.
__be32 servers[POOLS][SERVERS_MAX] = {
	{ IP4(10, 1, 0, 1), IP4(10, 1, 0, 2), IP4(10, 1, 0, 3), IP4(10, 1, 0, 4) },
	{ IP4(10, 1, 1, 1), IP4(10, 1, 1, 2) },
};

// The services that the first packet puts into `vips`.
struct default_vip {
	struct vip vip;
	struct service service;
};

#define DEFAULT_VIPS 3
const volatile struct default_vip default_vips[DEFAULT_VIPS] = {
	{ { IP4(10, 0, 0, 100), bpf_htons(80), IPPROTO_TCP }, { .pool = 0, .stats = 0 } },
	{ { IP4(10, 0, 0, 100), bpf_htons(53), IPPROTO_UDP }, { .pool = 1, .stats = 1 } },
	{ { IP4(10, 0, 0, 100), bpf_htons(8080), IPPROTO_TCP }, { .pool = 2, .stats = 2 } }, // empty pool
};
const volatile bool install_defaults = true;

__u16 wanted_generation = 1; // .data: user space adds one to have the rings computed anew
__u16 ring_generation;	     // .bss: the generation that the rings are of
__u32 building;		     // somebody is at it

// ---------------------------------------------------------------------------------------------------------------------
// The Maglev table: the servers of a pool take turns; at its turn each takes the first place that is still free in an
// order of all places of its own. The order is offset, offset + skip, offset + 2*skip, … modulo the number of places,
// which is a prime, so that every place comes up once.

struct turn {
	__u32 next; // place that this server looks at next
	__u32 skip; // 0: no such server
};

struct turn turns[SERVERS_MAX]; // only the builder touches it

struct builder {
	__u32 pool;
	__u32 server; // whose turn it is
	__u32 taken;  // places taken so far
	__u16 generation;
};

static __always_inline __u32 mix(__u32 h)
{
	h ^= h >> 16;
	h *= 0x7feb352d;
	h ^= h >> 15;
	h *= 0x846ca68b;
	return h ^ h >> 16;
}

// One look at one place. Called by bpf_loop(), until every place is taken (1 ends the loop).
static long build_step(__u32 step, void *arg)
{
	struct builder *b = arg;
	__u32 server = b->server & (SERVERS_MAX - 1);
	struct turn *turn = &turns[server];
	struct place *place;
	__u32 key;

	if (!turn->skip) {
		b->server = server + 1;
		return 0;
	}
	key = b->pool * RING_PLACES + turn->next;
	turn->next = (turn->next + turn->skip) % RING_PLACES;
	place = bpf_map_lookup_elem(&ring, &key);
	if (!place)
		return 1;
	if (place->generation == b->generation)
		return 0; // taken: the same server looks on
	place->server = server;
	place->generation = b->generation;
	b->server = server + 1;
	return ++b->taken == RING_PLACES;
}

static long build_pool(__u32 pool, void *arg)
{
	struct builder *b = arg;
	bool any = false;

	b->pool = pool;
	b->server = 0;
	b->taken = 0;
	for (__u32 i = 0; i < SERVERS_MAX; i++) {
		__be32 address = servers[pool & (POOLS - 1)][i];
		__u32 hash = mix(bpf_ntohl(address));

		turns[i].next = hash % RING_PLACES;
		turns[i].skip = address ? mix(hash) % (RING_PLACES - 1) + 1 : 0;
		any |= address != 0;
	}
	if (any)
		bpf_loop(RING_PLACES * SERVERS_MAX * 2, build_step, b, 0);
	return 0;
}

static __noinline void build_rings(void)
{
	struct builder b = { .generation = wanted_generation };

	if (__sync_val_compare_and_swap(&building, 0, 1))
		return; // another processor builds; until it is done the old table serves
	if (install_defaults && !ring_generation) {
		for (int i = 0; i < DEFAULT_VIPS; i++) {
			struct default_vip d = default_vips[i];

			bpf_map_update_elem(&vips, &d.vip, &d.service, BPF_NOEXIST);
		}
	}
	bpf_loop(POOLS, build_pool, &b, 0);
	ring_generation = b.generation;
	__sync_lock_test_and_set(&building, 0);
}

// ---------------------------------------------------------------------------------------------------------------------
// Choosing

static __always_inline __be32 server_by_ring(const struct connection *c, __u32 pool)
{
	__u32 hash = mix(c->client ^ mix((__u32)c->client_port << 16 | c->port) ^ mix(c->address + c->proto));
	__u32 key = pool * RING_PLACES + hash % RING_PLACES;
	struct place *place = bpf_map_lookup_elem(&ring, &key);
	__be32 address;
	__u64 *n;

	if (!place || !place->generation || pool >= POOLS)
		return 0; // this pool never had a server
	address = servers[pool][place->server & (SERVERS_MAX - 1)];
	key = pool * SERVERS_MAX + place->server;
	n = bpf_map_lookup_elem(&chosen, &key);
	if (n)
		__sync_fetch_and_add(n, 1);
	return address;
}

static __always_inline __be32 choose_server(const struct connection *c, const struct service *service, struct stats *s)
{
	__be32 *known = bpf_map_lookup_elem(&connections, c);
	__be32 server;

	if (known)
		return *known;
	server = server_by_ring(c, service->pool);
	if (server) {
		s->new_connections++;
		bpf_map_update_elem(&connections, c, &server, BPF_ANY);
	}
	return server;
}

// ---------------------------------------------------------------------------------------------------------------------
// Packets

// TCP and UDP begin alike.
struct ports {
	__be16 source;
	__be16 destination;
};

// What the packet belongs to. False: nothing that could be balanced.
static __always_inline bool parse(void *data, void *end, struct connection *c, __u16 *bytes)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct ports *ports;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->version != 4 || ip->ihl < 5)
		return false;
	if (ip->frag_off & bpf_htons(0x3fff))
		return false; // fragments: the later ones have no ports, so none of them is ours
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return false;
	ports = (void *)ip + ip->ihl * 4;
	if ((void *)(ports + 1) > end)
		return false;
	c->client = ip->saddr;
	c->address = ip->daddr;
	c->proto = ip->protocol;
	c->client_port = ports->source;
	c->port = ports->destination;
	*bytes = bpf_ntohs(ip->tot_len);
	return true;
}

static __always_inline __u16 ipv4_checksum(const struct iphdr *ip)
{
	const __u16 *word = (const __u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

// Puts the outer header in front and turns the frame round.
static __always_inline int encapsulate(struct xdp_md *ctx, __be32 server, __u16 inner_bytes)
{
	struct ethhdr old, *eth;
	struct iphdr *outer;
	void *data, *end;

	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(old) > end)
		return XDP_DROP;
	__builtin_memcpy(&old, data, sizeof(old));

	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*outer)))
		return XDP_DROP;
	data = (void *)(long)ctx->data; // the old pointers are void after the helper: take new ones
	end = (void *)(long)ctx->data_end;
	eth = data;
	outer = data + sizeof(*eth);
	if ((void *)(outer + 1) > end)
		return XDP_DROP;

	__builtin_memcpy(eth->h_dest, old.h_source, ETH_ALEN); // back to the router, which knows the way
	__builtin_memcpy(eth->h_source, old.h_dest, ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_IP);

	__builtin_memset(outer, 0, sizeof(*outer));
	outer->version = 4;
	outer->ihl = sizeof(*outer) / 4;
	outer->tot_len = bpf_htons(inner_bytes + sizeof(*outer));
	outer->frag_off = bpf_htons(0x4000); // do not fragment
	outer->ttl = 64;
	outer->protocol = IPPROTO_IPIP;
	outer->saddr = outer_source;
	outer->daddr = server;
	outer->check = ipv4_checksum(outer);
	return XDP_TX;
}

SEC("xdp")
int lb(struct xdp_md *ctx)
{
	struct connection c = {};
	struct vip vip = {};
	struct service *service;
	struct stats *s;
	__be32 server;
	__u16 bytes;
	__u32 key;

	if (ring_generation != wanted_generation)
		build_rings();
	if (!parse((void *)(long)ctx->data, (void *)(long)ctx->data_end, &c, &bytes))
		return XDP_PASS;
	vip.address = c.address;
	vip.port = c.port;
	vip.proto = c.proto;
	service = bpf_map_lookup_elem(&vips, &vip);
	if (!service)
		return XDP_PASS;
	key = service->stats;
	s = bpf_map_lookup_elem(&stats, &key);
	if (!s)
		return XDP_PASS;

	s->packets++;
	s->bytes += bytes;
	server = choose_server(&c, service, s);
	if (!server) {
		s->no_server++;
		return XDP_DROP;
	}
	if (bytes + sizeof(struct iphdr) > mtu) {
		s->too_big++;
		return XDP_DROP;
	}
	return encapsulate(ctx, server, bytes);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
