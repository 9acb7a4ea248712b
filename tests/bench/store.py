# SPDX-License-Identifier: ISC
"""The queue by itself: messages stored in a second by several threads, for one destination and for two; store_bench.c."""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import rig  # noqa: E402
from measure import Table, Target  # noqa: E402

SECONDS, THREADS = 2, (1, 4, 20)
LINE = re.compile(r"^ +(1 copy|2 copies|prepared|backlog) +(\d+)/s", re.MULTILINE)


def bench_store(r, options):
    targets = []
    for threads in THREADS:
        table = Table(f"Messages of 4 kB stored, {threads} {'thread' if threads == 1 else 'threads'}", "1 copy")
        for number in range(options.rounds):
            directory = r.path(f"store-{threads}-{number}")
            os.mkdir(directory, 0o700)
            argv = [rig.program("store_bench"), directory, str(SECONDS), str(threads)]
            done = subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=300, text=True)
            for name, rate in LINE.findall(done.stdout):
                table.add(name, float(rate))
        table.show()
        cost = 1 / table.ratio("2 copies", "1 copy")
        targets.append(Target(f"two destinations / one, cost of a message, {threads} threads", cost, 1.2, at_most=True))
    return targets
