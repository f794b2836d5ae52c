#!/bin/bash
# Records the captures of the examples: real programs talk inside two network namespaces of their own, tcpdump listens.
#
#   examples/record/record.sh [OUT]      as root; writes raw recordings into OUT (default: a new temporary folder),
#                                        then cut.sh makes the examples' captures from them.
#
#     client (skep-cli)                            server (skep-srv)
#     10.0.0.2, .3, .10-.29, fd00::2   -- veth --  10.0.0.1, VIPs 10.0.0.100 and fd00::100, fd00::1
#     203.0.113.7, 2001:db8:bad::7                 HTTP on 80 and 8080, DNS on 53
#     vlan10 10.0.10.2                             vlan10 10.0.10.1    (802.1Q tag 10)
#     qinq   10.0.30.2                             qinq   10.0.30.1    (802.1ad tag 20, 802.1Q tag 30)
#     tun0   10.0.40.2, fd00:40::2                 tun0   10.0.40.1, fd00:40::1   (IP packets over UDP port 4040)
#
# Needs: iproute2, tcpdump, editcap, ethtool, python3, curl, dig, dnsmasq, hping3, ping. Nothing leaves the namespaces; both go
# away at the end, whatever happens. Everything is bounded in count and time (about half a minute).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$(mktemp -d)}
mkdir -p "$out"
www=$(mktemp -d)
jobs_started=()

