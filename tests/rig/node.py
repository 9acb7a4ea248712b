# SPDX-License-Identifier: ISC
"""A splitrelay at a PostgreSQL that other splitrelays may share, and clients that send until they get 250."""

import collections
import threading
import time

from . import metrics
from .base import Failure, TIME_FACTOR, wait_for
from .client import SmtpClient, SmtpError
from .daemons import accepts, run_splitctl, start_splitrelay

NO_RESTART, RESTART_SECONDS = (64, 78), 2  # of conf/systemd/splitrelay.service.in
BODY = b"".join(b"%03d " % n + b"x" * 90 + b"\r\n" for n in range(30))


class Node:
    """One splitrelay, which is node `name`. Its destinations archive and newmail are both at `sink`. more: further options of
    section relay; destination: further options of both destinations."""

    def __init__(self, r, name, uri, sink, replicated="yes", more="", destination="", start=True):
        self.r, self.name, self.sink = r, name, sink
        self.address = ("127.0.0.1", r.free_port())
        self.page = r.free_port()
        self.spool = r.path(f"spool-{name}")
        self.starts = 0
        self.daemon = None
        self.text = f"""\
log {{ target = "stderr" }}
relay {{
    listen = {{ "inet:{self.address[1]}@127.0.0.1" }}
    hostname = "{name}.test"
    spool_directory = "{self.spool}"
    min_free_space = "1k"
    metrics = "inet:{self.page}@127.0.0.1"
    queue = "{uri}"
    queue_replicated = "{replicated}"
    node = "{name}"
    {more}
}}
destination archive {{ relay_to = {{ "{sink.bracketed}" }} retry_min = "1s" retry_max = "1s" {destination} }}
destination newmail {{ relay_to = {{ "{sink.bracketed}" }} retry_min = "1s" retry_max = "1s" {destination} }}
"""
        self.configuration = r.write(f"{name}.conf", self.text)
        if start:
            self.start()

    def start(self, is_awaited=True):
        """Start the splitrelay. Each start has a log of its own."""
        self.starts += 1
        self.daemon = start_splitrelay(self.r, self.text, self.address, name=f"{self.name}-{self.starts}", is_awaited=is_awaited)
        return self

    def serve(self, seconds=120):
        """Start as systemd does: again after each end, except for the exit statuses in NO_RESTART. Returns when it serves."""
        def is_up():
            self.start(is_awaited=False)
            wait_for(lambda: accepts(self.address) or not self.daemon.running, 20, f"{self.name} to serve or to end", self.daemon.log)
            if self.daemon.running:
                return True
            status, self.daemon.popen = self.daemon.popen.returncode, None
            if status in NO_RESTART:
                raise Failure(f"{self.name} ended with {status}, and is not started again:\n{self.daemon.log()}")
            time.sleep(RESTART_SECONDS)
            return False

        wait_for(is_up, seconds, f"{self.name} to serve", self.logs)
        return self

    def kill(self):
        self.daemon.kill()

    def stop(self):
        self.daemon.stop()

    def put(self, subject, body=BODY, destination="archive", timeout=60):
        """Send one message. Returns the last reply."""
        with SmtpClient(self.address, timeout=timeout) as c:
            for reply in (c.mail("s@sender.test"), c.rcpt(f"a@x.test.{destination}.copy.split.invalid")):
                if reply.code != 250:
                    return reply
            return c.data(f"Subject: {subject}\r\n\r\n".encode() + body)

    def timed_put(self, subject, **options):
        """As put(). Returns (the last reply, the seconds until it came)."""
        begin = time.monotonic()
        return self.put(subject, **options), time.monotonic() - begin

    def ctl(self, *args, check=True):
        return run_splitctl(self.r, self.configuration, *args, check=check)

    def is_ready(self):
        """(status, text) of /readyz."""
        status, _, text = metrics.get(self.page, "/readyz")
        return status, text

    def logs(self):
        """The logs of all starts."""
        text = ""
        for n in range(1, self.starts + 1):
            with open(self.r.path(f"{self.name}-{n}.log"), encoding="utf-8", errors="replace") as f:
                text += f.read()
        return text


class Load:
    """Sends one message after the other to these nodes in turn, each until it is accepted, until end() is called. pause: seconds
    between messages. taken: subjects that got 250; uncertain: subjects with an attempt that ended with another reply, or without
    one, so that the message may be in the queue all the same; gaps: seconds from one accepted message to the next."""

    def __init__(self, nodes, prefix="load", pause=0.0, body=BODY):
        self.nodes, self.prefix, self.pause, self.body = nodes, prefix, pause, body
        self.is_over = threading.Event()
        self.taken, self.uncertain = [], set()
        self.gaps = []
        self.waits = collections.Counter()  # whole seconds until a reply that was not 250
        self.replies = collections.Counter()
        self.turn = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        last = time.monotonic()
        while not self.is_over.wait(self.pause):
            subject = f"{self.prefix}{len(self.taken)}"
            while not self._attempt(subject):
                if self.is_over.wait(0.05):
                    return
            now = time.monotonic()
            self.gaps.append(now - last)
            last = now
            self.taken.append(subject)

    def _attempt(self, subject):
        node = self.nodes[self.turn % len(self.nodes)]
        self.turn += 1
        begin = time.monotonic()
        try:
            reply = node.put(subject, self.body, timeout=30)
        except (OSError, SmtpError):
            self.uncertain.add(subject)
            return False
        if reply.code == 250:
            return True
        self.uncertain.add(subject)
        self.waits[int(time.monotonic() - begin)] += 1
        self.replies[str(reply)[:60]] += 1
        return False

    def more(self, count=20, seconds=40):
        """Wait until so many more messages were taken."""
        goal = len(self.taken) + count
        wait_for(lambda: len(self.taken) >= goal, seconds, f"{goal} messages to be taken", lambda: f"{len(self.taken)} were; {self.replies}")

    def end(self):
        """Stop sending. A message that is on its way is uncertain."""
        self.is_over.set()
        self.thread.join(60 * TIME_FACTOR)
        self.uncertain.add(f"{self.prefix}{len(self.taken)}")


def arrived(sink):
    """{subject: the number of times that the sink accepted it}."""
    return collections.Counter(s for t in sink.accepted for s in t.headers("Subject"))
