#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Run other tests again with their queue in PostgreSQL: what is promised of the queue holds there, too.

SPLIT_POSTGRESQL_TESTS="it_kill test_queue": run only these.
"""

import concurrent.futures
import os
import subprocess
import sys

import rig
from rig.daemons import TOP, build_directory
from rig.postgres import need_client

ONLY = os.environ.get("SPLIT_POSTGRESQL_TESTS", "").split()
SKIPPED = 77


def run(name, argv, env):
    """Run a test program. False: it was skipped."""
    if ONLY and name not in ONLY:
        return False
    done = subprocess.run(argv, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode("utf-8", "replace")
    print("".join(f"  {name}: {line}\n" for line in text.splitlines() if line.startswith(("OK ", "SKIP", "FAIL", "100%"))), end="")
    assert done.returncode in (0, SKIPPED), f"{name}: exit {done.returncode}\n{text[-20000:]}"
    return done.returncode == 0


def run_script(name, *tests):
    """Run functions of another script, or all."""
    need_client()
    return run(name, [sys.executable, os.path.join(TOP, "tests", "it", f"{name}.py"), *tests], {"SPLIT_QUEUE": "postgresql"})


def test_unit_tests(r):
    """The unit tests of the database and of the queue's interface."""
    uri = rig.Postgres(r, "unit").create_database("unit")
    top = os.path.join(build_directory(), "tests", "unit")
    names = [n for n in sorted(os.listdir(top)) if n.startswith(("test_db", "test_queue")) and "." not in n]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # each has a database of its own, and they mostly wait
        found = list(pool.map(lambda name: run(name, [os.path.join(top, name)], {"SPLIT_POSTGRESQL": uri}), names))
    if not any(found):
        raise rig.Skip("no unit tests of the queue are built")


def test_fault_matrix(_r):
    assert run_script("it_fault_matrix", "test_smtp", "test_lmtp") or ONLY


def test_page(_r):
    assert run_script("it_page", "test_lists_are_those_of_splitctl", "test_the_history_in_parts", "test_long_reading_ends") or ONLY


def test_queue_tools(_r):
    assert run_script("it_queue_tools") or ONLY


def test_restart_matrix(_r):
    assert run_script("it_restart_matrix") or ONLY


def test_conditions(_r):
    assert run_script("it_conditions", "test_all_copies_are_skipped", "test_conditions_are_those_of_the_arrival", "test_kill") or ONLY


def test_kill(_r):
    assert run_script("it_kill") or ONLY


def test_large(_r):
    assert run_script("it_large") or ONLY


if __name__ == "__main__":
    rig.main(timeout=600)
