# SPDX-License-Identifier: ISC
"""smtp-source and smtp-sink of the Postfix package; strace on a running process; a full disk."""

import glob
import os
import subprocess
import time

from .base import Failure, TIME_FACTOR, wait_for
from .client import SmtpClient
from .postfix import environment
from .sink import Rcpt, Transaction, _PATH


def fill_disk(directory, leave):
    """Fill the directory's file system, so that `leave` bytes are free. Returns the file's path."""
    stat = os.statvfs(directory)
    path = os.path.join(directory, "filler")
    with open(path, "wb") as f:
        f.write(b"\0" * max(0, stat.f_bavail * stat.f_frsize - leave))
    return path


def smtp_source(address, messages, sessions=10, size=4096, sender="s@sender.test", recipient="r@example.com", flags=(), seconds=600):
    """Run smtp-source. Returns its duration in seconds. flags: further options of it, such as "-d"."""
    argv = ["smtp-source", "-s", str(sessions), "-m", str(messages), "-l", str(size), "-f", sender, "-t", recipient, *flags]
    start = time.monotonic()
    done = subprocess.run(
        [*argv, f"inet:{address[0]}:{address[1]}"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        timeout=seconds * TIME_FACTOR,
        check=False,
    )
    if done.returncode != 0:
        raise Failure(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.decode()}")
    return time.monotonic() - start


class Tracer:
    """A context in which strace(1) runs with these options on all threads of the process."""

    def __init__(self, rig, pid, options):
        self.rig, self.pid = rig, pid
        self.argv = ["strace", "-f", "-qq", *options, "-p", str(pid)]
        self.tracer = None

    def is_attached(self):
        for task in glob.glob(f"/proc/{self.pid}/task/*/status"):
            with open(task, encoding="utf-8") as f:
                if "TracerPid:\t0\n" in f.read():
                    return False
        return True

    def __enter__(self):
        self.tracer = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, start_new_session=True)
        self.rig.session.record_process(self.tracer.pid, "strace")
        self.rig.on_close(self.end)
        wait_for(self.is_attached, 20, "strace to be attached")
        return self

    def __exit__(self, *_exc):
        self.end()

    def end(self):
        if self.tracer is not None:
            self.tracer.terminate()
            self.tracer.wait()
            self.tracer = None


class Strace(Tracer):
    """A context in which strace injects this fault into all threads of the process: "inject=mprotect:error=ENOMEM"."""

    def __init__(self, rig, pid, fault):
        call = fault.split("=")[1].split(":")[0]
        super().__init__(rig, pid, ["-o", "/dev/null", "-e", f"trace={call}", "-e", fault])


class SmtpSink:
    """smtp-sink on a port of its own. dump: keep each transaction (needed for `transactions`)."""

    def __init__(self, rig, name, dump=False, flags=(), backlog=1000, port=None):
        self.name = name
        self.address = ("127.0.0.1", port or rig.free_port())
        self.directory = rig.path(f"sink-{name}")
        os.mkdir(self.directory, 0o777)
        os.chmod(self.directory, 0o777)
        dumping = ["-d", os.path.join(self.directory, "%Y%m%d%H%M%S.")] if dump else []
        # By default it serves no more than 256 connections at a time, and others wait for seconds.
        argv = ["smtp-sink", "-u", "nobody", "-h", f"{name}.test", "-m", "1000", *dumping, *flags]
        with open(rig.path(f"sink-{name}.log"), "wb") as log:
            self.popen = subprocess.Popen(
                [*argv, f"127.0.0.1:{self.address[1]}", str(backlog)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=environment(),
                start_new_session=True,
            )
        rig.session.record_process(self.popen.pid, f"smtp-sink-{name}")
        rig.on_close(self.stop)
        wait_for(self._ready, 10, f"smtp-sink {name}")

    @property
    def bracketed(self):
        return f"[127.0.0.1]:{self.address[1]}"

    def _ready(self):
        if self.popen.poll() is not None:
            raise Failure(f"smtp-sink {self.name} ended with {self.popen.returncode}")
        try:
            with SmtpClient(self.address, helo=None) as c:
                c.quit()
                return True
        except OSError:
            return False

    def stop(self):
        if self.popen.poll() is None:
            self.popen.terminate()
            self.popen.wait(timeout=10 * TIME_FACTOR)

    @property
    def transactions(self):
        """The dumped transactions, oldest first. smtp-sink writes one file for each complete message."""
        found = []
        for path in sorted(glob.glob(os.path.join(self.directory, "*")), key=os.path.getmtime):
            with open(path, "rb") as f:
                found.append(_parse_dump(f.read()))
        return [t for t in found if t]

    accepted = transactions


def _parse_dump(text):
    """Parse a file of smtp-sink: X-... lines for the envelope, a Received: of its own, and the message."""
    txn = Transaction(0, "", "", "", [])
    at = 0
    while True:
        end = text.find(b"\n", at)
        if end < 0:
            return None
        line = text[at:end].decode("utf-8", "replace").rstrip("\r")
        name, _, value = line.partition(": ")
        if name == "X-Client-Addr":
            txn.peer = value
        elif name == "X-Helo-Args":
            txn.helo = value
        elif name in ("X-Mail-Args", "X-Rcpt-Args"):
            words = _PATH.match(f"{'MAIL FROM' if name == 'X-Mail-Args' else 'RCPT TO'}:{value}")
            if not words:
                return None
            params = (words.group(2) or "").split()
            if name == "X-Mail-Args":
                txn.sender, txn.mail_params = words.group(1), params
            else:
                txn.rcpts.append(Rcpt(words.group(1), params))
        elif not name.startswith("X-Client-Proto"):
            break
        at = end + 1
    lines = text[at:].split(b"\n")[1:]  # without the Received: of smtp-sink itself
    while lines and lines[0][:1] in (b" ", b"\t"):
        del lines[0]
    data = b"\n".join(ln.rstrip(b"\r") for ln in lines)
    txn.data = data.replace(b"\n", b"\r\n")
    txn.size = len(txn.data)
    txn.answered = True
    return txn
