#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""SIGKILL before each call with which the queue or a Maildir changes something: nothing is lost, and the next process goes on.

What was promised holds right after it, and after another run on the same spool. SPLIT_CRASH_KILLS (150): so many places, spread over
all kinds of calls; "all": each. SPLIT_SEED repeats a choice.
"""

import concurrent.futures
import os
import random
import sys
import time

from rig import power
from rig.base import Skip

SEED = int(os.environ.get("SPLIT_SEED", str(time.time_ns() % 1000000)))


def choose_places(calls, wanted, chance):
    """(run, DISKREC_FAIL)"""
    kinds = [[(run, f"{call}:{n}:0") for n in range(1, count + 1)] for run in calls for call, count in calls[run].items()]
    if wanted == "all":
        return sum(kinds, [])
    for kind in kinds:
        chance.shuffle(kind)
    chosen = []
    while len(chosen) < int(wanted) and any(kinds):
        chosen += [kind.pop() for kind in kinds if kind]
    return chosen[: int(wanted)]


def attempt(top, number, place):
    """(was it killed, what is wrong or None)."""
    run, fail = place
    directory = os.path.join(top, str(number))
    os.mkdir(directory)
    record = power.Record(directory)
    try:
        if run == "second":
            record.run("first")
        try:
            record.run(run, fail, is_killed=True)
        except power.Lost as e:
            if "exit 0" in str(e):  # threads take turns: this time there were fewer calls
                return False, None
            raise
        wrong = record.check_now()
        if wrong is None:
            record.run("second")
            wrong = record.check_now()
        return True, wrong
    except power.Lost as e:
        return True, str(e)
    finally:
        record.close()


def main():
    kills = power.amount("SPLIT_CRASH_KILLS", 150, 40)
    chance = random.Random(SEED)
    with power.memory_directory() as top:
        os.mkdir(os.path.join(top, "first"))
        record = power.Record(os.path.join(top, "first")).run_both()
        assert record.check_now() is None, record.check_now()
        places = choose_places(record.calls, kills, chance)
        print(f"SPLIT_SEED={SEED}, {len(places)} places in {record.calls}", flush=True)
        killed = bad = 0
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for place, (was_killed, wrong) in zip(places, pool.map(lambda item: attempt(top, *item), enumerate(places))):
                killed += was_killed
                if wrong:
                    bad += 1
                    print(f"--- {place}: {wrong}", flush=True)
        assert bad == 0, f"{bad} of {killed} kills lost something"
        assert killed > len(places) * 0.8, f"only {killed} of {len(places)} were killed"
        print(f"killed {killed} times, nothing lost")


if __name__ == "__main__":
    try:
        main()
    except Skip as e:
        print(f"SKIP: {e}")
        sys.exit(77)
