# SPDX-License-Identifier: ISC
"""What the parts of ./dev bench share: rates and their ratios, targets, waiting for lines of logs, processor time."""

import dataclasses
import glob
import os
import statistics
import time

import rig


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


RELAYED = "through splitrelay, until the last is sent"


def relay_tables(options, relay, address, sink, what=""):
    """Measure smtp-source to smtp-sink, directly and through splitrelay, until the last copy is sent. Two tables: with a new connection
    for each message, and with kept ones. what: a word for their titles."""
    recipient = "r@example.com.archive.copy.split.invalid"
    sessions, size = options.relay_sessions, options.size
    tables = []
    with open(relay.log_path, "rb") as log:
        for how, flags in (("a new connection per message", ()), ("connections kept", ("-d",))):
            table = Table(f"smtp-source to smtp-sink{what}, {how}", "directly")
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
                    table.add(RELAYED, count / relayed)
                    costs.append((processor_seconds(relay.pid) - used) / count * 1e6)
            table.show()
            print(f"  processor time of splitrelay, us a message     {statistics.median(costs):.0f}  ({min(costs):.0f} to {max(costs):.0f})")
            tables.append(table)
    return tables


def wait_lines(log, text, count, seconds=300, pause=0.005):
    """Read the log from its present position, until it has had this text `count` times."""
    seen, rest, end = 0, b"", time.monotonic() + seconds
    while True:
        chunk = rest + log.read()
        seen += chunk.count(text)
        rest = chunk[-len(text) + 1:]
        if seen >= count:
            return
        if time.monotonic() > end:
            raise rig.Failure(f"only {seen} of {count} lines with {text!r} within {seconds} s")
        time.sleep(pause)


def wait_sent(log, count, seconds=300, pause=0.005):
    """Read the log from its present position, until it has `count` lines with status=sent."""
    wait_lines(log, b"status=sent", count, seconds, pause)


def processor_seconds(pid):
    """The processor time of the process, in user and in kernel mode (proc_pid_stat(5))."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def switches(pid):
    """The context switches of all threads that the process has now (proc_pid_status(5))."""
    count = 0
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(path, encoding="ascii", errors="replace") as f:
            count += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return count


class Syncs:
    """A context that counts what a process syncs (strace -c), afterwards in `count`."""

    CALLS = "fsync,fdatasync,sync_file_range,syncfs,msync"

    def __init__(self, r, pid):
        self.path, self.pid, self.count = r.path("syncs"), pid, 0
        self.tracer = rig.Tracer(r, pid, ["-c", "-U", "name,calls", "-e", f"trace={self.CALLS}", "-o", self.path])

    def __enter__(self):
        self.tracer.__enter__()
        return self

    def __exit__(self, *exc):
        self.tracer.end()
        with open(self.path, encoding="ascii") as f:
            rows = [line.split() for line in f]
        self.count = sum(int(row[1]) for row in rows if len(row) == 2 and row[0] in self.CALLS.split(","))
