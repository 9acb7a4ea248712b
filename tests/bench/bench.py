#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""./dev bench: the cost of splitmilter for a front Postfix, and the throughput of splitrelay, as ratios within one run.

Rates depend on the machine; ratios of candidates that are measured in turn depend on it much less. Each round measures every
candidate once; a ratio is the median over the rounds of (candidate / baseline of the same round).
"""

import argparse
import dataclasses
import os
import socket
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import rig  # noqa: E402
from rig.daemons import accepts, build_directory  # noqa: E402
from size import bench_size  # noqa: E402

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


def working_directory():
    """The build directory, so that spools are on the disk of the checkout; /var/tmp if that cannot be used."""
    directory = build_directory()
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


class Table:
    """The rates per candidate and round, and their output."""

    def __init__(self, title, baseline):
        self.title = title
        self.baseline = baseline
        self.rates = {}

    def add(self, name, rate):
        self.rates.setdefault(name, []).append(rate)

    def ratio(self, name, to):
        """The median of the ratios over the rounds; None if one of the two was not measured."""
        if name not in self.rates or to not in self.rates:
            return None
        return statistics.median(a / b for a, b in zip(self.rates[name], self.rates[to]))

    def show(self):
        print(f"\n{self.title}")
        print(f"  {'':44} {'ratio':>6} {'per second':>11}  (lowest to highest)")
        for name, rates in self.rates.items():
            ratio = self.ratio(name, self.baseline)
            spread = f"({min(rates):.0f} to {max(rates):.0f})"
            print(f"  {name:44} {ratio:6.2f} {statistics.median(rates):11.0f}  {spread}")


class Front:
    """One Postfix that delivers to discard, with one smtpd(8) service per candidate."""

    def __init__(self, r, options):
        self.r = r
        self.options = options
        self.candidates = []  # (name, port, recipient)
        self.services = ""
        self.instance = None

    def add(self, name, milter, recipients):
        port = self.r.free_port()
        setting = f" -o smtpd_milters={milter}" if milter else ""
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
        self.instance = rig.Postfix(
            self.r,
            "front",
            {
                "default_transport": "discard:",
                "relay_transport": "discard:",
                "relay_domains": "example.com example.net",
                "receive_override_options": "no_address_mappings",
                "milter_default_action": "tempfail",
            },
            services=self.services,
        )
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


def relay_configuration(r, address, sink, more=""):
    return f"""\
log {{ target = "stderr" }}
relay {{
    listen = {{ "inet:{address[1]}@127.0.0.1" }}
    hostname = "relay.test"
    spool_directory = "{r.path('spool')}"
    max_connections = 500
    min_free_space = "1M"
}}
destination archive {{
    relay_to = {{ "[127.0.0.1]:{sink[1]}" }}
    concurrency = 20
    {more}
}}
"""


def wait_sent(log, count, seconds=300):
    """Read the log from its present position, until it has `count` lines with status=sent."""
    seen, rest, end = 0, b"", time.monotonic() + seconds
    while True:
        chunk = rest + log.read()
        seen += chunk.count(b"status=sent")
        rest = chunk[-len(b"status=sen"):]
        if seen >= count:
            return
        if time.monotonic() > end:
            raise rig.Failure(f"only {seen} of {count} copies were sent within {seconds} s")
        time.sleep(0.005)


def processor_seconds(pid):
    """The processor time of the process, in user and in kernel mode (proc_pid_stat(5))."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bench_relay(r, options):
    sink = rig.SmtpSink(r, "archive")
    address = ("127.0.0.1", r.free_port())
    os.mkdir(r.path("spool"), 0o700)
    try:
        relay = rig.start_splitrelay(r, relay_configuration(r, address, sink.address), address)
    except rig.Skip as e:
        print(f"SKIP splitrelay: {e}")
        return []
    recipient = "r@example.com.archive.copy.split.invalid"
    sessions, size = options.relay_sessions, options.size
    tables = []
    with open(relay.log_path, "rb") as log:
        for title, flags in (("a new connection per message", ()), ("connections kept", ("-d",))):
            table = Table(f"smtp-source to smtp-sink, {title}", "directly")
            costs = []
            for number in range(options.rounds + 1):
                count = options.copies if number else options.copies // 10
                used = processor_seconds(relay.pid)
                direct = rig.smtp_source(sink.address, count, sessions, size, recipient=recipient, flags=flags)
                log.seek(0, os.SEEK_END)
                start = time.monotonic()
                rig.smtp_source(address, count, sessions, size, recipient=recipient, flags=flags)
                wait_sent(log, count)
                relayed = time.monotonic() - start
                if number:  # round 0 is a warm-up
                    table.add("directly", count / direct)
                    table.add("through splitrelay, until the last is sent", count / relayed)
                    costs.append((processor_seconds(relay.pid) - used) / count * 1e6)
            table.show()
            print(f"  processor time of splitrelay, us a message     {statistics.median(costs):.0f}  ({min(costs):.0f} to {max(costs):.0f})")
            tables.append(table)
    return tables


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
    return tables


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
    print(f"  added: {(through - alone) / sync:.2f} syncs (the target is below 2)")


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


