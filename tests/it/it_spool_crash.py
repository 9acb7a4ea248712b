#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""SIGKILL at every single system call with which the spool changes something (strace injects it; nothing in the code knows).

After each: what docs/queue.md says in "Who moves what, and what a crash leaves".
"""

import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile

DRIVER = os.path.join(os.environ.get("SPLIT_BUILD_DIR", "."), "tests", "it", "spool_driver")
TIME_FACTOR = float(os.environ.get("SPLIT_TIME_FACTOR", "1"))
CALLS = "openat write writev pwrite64 fdatasync fsync close link linkat rename renameat renameat2 unlink unlinkat mkdir mkdirat rmdir ftruncate".split()
LOAD_KILLS = [(call, n) for call in ("fdatasync", "fsync", "linkat", "renameat2", "unlinkat", "writev") for n in (1, 7, 40)]


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(77)


def environment():
    """LeakSanitizer cannot work in a process that is traced."""
    env = dict(os.environ)
    env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    return env


def run(*argv, expect=0):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), timeout=60 * TIME_FACTOR, check=False)
    text = done.stdout.decode()
    if done.returncode != expect:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}, not {expect}\n{text}{done.stderr.decode()}")
    return text


def files(*path):
    return [name for _, _, names in os.walk(os.path.join(*path)) for name in names]


class Told:
    """What the driver said before it died."""

    def __init__(self, text):
        self.put, self.put_dead, self.begun, self.ended = set(), set(), {}, {}
        lines = text.split("\n")
        for line in lines[:-1]:
            words = line.split()
            if words[0] == "put":
                self.put.add(words[2])
            elif words[0] == "put-dead":
                self.put_dead.add(words[2])
            elif words[0] in ("removing", "burying", "deferring"):
                self.begun[words[1]] = words[0]
                self.ended.pop(words[1], None)
            else:
                self.ended[words[1]] = words[0]

    def is_between(self, copy_id):
        """It was on its way from one place to another: it may be at both."""
        return self.begun.get(copy_id) in ("burying", "deferring") and copy_id not in self.ended


def check(spool, told, where):
    """What is in the spool now, against what was said."""
    lines = [line.split(" ", 3) for line in run(DRIVER, spool, "list").splitlines()]
    for queue, _, copy_id, problem in lines:
        assert not problem, f"{where}: {queue} {copy_id}: {problem}"
    dead = {copy_id for queue, _, copy_id, _ in lines if queue == "dead"}
    drained = {}
    for line in run(DRIVER, spool, "drain").splitlines():
        _, _, copy_id, attempts, states, content = line.split()
        assert copy_id not in drained or told.is_between(copy_id), f"{where}: {copy_id} came twice"
        assert content == "intact", f"{where}: {copy_id} is damaged"
        drained[copy_id] = (int(attempts), states)
    assert not files(spool, "tmp"), f"{where}: files in tmp"
    assert not files(spool, "quarantine"), f"{where}: files in quarantine"
    assert not files(spool, "queue"), f"{where}: files in queue"
    dead_now = set(files(spool, "dead"))
    assert dead <= dead_now, f"{where}: a dead copy vanished"
    both = [copy_id for copy_id in drained.keys() & dead_now if not told.is_between(copy_id)]
    assert not both, f"{where}: queued and dead: {both}"

    assert told.put_dead <= dead_now, f"{where}: a dead copy that was committed is not there"
    for copy_id in told.put:
        begun, ended = told.begun.get(copy_id), told.ended.get(copy_id)
        what = f"{where}: {copy_id} ({begun}, {ended})"
        if begun == "removing":
            assert not (ended and copy_id in drained), f"{what} is there again"
            assert copy_id not in dead_now, f"{what} is dead"
        elif begun == "burying":
            assert copy_id in drained or copy_id in dead_now, f"{what} is lost"
            assert not (ended and copy_id in drained), f"{what} is not dead"
        else:
            assert copy_id in drained, f"{what} is lost"
            assert not (ended and drained[copy_id][1] != "sqq"), f"{what}: a recipient gets it again"
            assert not (ended and drained[copy_id][0] == 0), f"{what}: the attempt was not counted"
            assert begun or drained[copy_id] == (0, "qqq"), f"{what} was changed"


class Tools:
    """What administrators did before the driver died: for each copy, where it was and where it was to go."""

    TARGET = {"hold": "hold", "release": "queue", "requeue": "queue", "delete": None}

    def __init__(self, text):
        self.places, self.on_the_way = {}, {}
        for line in text.split("\n")[:-1]:
            words = line.split()
            if words[0] in ("put", "put-dead"):
                self.places[words[2]] = ("dead" if words[0] == "put-dead" else "queue", words[1])
            elif words[0] == "begin":
                self.on_the_way[words[2]] = words[1]
            else:
                del self.on_the_way[words[2]]
                base = self.TARGET[words[1]]
                self.places[words[2]] = (base, words[3]) if base else None


def check_tools(spool, text, where):
    """Each copy is where the last that was reported left it; the one at hand is there, where it was to go, or at both."""
    told, found = Tools(text), collections.defaultdict(set)
    for line in run(DRIVER, spool, "list").splitlines():
        base, destination, copy_id, *problem = line.split(" ", 3)
        assert not problem or not problem[0], f"{where}: {line}"
        found[copy_id].add((base, destination))
    for copy_id, place in told.places.items():
        action, what = told.on_the_way.get(copy_id), f"{where}: {copy_id} ({told.on_the_way.get(copy_id)}) was {place}, is {found[copy_id]}"
        if action is None:
            assert found[copy_id] == ({place} if place else set()), what
            continue
        others = found[copy_id] - {place}
        assert len(others) <= 1, what
        assert all(base == Tools.TARGET[action] for base, _ in others), what
        assert action == "delete" or found[copy_id], f"{what}: lost"
    for line in run(DRIVER, spool, "drain").splitlines():
        assert line.endswith(" intact"), f"{where}: {line}"
    assert not files(spool, "tmp") and not files(spool, "quarantine") and not files(spool, "queue"), where
    return len(told.places)


class Order:
    """The contract of a 250, read from a trace: file synced, then linked, then each directory synced, then answered. Of an administrator's
    changes: nothing is said before the directories that lost a name are synced, too."""

    def __init__(self, spool):
        self.spool = spool
        self.unsynced_files, self.unsynced_names, self.unsynced_removals, self.answers = set(), {}, set(), 0

    def is_place(self, path):
        return path.startswith(tuple(f"{self.spool}/{base}" for base in ("queue", "hold", "dead")))

    def see(self, call, line):
        fds = re.findall(r"[(, ]\d+<([^>]*)>", line)
        names = re.findall(r'"([^"]*)"', line)
        if call in ("write", "writev", "pwrite64", "ftruncate") and re.search("/(tmp|free)/", fds[0][len(self.spool) :]):
            self.unsynced_files.add(fds[0])
        elif call in ("fdatasync", "fsync") and line.rstrip().endswith("= 0"):
            self.unsynced_files.discard(fds[0])
            self.unsynced_names = {path: at for path, at in self.unsynced_names.items() if at != fds[0]}
            self.unsynced_removals.discard(fds[0])
        elif call == "mkdirat" and line.rstrip().endswith("= 0"):
            path = os.path.join(fds[0], names[0])
            self.unsynced_names[path] = os.path.dirname(path)
        elif call in ("linkat", "renameat2") and fds[0] in (f"{self.spool}/tmp", f"{self.spool}/free"):
            assert os.path.join(fds[0], names[0]) not in self.unsynced_files, f"linked before it was synced: {line}"
            self.unsynced_names[os.path.join(fds[1], names[1])] = fds[1]
        elif call == "linkat" and self.is_place(fds[0]):
            self.unsynced_names[os.path.join(fds[1], names[1])] = fds[1]
        elif call == "unlinkat" and self.is_place(fds[0]):
            copy_id = os.path.basename(names[0])
            moved = [path for path in self.unsynced_names if os.path.basename(path) == copy_id]
            assert not moved, f"removed before the new name was synced: {moved}"
            if "/" not in names[0]:
                self.unsynced_removals.add(fds[0])
        elif call == "write" and names and names[0].startswith("put"):
            self.answers += 1
            assert not self.unsynced_names, f"answered before a directory was synced: {self.unsynced_names}"
        elif call == "write" and names and names[0].startswith("end"):
            self.answers += 1
            assert not self.unsynced_names and not self.unsynced_removals, f"said before it was synced: {self.unsynced_names} {self.unsynced_removals}"
        assert call not in ("link", "rename"), f"not by descriptor: {line}"


def check_scenario(scenario, spool, text, where):
    if scenario == "tools":
        check_tools(spool, text, where)
    else:
        check(spool, Told(text), where)


def traced_calls(directory, scenario, answers):
    """How often the driver makes each call: before it comes to the spool, and in all."""
    trace = os.path.join(directory, "trace")
    spool = os.path.join(directory, f"spool-{scenario}")
    order = Order(spool)
    text = run("strace", "-f", "-y", "-o", trace, "-e", "trace=" + ",".join("?" + c for c in CALLS), DRIVER, spool, scenario)
    check_scenario(scenario, spool, text, "no crash")
    before, total, is_before = collections.Counter(), collections.Counter(), True
    with open(trace, encoding="utf-8", errors="replace") as file:
        for line in file:
            match = re.match(r"\d+ +(\w+)\(", line)
            if not match:
                continue
            is_before = is_before and spool not in line
            total[match[1]] += 1
            before[match[1]] += is_before
            if not is_before:
                order.see(match[1], line)
    assert order.answers == answers, f"{order.answers} answers, not {answers}"
    return before, total


def kill_at(directory, call, number, *arguments):
    """False if the driver came to its end before that call."""
    spool = os.path.join(directory, f"spool-{call}-{number}")
    argv = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}", DRIVER, spool, *arguments]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), timeout=60 * TIME_FACTOR, check=False)
    was_killed = done.returncode in (-9, 137)
    if not was_killed and done.returncode != 0:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stderr.decode()}")
    if os.path.isdir(os.path.join(spool, "queue")):
        check_scenario(arguments[0], spool, done.stdout.decode(), f"{arguments[0]}, killed at {call} {number}")
    else:
        assert not done.stdout, f"killed at {call} {number}: answered without a spool"
    shutil.rmtree(spool, ignore_errors=True)
    return was_killed


def main():
    if shutil.which("strace") is None:
        skip("strace is not installed")
    if not os.path.exists(DRIVER):
        skip(f"{DRIVER} is not built")
    probe = subprocess.run(["strace", "-o", "/dev/null", "-e", "inject=close:signal=KILL:when=1", "true"], stderr=subprocess.PIPE, check=False)
    if probe.returncode not in (-9, 137):
        skip(f"strace cannot inject signals here: {probe.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory(prefix="split-crash-") as directory:
        for scenario, answers in (("scenario", 8), ("tools", 18)):
            before, total = traced_calls(directory, scenario, answers)
            kills = 0
            for call in sorted(total):
                for number in range(before[call] + 1, total[call] + 1):
                    assert kill_at(directory, call, number, scenario), f"not killed at {call} {number}"
                    kills += 1
            assert {"fdatasync", "fsync", "linkat", "renameat2", "unlinkat", "mkdirat", "pwrite64"} <= total.keys(), f"calls not seen: {total}"
            print(f"{scenario}: killed at each of {kills} system calls, nothing lost: {dict(total - before)}")
        kills = sum(kill_at(directory, call, number, "load", "20") for call, number in LOAD_KILLS)
        assert kills > len(LOAD_KILLS) // 2, f"only {kills} kills under load"
        print(f"killed {kills} times while threads put and take, nothing lost")


if __name__ == "__main__":
    main()
