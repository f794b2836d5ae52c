#!/usr/bin/env python3
"""Packets that ordinary programs do not send, for the captures.

    oddities.py options6 SRC DST      UDP over IPv6 behind a hop-by-hop and a destination options header
    oddities.py orphans SRC DST       later IPv4 fragments whose first fragment never comes
    oddities.py one_port SRC PORT DST:PORT…     an HTTP request to each destination, all from one local port
    oddities.py malformed DEV SRC_MAC DST_MAC   frames whose IP headers lie about their lengths
"""

import socket
import struct
import sys

IPV6_HOPOPTS, IPV6_DSTOPTS = 54, 59
PAD_6 = bytes([0, 0, 1, 4, 0, 0, 0, 0])  # next header and length are filled in by the kernel; PadN of 4 bytes


def options6(src, dst):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind((src, 0))
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_HOPOPTS, PAD_6)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_DSTOPTS, PAD_6)
        for n in range(6):
            sock.sendto(b"behind two extension headers %d" % n, (dst, 9999))
        for n in range(3):
            sock.sendto(b"a blocked port behind two extension headers %d" % n, (dst, 161))


def ipv4_header(src, dst, ident, flags_offset, proto, payload_len, version_ihl=0x45, total=None):
    total = 20 + payload_len if total is None else total
    return struct.pack("!BBHHHBBH4s4s", version_ihl, 0, total, ident, flags_offset, 64, proto, 0,
                       socket.inet_aton(src), socket.inet_aton(dst))


def orphans(src, dst):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        for n in range(8):
            payload = b"fragment without a first one" + bytes(4)
            header = ipv4_header(src, dst, 0xDEAD, 185 + n * (len(payload) // 8), 17, len(payload))
            sock.sendto(header + payload, (dst, 0))


def one_port(src, port, *destinations):
    for destination in destinations:
        host, dst_port = destination.split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((src, int(port)))
            sock.connect((host, int(dst_port)))
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while sock.recv(4096):
                pass


def malformed(dev, src_mac, dst_mac):
    ethernet = bytes.fromhex(dst_mac.replace(":", "")) + bytes.fromhex(src_mac.replace(":", "")) + b"\x08\x00"
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((dev, 0))
        body = bytes(26)
        for header in (
            ipv4_header("10.0.0.3", "10.0.0.1", 1, 0, 17, len(body), version_ihl=0x42),  # header of 8 bytes
            ipv4_header("10.0.0.3", "10.0.0.1", 2, 0, 17, len(body), version_ihl=0x65),  # IPv4 of version 6
            ipv4_header("10.0.0.3", "10.0.0.1", 3, 0, 17, len(body), total=1400),        # longer than the frame
            ipv4_header("10.0.0.3", "10.0.0.1", 4, 0, 6, len(body), total=24),           # TCP header cut off
        ):
            sock.send(ethernet + header + body)


{"options6": options6, "orphans": orphans, "one_port": one_port, "malformed": malformed}[sys.argv[1]](*sys.argv[2:])