def wait_line(log, text, seconds=300):
    """Read the log from its present position, until it has this text."""
    rest, end = b"", time.monotonic() + seconds
    while text not in rest:
        rest = rest[-len(text):] + log.read()
        if time.monotonic() > end:
            raise rig.Failure(f"no {text!r} in the log within {seconds} s")
        time.sleep(0.002)


def fill_spool(r, count, size):
    print(f"  (filling a spool with {count} copies of {size} bytes)")
    rig.queue.fill(r.path("spool"), count, size)
    os.sync()


def bench_backlog(r, options):
    """A start with very many copies queued: time to the first delivery, memory then and while they are delivered."""
    sink = rig.SmtpSink(r, "archive")
    address = ("127.0.0.1", r.free_port())
    print(f"\nStart with {options.backlog} copies queued")
    try:
        fill_spool(r, options.backlog, 1000)
        start = time.monotonic()
        relay = rig.start_splitrelay(r, relay_configuration(r, address, sink.address), address)
    except rig.Skip as e:
        print(f"SKIP splitrelay: {e}")
        return []
    with open(relay.log_path, "rb") as log:
        wait_line(log, b"status=sent")
        first = time.monotonic() - start
        print(f"  first delivery {first:.2f} s after the start, {relay.rss_kb()} kB")
        wait_sent(log, min(options.backlog, 20000) - 100)
    rss = relay.rss_kb(peak=True) / 1024
    print(f"  {'at most, until 20,000 were delivered':44} {rss:.1f} MB")
    relay.kill()
    return [Target("memory in MB", rss, 64, at_most=True), Target("first delivery in s", first, 0.1, at_most=True)]


def drain_splitrelay(r, options, sink):
    """The copies per second that splitrelay delivers of a full spool."""
    address = ("127.0.0.1", r.free_port())
    fill_spool(r, options.drain, options.size)
    start = time.monotonic()
    relay = rig.start_splitrelay(r, relay_configuration(r, address, sink.address), address)
    with open(relay.log_path, "rb") as log:
        wait_sent(log, options.drain, 1800)
    return options.drain / (time.monotonic() - start)


def drain_postfix(r, options, sink):
    """The messages per second that Postfix with default settings delivers of a queue that was held, to the same sink."""
    as_it_comes = {"in_flow_delay": "1s", "queue_run_delay": "300s", "minimal_backoff_time": "300s", "maximal_backoff_time": "4000s"}
    hold = {"in_flow_delay": "0", "smtpd_recipient_restrictions": "static:HOLD, permit_mynetworks, reject"}
    postfix = rig.Postfix(r, "drain", {"relayhost": sink.bracketed, **as_it_comes, **hold})
    postfix.start()
    print(f"  (filling the queue of a Postfix with {options.drain} messages)")
    rig.smtp_source(postfix.address, options.drain, 20, options.size, flags=("-d",), seconds=1800)
    postfix.set(**as_it_comes, smtpd_recipient_restrictions="")
    postfix.reload()
    with open(postfix.maillog, "rb") as log:
        log.seek(0, os.SEEK_END)
        postfix.run("postsuper", "-H", "ALL")
        start = time.monotonic()  # what it delivered before is counted in its favour
        postfix.flush()
        wait_sent(log, options.drain, 1800)
    rate = options.drain / (time.monotonic() - start)
    postfix.stop()
    return rate


def bench_drain(r, options):
    """Measure the delivery of the same backlog to the same smtp-sink by splitrelay and by Postfix."""
    sink = rig.SmtpSink(r, "archive")
    print(f"\nDraining {options.drain} queued copies")
    try:
        own = drain_splitrelay(r, options, sink)
    except rig.Skip as e:
        print(f"SKIP splitrelay: {e}")
        return []
    print(f"  {'splitrelay':44} {own:8.0f} per second")
    other = drain_postfix(r, options, sink)
    print(f"  {'Postfix, default settings':44} {other:8.0f} per second")
    return [Target("draining a backlog, splitrelay / Postfix", own / other, 3)]


