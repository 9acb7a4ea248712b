#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""src/task/task-gdb.py shows the stacks of the tasks of a running splitrelay, and of its core."""

import os
import platform
import re
import subprocess

import rig

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "task", "task-gdb.py")


def gdb(*arguments):
    """Run gdb with these arguments. Returns its output."""
    done = subprocess.run(
        ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set width 0", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120 * rig.TIME_FACTOR,
        check=False,
    )
    return done.stdout + done.stderr


def need_gdb():
    rig.need_tools("gdb")
    if platform.machine() != "x86_64":
        raise rig.Skip(f"task-gdb.py is not for {platform.machine()}")
    if "has python" not in gdb("-ex", "python print('has python')"):
        raise rig.Skip("gdb was built without Python")
    if rig.instrumented():
        raise rig.Skip("gdb and sanitizers do not go together")


def stacks(text):
    """{title of a task: [function, ...]}, the innermost one first."""
    found = {}
    title = None
    for line in text.split("\n"):
        if re.match(r"task \d+ on thread \d+: ", line):
            title = line
            found[title] = []
        frame = re.match(r"#\d+ +(?:0x[0-9a-f]+ in )?([\w.]+) \(", line)
        if frame and title is not None:
            found[title].append(frame.group(1))
    return found


def check(text, sessions):
    found = stacks(text)
    waiting = [s for title, s in found.items() if "session_run" in s]
    assert len(waiting) == sessions, text
    for s in waiting:
        names = [n for n in s if n in ("task_park", "task_poll", "stream_wait", "session_run", "task_main")]
        assert names == ["task_park", "task_poll", "stream_wait", "session_run", "task_main"], text
    assert all("task_main" in s for title, s in found.items() if title.endswith("most") or title.endswith("waits")), text
    assert re.search(rf"(?m)^{len(found)} tasks$", text), text


def test_stacks(r):
    """gdb shows the stack of each session that waits, in the running process and in its core."""
    need_gdb()
    d = rig.Duplicator(r)
    clients = [rig.SmtpClient(d.address) for _ in range(3)]
    core = r.path("core")
    text = gdb("-p", str(d.daemon.pid), "-x", SCRIPT, "-ex", "task all", "-ex", f"gcore {core}")
    if "ptrace: Operation not permitted" in text:
        raise rig.Skip("this process may not trace others")
    check(text, len(clients))
    assert clients[0].cmd("NOOP").code == 250  # splitrelay still runs
    text = gdb(os.path.realpath(f"/proc/{d.daemon.pid}/exe"), core, "-x", SCRIPT, "-ex", "task all")
    check(text, len(clients))
    assert "usage: task list | all | N" in gdb("-p", str(d.daemon.pid), "-x", SCRIPT, "-ex", "task some")
    for c in clients:
        c.close()
    d.daemon.stop()


if __name__ == "__main__":
    rig.main()
