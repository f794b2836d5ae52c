#!/usr/bin/env python3
"""An HTTP server on every IPv4 and IPv6 address of its namespace: server.py PORT FOLDER"""

import functools
import http.server
import socket
import sys


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 128


handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[2])
Server(("::", int(sys.argv[1])), handler).serve_forever()
