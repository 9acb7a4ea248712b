#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""./dev bench: the cost of splitmilter for a front Postfix, and the throughput of splitrelay, as ratios within one run.

Rates depend on the machine; ratios of candidates that are measured in turn depend on it much less. Each round measures every
candidate once; a ratio is the median over the rounds of (candidate / baseline of the same round).
"""

import argparse
import os
import socket
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import rig  # noqa: E402
from rig.daemons import accepts, build_directory  # noqa: E402
from backlog import bench_backlog, bench_drain, bench_starvation  # noqa: E402
from page import bench_page  # noqa: E402
from measure import RELAYED, Syncs, Table, Target, relay_configuration, relay_tables, wait_sent  # noqa: E402
from replicated import bench_replicated  # noqa: E402
from size import bench_size  # noqa: E402
from sql import bench_sql  # noqa: E402
from store import bench_store  # noqa: E402
from whole import bench_whole  # noqa: E402

TURNS = 3  # for each candidate of the front in a round
KNOWN, UNKNOWN, COPIED = "u99999@example.com", "nobody@example.net", "c99999@example.com"


def usable(directory):
    """Can Postfix's own user enter the directory, and are the names of unix sockets below it short enough?"""
    path = os.path.abspath(directory)
    if len(path) > 50:
        return False
    while path != "/":
        if not os.stat(path).st_mode & 0o001:
            return False
        path = os.path.dirname(path)
    return True


def file_system(directory):
    """The type of the directory's file system."""
    best, kind = "", "?"
    path = os.path.realpath(directory)
    with open("/proc/self/mounts", encoding="utf-8") as f:
        for line in f:
            words = line.split()
            point = words[1].rstrip("/")
            if (path + "/").startswith(point + "/") and len(point) >= len(best):
                best, kind = point, words[2]
    return kind


def working_directory(directory=None):
    """Where spools are: the build directory, which is on the disk of the checkout; /var/tmp if that cannot be used."""
    directory = directory or build_directory()
    if not usable(directory):
        print(f"({directory} is closed to the user postfix, or its name is too long; using /var/tmp)")
        directory = "/var/tmp"
    kind = file_system(directory)
    print(f"spools on {kind} in {directory}, {os.cpu_count()} processors")
    if kind == "tmpfs":
        print("WARNING: a tmpfs is no disk: syncs cost nothing here")
    if os.getloadavg()[0] > os.cpu_count() / 2:
        print(f"WARNING: load average {os.getloadavg()[0]:.1f} at the start: others work here, the ratios will scatter")
    return directory


