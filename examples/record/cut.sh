#!/bin/bash
# Cuts the captures of the examples and of tests/captures/ out of what record.sh recorded: examples/record/cut.sh RECORDINGS
set -euo pipefail
from=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
examples=$root/examples
tests=$root/tests/captures
mkdir -p "$tests"

# cut RECORDING OUT [FILTER] [COUNT]
cut() { tcpdump -Z root -q -r "$from/$1" -w "$2" ${4:+-c "$4"} "${3:-}" 2>/dev/null; }

cut in.pcap "$examples/firewall/traffic.pcap"
cut both.pcap "$examples/flowmon/traffic.pcap" 'not host 10.0.0.66'
cut in.pcap "$examples/lb/traffic.pcap" 'dst host 10.0.0.100 or dst host fd00::100 or arp or icmp'
cut both.pcap "$examples/sockfilter/traffic.pcap" 'not host 10.0.0.66 and not net 10.0.0.16/28'
cut both.pcap "$examples/tcrewrite/traffic.pcap" 'host 10.0.0.2 or host 10.0.0.10 or host 10.0.0.11 or arp or vlan'
cut both.pcap "$examples/dispatch/traffic.pcap" 'host 10.0.0.2 or host 10.0.0.3 or host fd00::2'

# The same in other formats: pcapng, pcap with nanoseconds, Linux cooked (version 1 and 2), raw IP.
cut both.pcap "$from/pktsize.pcap" 'host 10.0.0.2 or host fd00::2'
editcap -F pcapng "$from/pktsize.pcap" "$examples/pktsize/traffic.pcapng"
cut any.pcap "$tests/cooked2.pcap" '' 60
cut sll.pcap "$tests/cooked.pcap" '' 60
cut tun.pcap "$tests/raw.pcap"
cut both.pcap "$tests/ethernet.pcap" '' 60
editcap -F pcapng "$tests/ethernet.pcap" "$tests/ethernet.pcapng"
editcap -F nsecpcap "$tests/ethernet.pcap" "$tests/ethernet-ns.pcap"
