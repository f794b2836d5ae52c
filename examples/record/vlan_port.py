#!/usr/bin/env python3
"""A VLAN port in user space, for kernels that are built without VLAN devices.

    vlan_port.py UPLINK TAP TAG[,TAG]      TAG = ethertype:id, outermost first, as in 88a8:20,8100:30

Frames that the network stack sends into TAP leave on UPLINK with the tags put in; frames that come in on UPLINK
with exactly these tags go to TAP without them. Runs until it is killed.
"""

import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_AUXDATA = 263, 8
TP_STATUS_VLAN_VALID = 0x10


def open_tap(name):
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


def open_uplink(name):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    sock.bind((name, 0))
    return sock


def receive_with_tag(sock):
    """One frame as it was on the wire: the kernel takes the outer tag off and hands it over beside the frame."""
    frame, ancillary, _, address = sock.recvmsg(65535, 256)
    if address[2] == socket.PACKET_OUTGOING:
        return b""
    for level, kind, data in ancillary:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
            if status & TP_STATUS_VLAN_VALID:
                frame = frame[:12] + struct.pack("!HH", tpid or 0x8100, tci) + frame[12:]
    return frame


def deliver(tap, frame):
    try:
        os.write(tap, frame)
    except OSError:
        pass  # the port is not up yet: the frame is lost, as on a wire


def main():
    uplink_name, tap_name, tag_list = sys.argv[1:4]
    tags = b""
    for tag in tag_list.split(","):
        ethertype, vlan = tag.split(":")
        tags += struct.pack("!HH", int(ethertype, 16), int(vlan))
    tap, uplink = open_tap(tap_name), open_uplink(uplink_name)
    while True:
        for ready in select.select([tap, uplink], [], [])[0]:
            if ready is uplink:
                frame = receive_with_tag(uplink)
                if frame[12:12 + len(tags)] == tags:
                    deliver(tap, frame[:12] + frame[12 + len(tags):])
            else:
                frame = os.read(tap, 65535)
                uplink.send(frame[:12] + tags + frame[12:])


main()
