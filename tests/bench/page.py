# SPDX-License-Identifier: ISC
"""What the page costs the queue: the throughput of splitrelay while pages are open, and while clients attack the page.

The clients run on the same machine. What they take of its processors is measured, and the rate is also given as if splitrelay,
source and sink had had that time; the targets are about this rate. The measurement of an attack begins when searches are refused
because they have used up what may be read at once, and when all slow connections are open.

As a program, page.py PORT open|attack is the clients: three pages that refresh themselves; or 1,000 connections that send a byte a
second and are opened again when they are closed, 50 searches through 100,000 copies a second, and requests for other paths.
"""

import contextlib
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import rig  # noqa: E402
from measure import Table, Target, relay_configuration, wait_sent  # noqa: E402

ALONE, OPEN, ATTACKED = "nobody looks", "three pages are open", "1,000 connections and 50 searches a second"
CORRECTED = ", less what the clients take"
SLOW = 1000
SEARCH = "/api/queue?reason=nothing-like-this&to=*x*y*z*"


def ask(port, path):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        c.request("GET", path)
        response = c.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        c.close()


def again(seconds, function, *arguments):
    """Call the function in a thread, so often that a call begins after so many seconds."""

    def run():
        while True:
            function(*arguments)
            time.sleep(seconds)

    threading.Thread(target=run, daemon=True).start()


def connect(port):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("127.0.0.1", port))
    return s


def trickle(port):
    """Send a byte on each of SLOW connections, once a second. Print a line when all are begun."""
    slow = [connect(port) for _ in range(SLOW)]
    print("begun", flush=True)
    while True:
        for i, s in enumerate(slow):
            try:
                s.send(b"G")
            except BlockingIOError:
                pass
            except OSError:
                s.close()
                slow[i] = connect(port)
            time.sleep(1 / SLOW)


def clients(port, what):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    if what == "open":
        for path in ("/api/status", "/api/queue?limit=100", "/api/history?limit=100"):
            for _ in range(3):
                again(5, ask, port, path)
        print("begun", flush=True)
    else:
        again(0.02, ask, port, SEARCH)
        rig.wait_for(lambda: ask(port, SEARCH) == 503, 60, "the end of what may be read at once")
        again(0.02, ask, port, "/..%2f..%2fetc/passwd")
        trickle(port)
    signal.pause()


def processor_time(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def crowd(port, what):
    """The clients, in a process of their own. Yields a function that returns the processor time that they have taken, in seconds."""
    if what is None:
        yield lambda: 0.0
        return
    process = subprocess.Popen([sys.executable, os.path.abspath(__file__), str(port), what], stdout=subprocess.PIPE)
    try:
        if process.stdout.readline() != b"begun\n":
            raise rig.Failure(f"the clients ended: {what}")
        yield lambda: processor_time(process.pid)
    finally:
        process.kill()
        process.communicate()


def bench_page(r, options):
    sink = rig.SmtpSink(r, "archive")
    address, port = ("127.0.0.1", r.free_port()), r.free_port()
    text = relay_configuration(r, address, sink.address).replace("max_connections", f'metrics = "inet:{port}" max_connections')
    text += f'destination nowhere {{ relay_to = {{ "[127.0.0.1]:{r.free_port()}" }} }}\n'
    rig.queue.fill(r.path("spool"), 100000, 500, ("nowhere",))
    try:
        relay = rig.start_splitrelay(r, text, address)
    except rig.Skip as e:
        print(f"SKIP splitrelay: {e}")
        return []
    recipient = "r@example.com.archive.copy.split.invalid"
    table = Table("The page, smtp-source to smtp-sink through splitrelay", ALONE)
    turns = [(ALONE, None), (OPEN, "open"), (ATTACKED, "attack")]
    with open(relay.log_path, "rb") as log:
        for number in range(options.rounds + 1):
            count = options.copies if number else options.copies // 10
            for name, what in turns if number % 2 else reversed(turns):
                with crowd(port, what) as spent:
                    log.seek(0, os.SEEK_END)
                    start, before = time.monotonic(), spent()
                    rig.smtp_source(address, count, options.relay_sessions, options.size, recipient=recipient, flags=("-d",))
                    wait_sent(log, count)
                    took = time.monotonic() - start
                    share = (spent() - before) / took / (os.cpu_count() or 1)
                if number:  # round 0 is a warm-up
                    table.add(name, count / took)
                    if what is not None:
                        table.add(name + CORRECTED, count / took / (1 - share))
    table.show()
    return [Target(f"throughput while {name}{CORRECTED}", table.ratio(name + CORRECTED, ALONE), 0.97) for name in (OPEN, ATTACKED)]


if __name__ == "__main__":
    clients(int(sys.argv[1]), sys.argv[2])
