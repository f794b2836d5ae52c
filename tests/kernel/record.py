#!/usr/bin/env python3
"""Records what the live Linux kernel makes of the examples' captures, for tests to compare with.

    tests/kernel/record.py [NAME…]      as root, with bpftool; from the root of the repository

Loads each example, gives it every packet of its capture by BPF_PROG_TEST_RUN (nothing is attached), writes
tests/kernel/NAME.tsv and NAME.maps.json (see README.md there), and takes the pins away again.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

PIN = "/sys/fs/bpf/skep-record"
EXAMPLES = ["dispatch", "firewall", "flowmon", "lb", "pktsize", "sockfilter", "tcrewrite"]
# What depends on the clock, the processor or the loader is not recorded.
TIMES = {"first_ns", "last_ns", "filled_ns", "tokens"}
KINDS_LEFT_OUT = {"ringbuf", "prog_array"}


def bpftool(*args):
    return json.loads(subprocess.run(["bpftool", "-j", *args], check=True, capture_output=True).stdout or b"null")


def packets(path):
    if path.endswith("ng"):
        plain = tempfile.mktemp()
        subprocess.run(["editcap", "-F", "pcap", path, plain], check=True)
        path = plain
    data = open(path, "rb").read()
    at = 24
    while at < len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        yield data[at + 16:at + 16 + length]
        at += 16 + length


def fnv1a64(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return value


def total(values):
    """The sum of the copies of the processors, field by field."""
    if isinstance(values[0], dict):
        return {k: total([v[k] for v in values]) for k in values[0]}
    return sum(values)


def entries(name):
    dump = bpftool("map", "dump", "pinned", f"{PIN}/maps/{name}")
    found = []
    for entry in dump:
        entry = entry.get("formatted", entry)
        value = total([c["value"] for c in entry["values"]]) if "values" in entry else entry["value"]
        found.append({"key": entry.get("key", 0), "value": without_times(value)})
    return sorted(found, key=lambda e: json.dumps(e["key"]))


def record(name):
    folder = f"examples/{name}"
    capture = next(f"{folder}/{f}" for f in os.listdir(folder) if f.startswith("traffic.pcap"))
    frame, out = tempfile.mktemp(), tempfile.mktemp()
    os.makedirs(PIN)
    bpftool("prog", "loadall", f"{folder}/{name}.bpf.o", PIN, "pinmaps", f"{PIN}/maps")
    with open(f"tests/kernel/{name}.tsv", "w") as tsv:
        for number, packet in enumerate(packets(capture)):
            open(frame, "wb").write(packet)
            result = bpftool("prog", "run", "pinned", f"{PIN}/{name}", "data_in", frame, "data_out", out)
            data = open(out, "rb").read()
            tsv.write(f"{number}\t{result['retval']}\t{len(data)}\t{fnv1a64(data):016x}\n")
    kinds = {m: bpftool("map", "show", "pinned", f"{PIN}/maps/{m}")["type"] for m in os.listdir(f"{PIN}/maps")}
    maps = {m: entries(m) for m, kind in sorted(kinds.items()) if kind not in KINDS_LEFT_OUT}
    with open(f"tests/kernel/{name}.maps.json", "w") as file:
        file.write("{\n" + ",\n".join(
            f' "{m}": [\n' + ",\n".join("  " + json.dumps(e) for e in es) + "\n ]" for m, es in maps.items()) + "\n}\n")


for example in sys.argv[1:] or EXAMPLES:
    shutil.rmtree(PIN, ignore_errors=True)
    try:
        record(example)
    finally:
        shutil.rmtree(PIN, ignore_errors=True)
