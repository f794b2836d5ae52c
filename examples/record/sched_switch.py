#!/usr/bin/env python3
"""Records one real context of the tracepoint sched:sched_switch, as a BPF program at it gets to see it.

    unshare -m examples/record/sched_switch.py OUT      as root

Starts a process that sleeps and works in turns, follows it alone in a trace instance of its own, and writes the
first record in which it gives way to the idle task. The instance is removed afterwards.
"""

import os
import struct
import subprocess
import sys
import time

MOUNT = "/sys/kernel/tracing"
INSTANCE = MOUNT + "/instances/skep-record"
WORKER = """
import time
open("/proc/self/comm", "w").write("skep-worker")
for _ in range(40):
    sum(range(10000))
    time.sleep(0.01)
"""


def put(name, text):
    with open(f"{INSTANCE}/{name}", "w") as file:
        file.write(text)


def records(page):
    """The events of one page of the ring buffer: each a 4-byte header (length in words, time delta), then the record."""
    end = 16 + (struct.unpack_from("=Q", page, 8)[0] & 0xFFFFF)
    at = 16
    while at + 4 <= min(end, len(page)):
        words = struct.unpack_from("=I", page, at)[0] & 0x1F
        if words == 0 or words == 29:  # a long record, or padding up to the end
            return
        size = 4 if words in (30, 31) else 4 * words  # 30, 31: a time stamp of two words
        yield page[at + 4:at + 4 + size]
        at += 4 + size


def main():
    out = sys.argv[1]
    if not os.path.isdir(MOUNT + "/events"):
        subprocess.run(["mount", "-t", "tracefs", "tracefs", MOUNT], check=True)
    with open(MOUNT + "/events/sched/sched_switch/id") as file:
        event = int(file.read())
    os.mkdir(INSTANCE)
    try:
        worker = subprocess.Popen([sys.executable, "-c", WORKER])
        put("set_event_pid", str(worker.pid))
        put("events/sched/sched_switch/enable", "1")
        worker.wait(timeout=10)
        put("events/sched/sched_switch/enable", "0")
        for cpu in range(os.cpu_count()):
            pipe = os.open(f"{INSTANCE}/per_cpu/cpu{cpu}/trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
            try:
                while page := os.read(pipe, 4096):
                    for record in records(page):
                        ours = len(record) >= 64 and struct.unpack_from("=H", record)[0] == event
                        if ours and record[8:20] == b"skep-worker\0" and record[40:48] == b"swapper/":
                            with open(out, "wb") as file:
                                file.write(record[:64])
                            return
            except BlockingIOError:
                pass
            finally:
                os.close(pipe)
        sys.exit("no record of the worker was found; try again")
    finally:
        time.sleep(0.2)
        os.rmdir(INSTANCE)


main()