class Ten:
    """splitrelay with ten destinations. The last one works, or accepts connections and never sends a byte."""

    def __init__(self, r, name, sink, is_well):
        self.silent = socket.create_server(("127.0.0.1", 0), backlog=500)
        self.address = ("127.0.0.1", r.free_port())
        os.mkdir(r.path(f"spool-{name}"), 0o700)
        last = sink.address[1] if is_well else self.silent.getsockname()[1]
        text = (
            'log { target = "stderr" }\n'
            f'relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" min_free_space = "1M"\n'
            f'spool_directory = "{r.path(f"spool-{name}")}" }}\n'
        ) + "".join(f'destination d{i} {{ relay_to = {{ "[127.0.0.1]:{last if i == 9 else sink.address[1]}" }} }}\n' for i in range(10))
        relay = rig.start_splitrelay(r, text, self.address, name=f"splitrelay-{name}")
        self.log = open(relay.log_path, "rb")  # noqa: SIM115
        r.on_close(self.log.close)
        r.on_close(self.silent.close)

    def send(self, count):
        with rig.SmtpClient(self.address) as c:
            commands = "".join(f"RCPT TO:<a@example.com.d{i}.copy.split.invalid>\r\n" for i in range(10))
            for _ in range(count):
                c.write(f"MAIL FROM:<s@sender.test>\r\n{commands}DATA\r\n")
                for _ in range(12):
                    c.read()
                c.write(b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n.\r\n")
                c.read()

    def rate(self, count):
        """The copies per second to the other nine, for messages over four connections."""
        self.log.seek(0, os.SEEK_END)
        start, seen, rest = time.monotonic(), 0, b""
        senders = [threading.Thread(target=self.send, args=(count // 4,)) for _ in range(4)]
        for sender in senders:
            sender.start()
        while seen < count // 4 * 4 * 9:
            *lines, rest = (rest + self.log.read()).split(b"\n")
            seen += sum(b"status=sent" in line and b"dest=d9," not in line for line in lines)
            time.sleep(0.005)
            if time.monotonic() > start + 300:
                raise rig.Failure(f"only {seen} copies within 300 s")
        for sender in senders:
            sender.join()
        return seen / (time.monotonic() - start)


def bench_starvation(r, options):
    """Measure how much a destination that hangs slows nine others down."""
    sink = rig.SmtpSink(r, "nine")
    try:
        ten = {"all ten are well": Ten(r, "well", sink, True), "the tenth hangs": Ten(r, "sick", sink, False)}
    except rig.Skip as e:
        print(f"SKIP splitrelay: {e}")
        return []
    table = Table("Nine destinations", "all ten are well")
    for number in range(options.rounds + 1):
        for name, relay in sorted(ten.items(), reverse=number % 2 == 1):
            rate = relay.rate(1000 if number else 200)
            if number:  # round 0 is a warm-up
                table.add(name, rate)
    table.show()
    return [Target("nine destinations while the tenth hangs / while it is well", table.ratio("the tenth hangs", table.baseline), 0.9)]


@dataclasses.dataclass
class Target:
    """One figure and its bound."""

    name: str
    value: float
    bound: float
    at_most: bool = False

    def judge(self):
        met = self.value <= self.bound if self.at_most else self.value >= self.bound
        print(f"  {'met    ' if met else 'NOT met'}  {self.name}: {self.value:.2f} (at {'most' if self.at_most else 'least'} {self.bound:.2f})")
        return met


def judge(name, value, bound, strictly=False):
    if value is None:
        print(f"  SKIP     {name}")
        return True
    met = value > bound if strictly else value >= bound
    print(f"  {'met    ' if met else 'NOT met'}  {name}: {value:.2f} (at least {bound:.2f})")
    return met


def judge_all(front, relay, duplicator, targets):
    """Print the targets and their figures. True: all are met."""
    print("\nTargets")
    met = True
    for table in front:
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
    for table in relay:
        how = table.title.rsplit(", ", 1)[1]
        value = table.ratio("through splitrelay, until the last is sent", "directly")
        met &= judge(f"splitrelay / directly, {how}", value, 0.40)
    for table in duplicator:
        how = table.title.rsplit(", ", 1)[1]
        met &= judge(f"duplicator / directly, {how}", table.ratio(DUPLICATED, "directly"), 0.25)
    for target in targets:
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
    parser.add_argument("--backlog", type=int, default=1000000, help="copies queued at a start; 4 GB of disk (1000000)")
    parser.add_argument("--drain", type=int, default=100000, help="copies that splitrelay, and Postfix, have to drain (100000)")
    parser.add_argument("--only", choices=("front", "size", "relay", "duplicator", "memory", "backlog", "drain", "starvation"), help="one part alone")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is not met")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    try:
        rig.need_root()
        rig.need_tools("postfix", "smtp-source", "smtp-sink")
    except rig.Skip as e:
        sys.exit(f"cannot run: {e}")
    parts = {"front": bench_front, "size": bench_table_size, "relay": bench_relay, "duplicator": bench_duplicator, "memory": bench_memory}
    parts.update(backlog=bench_backlog, drain=bench_drain, starvation=bench_starvation)
    session = rig.Session("bench", working_directory())
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
        targets = results.get("backlog", []) + results.get("drain", []) + results.get("starvation", [])
        if not judge_all(results.get("front", []), results.get("relay", []), results.get("duplicator", []), targets) and options.check:
            status = 1
    finally:
        session.close()
    sys.exit(status)


if __name__ == "__main__":
    main()
