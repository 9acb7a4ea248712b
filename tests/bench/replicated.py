# SPDX-License-Identifier: ISC
"""splitrelay with its queue in PostgreSQL, with a synchronous standby on the same machine and every commit on both disks: the relay's
throughput, two nodes at one queue, a long backlog, and the size of the tables while copies come and go."""

import os
import re
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import rig  # noqa: E402
from measure import RELAYED, Table, Target, processor_seconds, relay_tables  # noqa: E402
from rig.daemons import children  # noqa: E402
from rig.node import Node  # noqa: E402

SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "4GB", "autovacuum_naptime": "10s"}
MORE = "max_connections = 500"
ONE, TWO = "one node", "two nodes"
TABLES = ("message", "body", "copy", "recipient")


class Site:
    """Two servers, and nodes that deliver to one smtp-sink."""

    def __init__(self, r):
        self.r = r
        self.servers = rig.postgres_pair(r, is_durable=True, settings=SETTINGS)
        self.sink = rig.SmtpSink(r, "archive")
        self.databases = 0

    def database(self):
        """The URI of a new database."""
        self.databases += 1
        return self.servers[0].create_database(f"q{self.databases}")

    def node(self, name, uri):
        node = Node(self.r, name, uri, self.sink, more=MORE, destination="concurrency = 20", start=False)
        rig.queue.use(node.spool, uri, more="")
        return node

    def server_seconds(self):
        """The processor time of both servers so far. That of backends that have ended is counted by their postmaster."""
        pids = [pid for s in self.servers for pid in (s.daemon.pid, *children(s.daemon.pid))]
        return sum(seconds(pid) for pid in pids)


def seconds(pid):
    try:
        return processor_seconds(pid)
    except (OSError, IndexError):
        return 0.0


def machine_seconds():
    """(busy, idle) processor time of the machine."""
    with open("/proc/stat", encoding="ascii") as f:
        fields = [int(x) / os.sysconf("SC_CLK_TCK") for x in f.readline().split()[1:9]]
    return sum(fields) - fields[3] - fields[4], fields[3] + fields[4]


def wait_delivered(nodes, count, limit=600):
    """Wait until the nodes have sent so many copies altogether."""
    logs = [open(n.daemon.log_path, "rb") for n in nodes]  # noqa: SIM115
    sent, end = 0, time.monotonic() + limit
    rest = [b""] * len(logs)
    while sent < count:
        for i, log in enumerate(logs):
            *lines, rest[i] = (rest[i] + log.read()).split(b"\n")
            sent += sum(b"status=sent" in line for line in lines)
        if time.monotonic() > end:
            raise rig.Failure(f"only {sent} of {count} copies within {limit} s")
        time.sleep(0.005)
    for log in logs:
        log.close()


def drain(s, names, count, size):
    """Copies per second that these nodes deliver of one queue, and what kept the processors busy."""
    uri = s.database()
    nodes = [s.node(f"{name}{s.databases}", uri) for name in names]
    rig.queue.fill(nodes[0].spool, count, size)
    os.sync()
    for node in nodes:
        node.start(is_awaited=False)
    before, servers, start = machine_seconds(), s.server_seconds(), time.monotonic()
    wait_delivered(nodes, count)
    rate = count / (time.monotonic() - start)
    busy, idle = (b - a for a, b in zip(before, machine_seconds()))
    own = sum(seconds(n.daemon.pid) for n in nodes)
    figures = {"splitrelay": own, "PostgreSQL": s.server_seconds() - servers, "all": busy, "idle": idle}
    for node in nodes:
        node.stop()
    return rate, {name: value / count * 1e6 for name, value in figures.items()}


def bench_nodes(s, options):
    """One node and two, in turn, drain a queue of so many copies."""
    count = options.drain // 4
    table = Table(f"Draining {count} copies of one queue in PostgreSQL", ONE)
    used = {ONE: [], TWO: []}
    for number in range(min(options.rounds, 3)):
        for name, nodes in sorted({ONE: ("a",), TWO: ("a", "b")}.items(), reverse=number % 2 == 1):
            rate, figures = drain(s, nodes, count, options.size)
            table.add(name, rate)
            used[name].append(figures)
    table.rates = {name: table.rates[name] for name in (ONE, TWO)}
    table.show()
    for name, found in used.items():
        text = ", ".join(f"{what} {statistics.median(f[what] for f in found):.0f}" for what in found[0])
        print(f"  processor time, us a copy, {name}: {text}")
    return Target("two nodes take from one queue / one node", table.ratio(TWO, ONE), 1.3)


