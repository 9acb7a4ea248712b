#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Each sync, write, open, link, rename, unlink, mkdir and truncation of the queue and of a Maildir fails once; then any of them at random.

Then the power fails, at any moment. What was promised holds (it_power.py), and mail is taken again, by the process that saw the fault
and by the next one. SPLIT_POWER_FAULTS (60): so many faults, spread over all calls; "all": each of them. SPLIT_POWER_RANDOM (10): so
many runs with random faults; 500 is the real thing. SPLIT_POWER_FAULT_STATES (60): states of the disk after each. SPLIT_SEED.
"""

import concurrent.futures
import errno
import os
import random
import sys
import time

from rig import power
from rig.base import Skip

RANDOM = int(os.environ.get("SPLIT_POWER_RANDOM", "10"))
STATES = int(os.environ.get("SPLIT_POWER_FAULT_STATES", "60"))
SEED = int(os.environ.get("SPLIT_SEED", str(time.time_ns() % 1000000)))
ERRORS = {"open": (errno.EMFILE, errno.EIO, errno.ENOSPC), "sync": (errno.EIO,)}


def all_faults(calls):
    """(run, DISKREC_FAIL) for each call of a workload without faults."""
    for run, counts in calls.items():
        for call, count in counts.items():
            errors = ERRORS.get(call, (errno.EIO, errno.ENOSPC))
            for number in range(1, count + 1):
                yield run, f"{call}:{number}:{errors[number % len(errors)]}"


def choose_faults(calls, wanted, chance):
    """Of each kind of call as many as there are of the others, if there are so many."""
    faults = list(all_faults(calls))
    if wanted == "all":
        return faults
    kinds = {}
    for run, text in faults:
        kinds.setdefault((run, text.split(":")[0]), []).append((run, text))
    for kind in kinds.values():
        chance.shuffle(kind)
    chosen = []
    while len(chosen) < min(int(wanted), len(faults)):
        chosen += [kind.pop() for kind in kinds.values() if kind]
    return chosen[: int(wanted)]


def attempt(top, number, fault):
    """One workload with a fault; None, or what is wrong."""
    directory = os.path.join(top, str(number))
    os.mkdir(directory)
    record = None
    try:
        record = power.Record(directory).run_both(fault)
        count, wrong, texts = record.replay(STATES, processes=1, seed=SEED + number, sparse=25, wrong=2)
        return f"{count} states, {wrong} wrong:\n{texts}" if wrong else None
    except power.Lost as e:
        return str(e)
    finally:
        if record is not None:
            record.close()


def main():
    chance = random.Random(SEED)
    with power.memory_directory() as top:
        first = os.path.join(top, "first")
        os.mkdir(first)
        calls = power.Record(first).run_both().calls
        faults = choose_faults(calls, power.amount("SPLIT_POWER_FAULTS", 60, 20), chance)
        faults += [(run, f"random:{chance.randrange(1 << 30)}:{chance.choice((5, 20, 80))}:{chance.choice((2, 5, 20))}")
                   for run in ("first", "second") for _ in range((RANDOM + 1) // 2)]
        print(f"SPLIT_SEED={SEED}, {len(faults)} of {sum(1 for _ in all_faults(calls))} faults", flush=True)
        bad = 0
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for fault, wrong in zip(faults, pool.map(lambda item: attempt(top, *item), enumerate(faults))):
                if wrong:
                    bad += 1
                    print(f"--- {fault}: {wrong}", flush=True)
        assert bad == 0, f"{bad} of {len(faults)} faults were not borne"
        print(f"{len(faults)} faults were borne, with {STATES} states of the disk after each")


if __name__ == "__main__":
    try:
        main()
    except Skip as e:
        print(f"SKIP: {e}")
        sys.exit(77)
