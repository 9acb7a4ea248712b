#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""On a full disk the queue says so, keeps nothing of the message, delivers what it has, and takes as much again afterwards."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

from rig import power, queue
from rig.base import TIME_FACTOR, Skip

MOUNT = "SPLIT_QUEUE_FULL_MOUNT"  # set in the process that has the mount namespace


def fill(directory, options, size):
    """In a file system of its own."""
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], stderr=subprocess.PIPE, check=False)
    if mount.returncode != 0:
        raise Skip(f"cannot mount a tmpfs: {mount.stderr.decode().strip()}")
    try:
        spool = os.path.join(directory, "spool")
        argv = [power.program("power_full"), spool, str(size)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120 * TIME_FACTOR, check=False)
        counts = [int(n) for n in re.findall(r"^filled (\d+)$", done.stdout.decode(), re.M)]
        print(f"{options}, {size} bytes: {counts} copies, then full", flush=True)
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr.decode()[-3000:]}"
        assert min(counts) >= 4 and min(counts) >= counts[0] * 0.7, f"{counts}: what was removed is not used again"
        assert not queue.copies(spool) and not queue.leftovers(spool), queue.leftovers(spool)
    finally:
        subprocess.run(["umount", directory], check=True)


def main():
    directory = os.environ.get(MOUNT)
    if directory is None:
        power.program("power_full")
        if shutil.which("unshare") is None or os.geteuid() != 0:
            raise Skip("needs root and unshare(1), for a small file system of its own")
        with tempfile.TemporaryDirectory(prefix="split-full-") as directory:
            # the mount lives and dies with the namespace
            isolated = ["unshare", "--mount", "--propagation", "private"]
            if subprocess.run([*isolated, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
                raise Skip("a mount namespace is not allowed here, or / is no mount point")
            argv = [*isolated, sys.executable, os.path.abspath(__file__)]
            sys.exit(subprocess.run(argv, env={**os.environ, MOUNT: directory}, check=False).returncode)
    for options, size in (("size=56m", 3000), ("size=80m", 100000), ("size=80m", 300000), ("size=80m,nr_inodes=40", 300000)):
        fill(directory, options, size)


if __name__ == "__main__":
    try:
        main()
    except Skip as e:
        print(f"SKIP: {e}")
        sys.exit(77)