def bench_long(s, options):
    """A start with very many copies queued."""
    uri = s.database()
    node = s.node("backlog", uri)
    print(f"\nStart with {options.backlog} copies queued in PostgreSQL")
    rig.queue.fill(node.spool, options.backlog, 1000)
    start = time.monotonic()
    node.start(is_awaited=False)
    wait_delivered([node], 1, 60)
    first = time.monotonic() - start
    wait_delivered([node], min(options.backlog // 4, 20000))
    rss = node.daemon.rss_kb(peak=True) / 1024
    print(f"  first delivery {first:.3f} s after the start; memory at most {rss:.1f} MB")
    node.stop()
    return Target("memory with a backlog in PostgreSQL, MB", rss, 64, at_most=True)


class Sizes:
    """Watches the sizes of the tables, with their indexes, while a program runs."""

    def __init__(self, uri):
        self.uri, self.seen, self.is_over = uri, [], threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        sql = ", ".join(f"pg_total_relation_size('{t}')" for t in TABLES)
        while not self.is_over.wait(1):
            try:
                self.seen.append(rig.libpq.execute(self.uri, f"SELECT {sql}")[0])
            except rig.libpq.SqlError:
                continue

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_exc):
        self.is_over.set()
        self.thread.join(20)


def bench_churn(s, options):
    """The queue by itself (queue_bench.c): next with a backlog, and tables that do not grow while copies come and go."""
    uri = s.database()
    directory = s.r.path("churn")
    os.mkdir(directory, 0o700)
    print(f"\nThe queue by itself in PostgreSQL: {options.drain} copies wait, {options.churn} come and go")
    queued = re.compile(r"(?m)^\d+ copies queued")
    argv = [rig.program("queue_bench"), directory, str(options.drain), "20", uri, str(options.churn)]
    steady, text = None, ""
    with Sizes(uri) as sizes, subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout:
            print(f"  {line}", end="")
            text += line
            if queued.match(line):
                steady = len(sizes.seen)
            if "came and went" in line:
                grown = len(sizes.seen)
    if running.returncode != 0:
        raise rig.Failure(f"queue_bench: exit {running.returncode}")
    targets = []
    found = re.search(r"one thread took \d+: ([\d.]+) ms for each", text)
    targets.append(Target("next and done with a backlog in PostgreSQL, ms", float(found[1]), 5, at_most=True))
    if options.churn and grown > steady > 0:
        settled = steady + (grown - steady) // 4  # by then each row has been replaced, if enough copies come and go
        growth = {t: max(x[i] for x in sizes.seen[settled:grown]) / sizes.seen[settled][i] for i, t in enumerate(TABLES)}
        first = {t: sizes.seen[settled][i] / sizes.seen[steady - 1][i] for i, t in enumerate(TABLES)}
        print("  sizes after a quarter of that time / before: " + ", ".join(f"{t} {x:.2f}" for t, x in first.items()))
        print("  largest sizes later / after that quarter: " + ", ".join(f"{t} {x:.2f}" for t, x in growth.items()))
        targets.append(Target("largest growth of a table in steady use", max(growth.values()), 2, at_most=True))
    return targets


def bench_replicated(r, options):
    try:
        s = Site(r)
    except rig.Skip as e:
        print(f"SKIP PostgreSQL: {e}")
        return []
    node = s.node("relay", s.database())
    try:
        node.start()
    except rig.Skip as e:
        print(f"SKIP splitrelay: {e}")
        return []
    tables = relay_tables(options, node.daemon, node.address, s.sink, " with PostgreSQL")
    node.stop()
    targets = [Target(f"{t.title} / directly", t.ratio(RELAYED, "directly"), 0.20) for t in tables]
    return [*targets, bench_nodes(s, options), bench_long(s, options), *bench_churn(s, options)]
