#!/bin/sh
# Makes the captures beside it from a recorded one, with Wireshark's editcap and a byte swapper for the order that
# editcap does not write.
set -eu
cd "$(dirname "$0")"
from=../../../../examples/flowmon/traffic.pcap
editcap -F pcap -r -s 200 "$from" same.pcap 1-14
editcap -F nsecpcap same.pcap same.nsec.pcap
editcap -F pcapng same.pcap same.pcapng
editcap -F modpcap same.pcap modified.pcap
python3 - <<'P'
import struct
b = open('same.pcap', 'rb').read()
out = struct.pack('>IHHIIII', *struct.unpack('<IHHIIII', b[:24]))
at = 24
while at < len(b):
    h = struct.unpack('<IIII', b[at:at + 16])
    out += struct.pack('>IIII', *h) + b[at + 16:at + 16 + h[2]]
    at += 16 + h[2]
open('same.big-endian.pcap', 'wb').write(out)
P