clean_up() {
    set +e
    for job in "${jobs_started[@]}"; do kill "$job" 2>/dev/null; done
    wait 2>/dev/null
    ip netns del skep-cli 2>/dev/null
    ip netns del skep-srv 2>/dev/null
    rm -rf "$www"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

cli=(ip netns exec skep-cli)
srv=(ip netns exec skep-srv)
start() { "$@" >/dev/null 2>"$out/last-error.log" & jobs_started+=($!); }
quietly() { timeout 15 "${cli[@]}" "$@" >/dev/null 2>&1 || true; }   # a refused or unanswered request is part of the show

# ---- the network
ip netns add skep-cli
ip netns add skep-srv
ip -n skep-cli link add eth0 type veth peer name eth0 netns skep-srv
ip -n skep-cli link set eth0 address 02:00:00:00:00:02
ip -n skep-srv link set eth0 address 02:00:00:00:00:01
for side in cli srv; do
    ip netns exec skep-$side sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
        net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.router_solicitations=0 net.ipv4.conf.all.rp_filter=0
    ip netns exec skep-$side ethtool -K eth0 tx off tso off gso off gro off >/dev/null 2>&1 || true
    ip -n skep-$side link set lo up
    ip -n skep-$side link set eth0 up
done
ip -n skep-cli addr add 10.0.0.2/24 dev eth0
for host in 3 66 $(seq 10 29); do ip -n skep-cli addr add 10.0.0.$host/24 dev eth0; done
ip -n skep-cli addr add fd00::2/64 dev eth0 nodad
ip -n skep-cli addr add 203.0.113.7/32 dev eth0
ip -n skep-cli addr add 2001:db8:bad::7/128 dev eth0 nodad
ip -n skep-srv addr add 10.0.0.1/24 dev eth0
ip -n skep-srv addr add 10.0.0.100/24 dev eth0
ip -n skep-srv addr add fd00::1/64 dev eth0 nodad
ip -n skep-srv addr add fd00::100/64 dev eth0 nodad
ip -n skep-srv route add 203.0.113.0/24 dev eth0
ip -n skep-srv route add 2001:db8:bad::/48 dev eth0
for side in cli:2 srv:1; do
    host=${side#*:} side=${side%:*}
    start ip netns exec skep-$side "$here/vlan_port.py" eth0 vlan10 8100:10
    start ip netns exec skep-$side "$here/vlan_port.py" eth0 qinq 88a8:20,8100:30
    start ip netns exec skep-$side "$here/tun_port.py" tun0 10.0.0.$host 10.0.0.$((3 - host)) 4040
    for port in vlan10 qinq tun0; do
        for _ in $(seq 100); do [ -n "$(ip -n skep-$side link show $port 2>/dev/null)" ] && break; sleep 0.1; done
    done
    ip -n skep-$side link set vlan10 address 02:00:00:00:10:0$host mtu 1400 up
    ip -n skep-$side link set qinq address 02:00:00:00:30:0$host mtu 1400 up
    ip -n skep-$side addr add 10.0.10.$host/24 dev vlan10
    ip -n skep-$side addr add 10.0.30.$host/24 dev qinq
    ip -n skep-$side link set tun0 mtu 1400 up
    ip -n skep-$side addr add 10.0.40.$host/24 dev tun0
    ip -n skep-$side addr add fd00:40::$host/64 dev tun0 nodad
done

# ---- the servers
printf 'A small page.\n' > "$www/index.html"
python3 -c 'print("\n".join(f"line {n} of a page of some size" for n in range(400)))' > "$www/page.txt"
for port in 80 8080; do start "${srv[@]}" "$here/server.py" $port "$www"; done
start "${srv[@]}" dnsmasq --keep-in-foreground --no-resolv --no-hosts --conf-file=/dev/null --pid-file= --user=root \
    --address=/web.skep.test/10.0.0.1 --address=/web.skep.test/fd00::1 --txt-record=about.skep.test,"recorded in a namespace"
for _ in $(seq 50); do
    "${srv[@]}" curl -sf -o "$out/page" http://10.0.0.1/ && "${srv[@]}" curl -sf -o "$out/page" http://10.0.0.1:8080/ && break
    sleep 0.1
done
rm -f "$out/page"

# ---- the recorders: what comes in to the server, both directions, and the cooked form
start "${srv[@]}" tcpdump -Z root -q -n -U -i eth0 -Q in -w "$out/in.pcap" 'not udp port 4040'
start "${srv[@]}" tcpdump -Z root -q -n -U -i eth0 -w "$out/both.pcap" 'not udp port 4040'
start "${srv[@]}" tcpdump -Z root -q -n -U -i any -y LINUX_SLL2 -w "$out/any.pcap" '(host 10.0.0.2 or host fd00::2) and not udp port 4040'
start "${srv[@]}" tcpdump -Z root -q -n -U -i any -y LINUX_SLL -w "$out/sll.pcap" 'not udp port 4040'
start "${srv[@]}" tcpdump -Z root -q -n -U -i tun0 -w "$out/tun.pcap"
sleep 1.5

# ---- the traffic
echo "HTTP, DNS and ping over IPv4 and IPv6"
for page in / /page.txt /missing; do
    quietly curl -s --interface 10.0.0.2 "http://10.0.0.1$page"
    quietly curl -s --interface fd00::2 "http://[fd00::1]$page"
done
for name in web.skep.test about.skep.test unknown.skep.test; do
    for kind in A AAAA TXT; do quietly dig +tries=1 +time=1 -b 10.0.0.2 @10.0.0.1 "$name" $kind; done
    quietly dig +tries=1 +time=1 -b fd00::2 @fd00::1 "$name" AAAA
done
quietly dig +tcp +tries=1 +time=1 -b 10.0.0.2 @10.0.0.1 web.skep.test A
quietly ping -c 5 -i 0.05 -I 10.0.0.2 10.0.0.1
quietly ping -c 5 -i 0.05 -I fd00::2 fd00::1

echo "fragments"
quietly ping -c 4 -i 0.05 -s 4000 -I 10.0.0.2 10.0.0.1
quietly ping -c 4 -i 0.05 -s 4000 -I fd00::2 fd00::1
quietly python3 -c "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.0.0.3', 5001)); [s.sendto(bytes(4000), ('10.0.0.1', 161)) for _ in range(3)]"
quietly "$here/oddities.py" orphans 10.0.0.3 10.0.0.1

echo "VLAN and double VLAN"
quietly ping -c 4 -i 0.05 10.0.10.1
quietly curl -s http://10.0.10.1/
quietly ping -c 4 -i 0.05 10.0.30.1
quietly curl -s http://10.0.30.1/

echo "blocked sources and ports, extension headers, nonsense"
quietly curl -s --max-time 1 --interface 203.0.113.7 http://10.0.0.1/
quietly ping -c 4 -i 0.05 -W 1 -I 203.0.113.7 10.0.0.1
quietly curl -s --max-time 1 --interface 2001:db8:bad::7 "http://[fd00::1]/"
quietly ping -c 4 -i 0.05 -W 1 -I 2001:db8:bad::7 fd00::1
for port in 23 445; do
    quietly curl -s --max-time 1 --interface 10.0.0.3 telnet://10.0.0.1:$port
    quietly curl -s --max-time 1 --interface fd00::2 "telnet://[fd00::1]:$port"
done
quietly "$here/oddities.py" options6 fd00::2 fd00::1
quietly "$here/oddities.py" malformed eth0 02:00:00:00:00:02 02:00:00:00:00:01

echo "a tunnel without link headers"
quietly ping -c 2 -i 0.05 10.0.40.1
quietly ping -c 2 -i 0.05 fd00:40::1
quietly curl -s http://10.0.40.1/
quietly dig +tries=1 +time=1 @10.0.40.1 web.skep.test A
quietly dig +tries=1 +time=1 @fd00:40::1 web.skep.test AAAA

echo "many clients at the virtual address"
for host in $(seq 10 29); do
    quietly curl -s --interface 10.0.0.$host http://10.0.0.100/ http://10.0.0.100/
    quietly dig +tries=1 +time=1 -b 10.0.0.$host @10.0.0.100 web.skep.test A
done
quietly curl -s --interface 10.0.0.2 http://10.0.0.100:8080/page.txt
quietly "$here/oddities.py" one_port 10.0.0.2 40000 10.0.0.100:8080 10.0.0.1:80
quietly ping -c 3 -i 0.05 -t 1 -I 10.0.0.2 10.0.0.1
for n in 1 2 3 4; do quietly curl -s --interface fd00::2 "http://[fd00::100]/"; done

echo "a SYN flood of 300 packets"
quietly hping3 -q -S -p 80 -c 300 -i u500 -a 10.0.0.66 10.0.0.1
sleep 1.5

clean_up
trap - EXIT
rm -f "$out/last-error.log"
echo "recorded into $out"
"$here/cut.sh" "$out"
