#!/usr/bin/env python3
"""One end of a tunnel for IP packets over UDP, so that there is an interface without link headers to record on.

    tun_port.py TUN LOCAL REMOTE PORT     Runs until it is killed.
"""

import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def main():
    name, local, remote, port = sys.argv[1:5]
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((local, int(port)))
    while True:
        for ready in select.select([tun, sock], [], [])[0]:
            try:
                if ready is sock:
                    os.write(tun, sock.recv(65535))
                else:
                    sock.sendto(os.read(tun, 65535), (remote, int(port)))
            except OSError:
                pass  # the other end or the interface is not up: the packet is lost


main()
