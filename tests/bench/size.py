# SPDX-License-Identifier: ISC
"""The effect of a table's size: one front, and two splitmilters that differ in the number of lines of their tables."""

import os
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import rig  # noqa: E402

RECIPIENTS = 50  # per message, for the measurement of processor time
SMALL, LARGE = "10 lines", "{:,} lines"

CONFIGURATION = """\
log {{ target = "stderr" }}
milter {{
    socket = "unix:{socket}"
    socket_group = "postfix"
    filter_maps = {{ "texthash:{table}" }}
}}
filter secondary {{ nexthop = "smtp:[127.0.0.1]:9" }}
"""


def processor_seconds(pid):
    """The processor time of all threads of a process, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


class Sizes:
    """front: the Front to which the two services are added. The names of the candidates are the sizes."""

    def __init__(self, r, front, lines):
        self.daemons = {}
        self.front = front
        for number, count in enumerate((10, lines)):
            table, socket = r.write(f"table{number}", ""), r.path(f"size{number}.sock")
            with open(table, "w", encoding="ascii") as f:
                f.writelines(f"u{i}@example.com secondary\n" for i in range(lines - count, lines))
            name = SMALL if number == 0 else LARGE.format(count)
            self.daemons[name] = rig.start_splitmilter(r, CONFIGURATION.format(socket=socket, table=table), socket, name=f"splitmilter-{number}")
            front.add(name, f"unix:{socket}", [("", f"u{lines - 1}@example.com")])
        front.start()

    def turns(self, count):
        """The candidates in turns; each of them is the first in every second turn."""
        for number in range(count):
            yield from self.front.candidates if number % 2 else reversed(self.front.candidates)

    def processor_time(self, count):
        """name -> microseconds per recipient in each turn. The recipients of a message differ, and none is in a table, so that
        each look-up reads another place."""
        spent = {name: [] for name in self.daemons}
        for name, port, _ in self.turns(count):
            pid, messages = self.daemons[name].pid, 40
            before = processor_seconds(pid)
            flags = ("-r", str(RECIPIENTS))
            rig.smtp_source(("127.0.0.1", port), messages, 4, 500, recipient="nobody@example.net", flags=flags)
            self.front.instance.wait_empty(120)
            spent[name].append((processor_seconds(pid) - before) / (messages * RECIPIENTS) * 1e6)
        return {name: values[1:] for name, values in spent.items()}


def bench_size(r, options, front, tables):
    """Measure rates and processor time. tables: makes a Table from a title and the name of the baseline."""
    sizes = Sizes(r, front, options.size_lines)
    small, large = list(sizes.daemons)
    for title, flags in (("a new connection per message", ()), ("connections kept", ("-d",))):
        table = tables(f"Front Postfix, accept rate by size of the table, {title}", small)
        count = max(50, options.messages // 10)
        for number, (name, port, recipient) in enumerate(sizes.turns(options.rounds * 10 + 1)):
            seconds = rig.smtp_source(("127.0.0.1", port), count, options.sessions, options.size, recipient=recipient, flags=flags)
            front.instance.wait_empty(120)
            if number > 1:  # the first turn is a warm-up
                table.add(name, count / seconds)
        table.show()
        print(f"  {large} / {small}: {table.ratio(large, small):.3f} (the target is at least 0.98)")
    spent = sizes.processor_time(options.rounds * 4 + 1)
    print("\nProcessor time of splitmilter per recipient, each of them another, not found")
    for name, values in spent.items():
        print(f"  {name:44} {statistics.median(values):6.2f} us  (lowest {min(values):.2f})")
    for name, daemon in sizes.daemons.items():
        print(f"  {name:44} {daemon.rss_kb():6} kB resident")