class Front:
    """One Postfix that delivers to discard, with one smtpd(8) service per candidate."""

    def __init__(self, r, options):
        self.r = r
        self.options = options
        self.candidates = []  # (name, port, recipient)
        self.services = ""
        self.instance = None
        self.main = {
            "default_transport": "discard:",
            "relay_transport": "discard:",
            "relay_domains": "example.com example.net",
            "receive_override_options": "no_address_mappings",
            "milter_default_action": "tempfail",
        }

    def add(self, name, milter, recipients, smtpd_options=""):
        port = self.r.free_port()
        setting = (f" -o smtpd_milters={milter}" if milter else "") + smtpd_options
        self.services += f"127.0.0.1:{port} inet n - n - - smtpd{setting}\n"
        for suffix, recipient in recipients:
            self.candidates.append((name + suffix, port, recipient))

    def add_noop(self, program, kind, suffix=None):
        daemon_name = f"{program}-{kind}" + ("-change" if suffix else "")
        if kind == "unix":
            address = self.r.path(f"{daemon_name}.sock")
            text, setting = f"unix:{address}", f"unix:{address}"
        else:
            address = ("127.0.0.1", self.r.free_port())
            text, setting = f"inet:{address[1]}@127.0.0.1", f"inet:127.0.0.1:{address[1]}"
        daemon = rig.Daemon(self.r, daemon_name, [rig.program(program), text] + ([suffix] if suffix else []))
        daemon.start(lambda: accepts(address))
        if kind == "unix":
            os.chmod(address, 0o666)
        if suffix:
            self.add(f"changing a recipient without deciding, {kind}", setting, [("", KNOWN)])
        else:
            self.add(f"{'ordinary' if program == 'noop_all' else 'envelope-only'} no-op milter, {kind}", setting, [("", UNKNOWN)])

    def add_splitmilter(self, kind, configuration):
        if kind == "unix":
            address = self.r.path("splitmilter.sock")
            text, setting = f"unix:{address}", f"unix:{address}"
        else:
            address = ("127.0.0.1", self.r.free_port())
            text, setting = f"inet:{address[1]}@127.0.0.1", f"inet:127.0.0.1:{address[1]}"
        rig.start_splitmilter(self.r, configuration.replace("@SOCKET@", text), address, name=f"splitmilter-{kind}")
        self.add(f"splitmilter, {kind}", setting, [(", no table matches", UNKNOWN), (", filter", KNOWN), (", filter and copy", COPIED)])

    def start(self):
        self.instance = rig.Postfix(self.r, "front", self.main, services=self.services)
        self.instance.start()

    def measure(self, title, flags):
        """Measure in many short turns, each in another order, so that other load on the machine affects all candidates alike."""
        table = Table(title, self.candidates[0][0])
        table.rates = {name: [] for name, _, _ in self.candidates}
        for number in range(self.options.rounds * TURNS + 1):
            turn = number % len(self.candidates)
            for name, port, recipient in self.candidates[turn:] + self.candidates[:turn]:
                count = max(50, self.options.messages // (TURNS if number else 20))
                seconds = rig.smtp_source(
                    ("127.0.0.1", port), count, self.options.sessions, self.options.size, recipient=recipient, flags=flags
                )
                self.instance.wait_empty(120)
                if number:  # round 0 is a warm-up
                    table.add(name, count / seconds)
        return table


def split_configuration(r, lines):
    """Write tables with `lines` lines each. Returns the configuration that uses them; @SOCKET@ stands for the socket."""
    filters = r.write("filter", "".join(f"u{i}@example.com secondary\nc{i}@example.com secondary\n" for i in range(lines // 2, lines)))
    copies = r.write("copy", "".join(f"c{i}@example.com archive\n" for i in range(lines)))
    canonical = r.write("canonical", "".join(f"old{i}@example.com new{i}@example.com\n" for i in range(lines)))
    return f"""\
log {{ target = "stderr" }}
milter {{
    socket = "@SOCKET@"
    socket_group = "postfix"
    canonical_maps = {{ "texthash:{canonical}" }}
    filter_maps = {{ "texthash:{filters}" }}
    copy_maps = {{ "texthash:{copies}" }}
}}
filter secondary {{ nexthop = "smtp:[127.0.0.1]:9" }}
destination archive {{ relay_to = {{ "[127.0.0.1]:9" }} }}
"""


def bench_front(r, options):
    front = Front(r, options)
    front.add("no milter", None, [("", UNKNOWN)])
    front.add_noop("noop_all", "unix")
    front.add_noop("noop_envelope", "unix")
    front.add_noop("noop_envelope", "inet")
    front.add_noop("noop_envelope", "unix", suffix=".secondary.filter.split.invalid")
    try:
        configuration = split_configuration(r, options.lines)
        for kind in ("unix", "inet"):
            front.add_splitmilter(kind, configuration)
    except rig.Skip as e:
        print(f"SKIP splitmilter: {e}")
    front.start()
    tables = []
    for title, flags in (("a new connection per message", ()), ("connections kept", ("-d",))):
        tables.append(front.measure(f"Front Postfix, accept rate, {title}", flags))
        tables[-1].show()
    return tables


def bench_table_size(r, options):
    bench_size(r, options, Front(r, options), Table)


def bench_tables(r, options):
    return bench_sql(r, options, Front(r, options))


def bench_relay(r, options):
    sink = rig.SmtpSink(r, "archive")
    address = ("127.0.0.1", r.free_port())
    os.mkdir(r.path("spool"), 0o700)
    try:
        relay = rig.start_splitrelay(r, relay_configuration(r, address, sink.address), address)
    except rig.Skip as e:
        print(f"SKIP splitrelay: {e}")
        return []
    return relay_tables(options, relay, address, sink)


def bench_duplicator(r, options):
    """Measure smtp-source to smtp-sink, directly and through a listener with one backup, until both sinks have all mail; and the
    wait for the final reply, compared with the primary alone."""
    primary, backup = rig.SmtpSink(r, "primary"), rig.SmtpSink(r, "backup")
    address, spare = ("127.0.0.1", r.free_port()), ("127.0.0.1", r.free_port())
    os.mkdir(r.path("spool"), 0o700)
    text = relay_configuration(r, spare, backup.address) + (
        f'listener bench {{ listen = {{ "inet:{address[1]}@127.0.0.1" }} primary = {{ "{primary.bracketed}" }} copies = {{ "archive" }} }}\n'
    )
    try:
        relay = rig.start_splitrelay(r, text, address)
    except rig.Skip as e:
        print(f"SKIP splitrelay: {e}")
        return []
    tables = []
    with open(relay.log_path, "rb") as log:
        for title, flags in (("a new connection per message", ()), ("connections kept", ("-d",))):
            table = Table(f"Duplicator, smtp-source to smtp-sink, {title}", "directly")
            for number in range(options.rounds + 1):
                count = options.copies if number else options.copies // 10
                direct = rig.smtp_source(primary.address, count, options.relay_sessions, options.size, flags=flags)
                log.seek(0, os.SEEK_END)
                start = time.monotonic()
                rig.smtp_source(address, count, options.relay_sessions, options.size, flags=flags)
                wait_sent(log, 2 * count)  # a line for the primary, a line for the copy
                duplicated = time.monotonic() - start
                if number:  # round 0 is a warm-up
                    table.add("directly", count / direct)
                    table.add(DUPLICATED, count / duplicated)
            table.show()
            tables.append(table)
    show_latency(r, primary.address, address)
    return [*tables, *count_syncs(r, relay, address)]


DUPLICATED = "to primary and backup, until the last is there"


def wait_for_reply(c):
    """The milliseconds from the final dot to its reply."""
    c.mail("s@sender.test")
    c.rcpt("r@example.com")
    c.cmd("DATA")
    c.write(b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n")
    time.sleep(0.001)
    start = time.monotonic()
    c.write(b".\r\n")
    c.read()
    return (time.monotonic() - start) * 1000


def sync_once(r, number):
    """The milliseconds for a new file of 4 kB and its sync."""
    start = time.monotonic()
    fd = os.open(r.path(f"sync{number}"), os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(fd, bytes(4096))
    os.fdatasync(fd)
    os.close(fd)
    return (time.monotonic() - start) * 1000


def show_latency(r, primary, listener):
    """Print the time of the primary alone, of a sync, and of the listener, for one message at a time. The three are measured in
    turn, because the time of a sync changes from second to second."""
    waits = {"alone": [], "through": [], "sync": []}
    with rig.SmtpClient(primary) as direct, rig.SmtpClient(listener) as client:
        for c in (direct, client):
            c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(300):
            waits["alone"].append(wait_for_reply(direct))
            waits["through"].append(wait_for_reply(client))
            waits["sync"].append(sync_once(r, number))
    alone, through, sync = (statistics.median(waits[what]) for what in ("alone", "through", "sync"))
    print(f"  final reply after: primary alone {alone:.2f} ms, through the listener {through:.2f} ms; one sync {sync:.2f} ms")
    print(f"  added: the time of {(through - alone) / sync:.2f} syncs")


def count_syncs(r, relay, listener, count=200):
    """What splitrelay syncs while messages come one at a time: those of outcomes and checkpoints, which no client waits for, count, too."""
    try:
        rig.need_tools("strace")
    except rig.Skip as e:
        print(f"SKIP syncs: {e}")
        return []
    with rig.SmtpClient(listener) as client, Syncs(r, relay.pid) as syncs:
        for _ in range(count):
            wait_for_reply(client)
    return [Target("syncs for each message through the listener, one at a time", syncs.count / count, 1.4, at_most=True)]


def bench_memory(r, options):
    """Measure the resident memory of splitrelay: at start, with many copies queued, and after a message of 50 MB."""
    address = ("127.0.0.1", r.free_port())
    os.mkdir(r.path("spool"), 0o700)
    nowhere = ("127.0.0.1", r.free_port())
    try:
        relay = rig.start_splitrelay(r, relay_configuration(r, address, nowhere), address)
    except rig.Skip as e:
        print(f"SKIP splitrelay: {e}")
        return
    recipient = "r@example.com.archive.copy.split.invalid"
    print("\nsplitrelay's resident memory")
    print(f"  {'at start':44} {relay.rss_kb():>8} kB")
    for share in (0.1, 0.9):
        rig.smtp_source(address, int(options.queued * share), 20, 1000, recipient=recipient, flags=("-d",))
        label = f"{int(options.queued * (0.1 if share == 0.1 else 1))} copies queued"
        print(f"  {label:44} {relay.rss_kb():>8} kB")
    rig.smtp_source(address, 1, 1, 49 * 1024 * 1024, recipient=recipient)
    print(f"  {'and a message of 49 MB':44} {relay.rss_kb():>8} kB")


def judge(name, value, bound, strictly=False):
    if value is None:
        print(f"  SKIP     {name}")
        return True
    met = value > bound if strictly else value >= bound
    print(f"  {'met    ' if met else 'NOT met'}  {name}: {value:.2f} (at least {bound:.2f})")
    return met


def judge_all(results):
    """Print the targets and their figures. True: all are met."""
    print("\nTargets")
    met = True
    tables = {name: [x for x in found if isinstance(x, Table)] for name, found in results.items()}
    for table in tables.get("front", []):
        how = table.title.rsplit(", ", 1)[1]
        for kind in ("unix", "inet"):
            for what in ("no table matches", "filter"):
                name = f"splitmilter, {kind}, {what}"
                value = table.ratio(name, f"envelope-only no-op milter, {kind}")
                met &= judge(f"{name} / envelope-only no-op, {how}", value, 0.95)
        value = table.ratio("splitmilter, unix, no table matches", "ordinary no-op milter, unix")
        met &= judge(f"splitmilter, unix / ordinary no-op, {how}", value, 1.0, strictly=True)
        for what in ("no table matches", "filter"):
            value = table.ratio(f"splitmilter, inet, {what}", f"splitmilter, unix, {what}")
            met &= judge(f"splitmilter, inet / unix, {what}, {how}", value, 0.9)
    for part, name, bounds in (("relay", RELAYED, (0.55, 0.45)), ("duplicator", DUPLICATED, (0.42, 0.30))):
        for table, bound in zip(tables.get(part, []), bounds):
            how = table.title.rsplit(", ", 1)[1]
            met &= judge(f"{part} / directly, {how}", table.ratio(name, "directly"), bound)
    for found in results.values():
        for target in found:
            if isinstance(target, Target):
                met &= target.judge()
    return met


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds (7)")
    parser.add_argument("--messages", type=int, default=1500, help="messages per round and candidate at the front, in three turns (1500)")
    parser.add_argument("--copies", type=int, default=10000, help="messages per round through splitrelay (10000)")
    parser.add_argument("--size", type=int, default=4096, help="bytes of a message (4096)")
    parser.add_argument("--sessions", type=int, default=10, help="connections to the front at once (10)")
    parser.add_argument("--relay-sessions", type=int, default=20, help="connections to splitrelay at once (20)")
    parser.add_argument("--lines", type=int, default=100000, help="lines of each table (100000)")
    parser.add_argument("--size-lines", type=int, default=1000000, help="lines of the large table that is compared with a small one (1000000)")
    parser.add_argument("--queued", type=int, default=100000, help="copies queued for the memory figures (100000)")
    parser.add_argument("--backlog", type=int, default=1000000, help="copies queued at a start; 2 GB of disk (1000000)")
    parser.add_argument("--drain", type=int, default=100000, help="copies that splitrelay, and Postfix, have to drain (100000)")
    parser.add_argument("--directory", help="where spools and Postfix queues are, such as another file system (the build directory)")
    parser.add_argument("--only", choices=("front", "size", "relay", "duplicator", "whole", "store", "memory", "backlog", "drain", "starvation", "replicated", "sql", "page"), help="one part alone")
    parser.add_argument("--churn", type=int, default=100000, help="copies that come and go in PostgreSQL while others wait (100000)")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is not met")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    try:
        rig.need_root()
        rig.need_tools("postfix", "smtp-source", "smtp-sink")
    except rig.Skip as e:
        sys.exit(f"cannot run: {e}")
    parts = {"front": bench_front, "size": bench_table_size, "relay": bench_relay, "duplicator": bench_duplicator, "memory": bench_memory}
    parts.update(whole=bench_whole, store=bench_store, backlog=bench_backlog, drain=bench_drain, starvation=bench_starvation)
    parts.update(replicated=bench_replicated, sql=bench_tables, page=bench_page)
    session = rig.Session("bench", working_directory(options.directory))
    results = {}
    status = 0
    try:
        for name, function in parts.items():
            if options.only in (None, name):
                r = rig.Rig(session, name)
                try:
                    results[name] = function(r, options) or []
                finally:
                    for text in r.close():
                        print(text)
                        status = 1
        if not judge_all(results) and options.check:
            status = 1
    finally:
        session.close()
    sys.exit(status)


if __name__ == "__main__":
    main()
