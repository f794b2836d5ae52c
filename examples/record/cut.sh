#!/bin/bash
# Cuts the captures of the examples out of the recordings that record.sh made: examples/record/cut.sh RECORDINGS
set -euo pipefail
from=$1
examples=$(cd "$(dirname "$0")/.." && pwd)
cut() { tcpdump -Z root -q -r "$from/$1" -w "$2" "${3:-}" 2>/dev/null; }

cut in.pcap "$examples/firewall/traffic.pcap"
