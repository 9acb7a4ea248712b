# SPDX-License-Identifier: ISC
"""Cleans up after a test program that was killed.

It has a directory as argument and a pipe as standard input. After `done` on the pipe it exits. An end of file without that
means that the test program died. Then every process group in DIRECTORY/processes is killed (if its leader is still the process
that was recorded), every mount in DIRECTORY/mounts is undone, and the directory is removed.
"""

import os
import shutil
import signal
import subprocess
import sys


def start_time(pid):
    """The start of the process, in clock ticks since boot; None if there is no such process, or it is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] == b"Z" else int(fields[19])


def kill_recorded(directory):
    """Send SIGKILL to each recorded process group whose leader is alive and the same process as before."""
    try:
        with open(os.path.join(directory, "processes"), encoding="ascii") as f:
            lines = f.read().split("\n")
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) < 2:
            continue
        pid, started = int(words[0]), int(words[1])
        if start_time(pid) == started:
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError as e:
                print(f"guardian: cannot kill {pid}: {e}", file=sys.stderr)


def undo_mounts(directory):
    """Lazy umount of each recorded mount."""
    try:
        with open(os.path.join(directory, "mounts"), encoding="utf-8") as f:
            paths = f.read().split("\n")
    except OSError:
        return
    for path in filter(None, paths):
        if os.path.ismount(path):
            subprocess.run(["umount", "-l", path], check=False)


def main():
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(sig, signal.SIG_IGN)
    directory = sys.argv[1]
    if b"done" in sys.stdin.buffer.read():
        return
    kill_recorded(directory)
    undo_mounts(directory)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
