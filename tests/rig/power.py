# SPDX-License-Identifier: ISC
"""Records what a queue does to its disk, and checks what a power failure may leave of it (tests/power).

power_driver makes a record when it runs with diskrec.so. power_replay makes the states of a disk out of the record, and opens the
queue on each.
"""

import os
import re
import shutil
import subprocess
import tempfile

from .base import TIME_FACTOR, Skip
from .daemons import build_directory

CALLS = "sync write open link rename unlink mkdir truncate".split()


class Lost(AssertionError):
    """The queue has lost something that it had promised, or a program of tests/power failed."""


def program(name):
    path = os.path.join(build_directory(), "tests", "power", name)
    if not os.path.exists(path):
        raise Skip(f"{path} is not built")
    return path


def amount(variable, usual, sanitized):
    """The value of the environment variable. Without it: `usual`, or `sanitized` if the programs have a sanitizer."""
    with open(program("power_driver"), "rb") as f:
        is_sanitized = re.search(b"__[at]san_init", f.read())
    return os.environ.get(variable, str(sanitized if is_sanitized else usual))


def memory_directory():
    """A new directory, in memory if possible: the disk in these tests is a model, so no real disk is needed."""
    top = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="split-power-", dir=top)


def environment(**more):
    """The environment for a program with the recorder. What sanitizers report goes to stderr."""
    env = {**os.environ, **more}
    # AddressSanitizer wants to be loaded before the recorder, and would report what the driver has not freed at its sudden end. Sanitizers
    # that open a file, or give functions another stack, before the recorder is initialised crash.
    env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0:detect_leaks=0:detect_stack_use_after_return=0"
    for variable in ("LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"):
        env[variable] = env.get(variable, "") + ":exitcode=99"
    return env


class Record:
    """The record of one workload."""

    def __init__(self, directory):
        """directory: an existing directory, for the disk, the record, and scratch files."""
        self.directory = directory
        self.disk, self.path = os.path.join(directory, "disk"), os.path.join(directory, "record")
        self.skipped, self.calls = 0, {}
        os.mkdir(self.disk, 0o700)

    def run_both(self, fail=("", None)):
        """Run the driver twice: the second run goes on with what the first has left. fail: ("first" or "second", the value of
        DISKREC_FAIL (diskrec.h) for that run)."""
        for run in ("first", "second"):
            self.run(run, fail[1] if run == fail[0] else None)
        return self

    def run(self, run, fail=None, is_killed=False):
        """Run the driver once. run: "first" or "second"; is_killed: the fault in `fail` kills the driver."""
        counts = os.path.join(self.directory, "counts")
        env = environment(LD_PRELOAD=program("diskrec.so"), DISKREC_ROOT=self.disk, DISKREC_OUT=self.path, DISKREC_COUNTS=counts)
        if fail:
            env["DISKREC_FAIL"] = fail
        done = subprocess.run(
            [program("power_driver"), self.disk, run],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, timeout=120 * TIME_FACTOR, check=False,
        )
        text = done.stdout.decode()
        if is_killed and done.returncode == -9:
            return
        if done.returncode != 0 or is_killed:
            raise Lost(f"{run} run, fault {fail}: exit {done.returncode}\n{text}{done.stderr.decode()[-2000:]}")
        self.skipped += int(re.search(r"skipped (\d+)", text)[1])
        with open(counts, encoding="ascii") as f:
            self.calls[run] = {name: int(n) for name, n in (line.split() for line in f)}

    def replay(self, states, processes=os.cpu_count() or 1, **options):
        """Check the states of the disk. Returns (number of states, number of wrong ones, texts about the wrong ones). options: those
        of power_replay."""
        running = []
        words = [f"{name.replace('_', '-')}={value}" for name, value in options.items()]
        for part in range(processes):
            scratch = os.path.join(self.directory, f"scratch{part}")
            argv = [program("power_replay"), self.path, scratch, f"states={states}", f"part={part}/{processes}", *words]
            running.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()))
        count, wrong, texts = 0, 0, ""
        for process in running:
            out, err = (text.decode("utf-8", "replace") for text in process.communicate())
            end = re.search(r"^states (\d+) wrong (\d+)$", out, re.M)
            if end is None or process.returncode not in (0, 1):
                raise Lost(f"power_replay: exit {process.returncode}\n{out[-3000:]}{err[-3000:]}")
            count, wrong, texts = count + int(end[1]), wrong + int(end[2]), texts + out[: end.start()]
        return count, wrong, texts

    def check_now(self):
        """Check a copy of the disk as it is now. Returns None, or a text that says what is wrong."""
        scratch, copy = os.path.join(self.directory, "scratch"), os.path.join(self.directory, "copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.disk, copy)
        argv = [program("power_replay"), self.path, scratch, f"now={copy}"]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), timeout=60 * TIME_FACTOR, check=False)
        if done.returncode not in (0, 1):
            raise Lost(f"power_replay: exit {done.returncode}\n{done.stderr.decode()[-2000:]}")
        return done.stdout.decode("utf-8", "replace") if done.returncode else None

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)
