# SPDX-License-Identifier: ISC
"""Runs a daemon and puts a time stamp and a host before each of its lines, as syslog daemons do.

Usage: stamp.py PROGRAM [ARGUMENT...]. The lines go to standard output. SIGTERM and SIGUSR1 are passed on, and the exit status is
that of the daemon. The daemon dies with this process.
"""

import ctypes
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1


def main():
    libc = ctypes.CDLL(None)
    daemon = subprocess.Popen(
        sys.argv[1:], stderr=subprocess.PIPE, preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    )
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda n, _frame: daemon.send_signal(n))
    for line in daemon.stderr:
        sys.stdout.buffer.write(time.strftime("%b %e %H:%M:%S ").encode() + b"mx " + line)
        sys.stdout.buffer.flush()
    return daemon.wait()


if __name__ == "__main__":
    sys.exit(main())
