#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A full disk: the spool says so, leaves nothing of the message behind, and works again when there is room."""

import os
import shutil
import subprocess
import sys
import tempfile

DRIVER = os.path.join(os.environ.get("SPLIT_BUILD_DIR", "."), "tests", "it", "spool_driver")
MOUNT = "SPLIT_SPOOL_FULL_MOUNT"  # set in the process that has the mount namespace


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(77)


def run(*argv):
    done = subprocess.run([DRIVER, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == 0, f"{argv}: exit {done.returncode}\n{done.stderr.decode()}"
    return done.stdout.decode().splitlines()


def files(*path):
    return [name for _, _, names in os.walk(os.path.join(*path)) for name in names]


def fill_and_drain(spool, size):
    lines = run(spool, "fill", str(size))
    assert lines.pop() == "full"
    put = {line.split()[2] for line in lines}
    assert len(put) == len(lines) and len(put) >= 4, f"{len(lines)} copies, {len(put)} of them different"
    assert not files(spool, "tmp"), "files in tmp"
    assert set(files(spool, "queue")) == put, "not exactly what was committed is queued"
    assert run(spool, "fill", str(size)) == ["full"], "there was room after all"
    drained = [line.split() for line in run(spool, "drain")]
    assert {words[2] for words in drained} == put, "not exactly what was committed came out"
    assert all(words[5] == "intact" for words in drained)
    assert not files(spool, "queue") and not files(spool, "quarantine")
    return len(put)


def main():
    directory = os.environ.get(MOUNT)
    if directory is None:
        if not os.path.exists(DRIVER):
            skip(f"{DRIVER} is not built")
        if shutil.which("unshare") is None or os.geteuid() != 0:
            skip("needs root and unshare(1), for a small file system of its own")
        with tempfile.TemporaryDirectory(prefix="split-full-") as directory:
            # the mount lives and dies with the namespace
            isolated = ["unshare", "--mount", "--propagation", "private"]
            if subprocess.run([*isolated, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
                skip("a mount namespace is not allowed here, or / is no mount point")
            argv = [*isolated, sys.executable, os.path.abspath(__file__)]
            sys.exit(subprocess.run(argv, env={**os.environ, MOUNT: directory}, check=False).returncode)
    for options in ("size=2m", "size=64m,nr_inodes=40"):
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], stderr=subprocess.PIPE, check=False)
        if mount.returncode != 0:
            skip(f"cannot mount a tmpfs: {mount.stderr.decode().strip()}")
        for size in (3000, 150000):
            for _ in range(2):
                count = fill_and_drain(os.path.join(directory, "spool"), size)
            print(f"{options}, {size} bytes: {count} copies, then full, and again after draining")
        subprocess.run(["umount", directory], check=True)


if __name__ == "__main__":
    main()
