# SPDX-License-Identifier: ISC
"""Outages of the server of a table (tables.Backend): killed, hung, slow, restarted under load; reconnects; passwords.

    def test_server_is_killed(r):
        table_outages.check_killed(Pgsql(r))

Most start a front Postfix with splitmilter, whose filter_maps have the table of the type.

Environment: SPLIT_TABLE_MESSAGES (messages under load, 200), SPLIT_RECONNECTS (200), SPLIT_SEED (repeats a run).
"""

import os
import random
import re
import threading
import time

from .base import TIME_FACTOR, wait_for
from .client import SmtpClient
from .daemons import instrumented, run_splitctl
from .gate import Gate
from .tables import FAILED, FOUND, TableQuery, make_rows, seed
from .tower import Tower

MESSAGES = int(os.environ.get("SPLIT_TABLE_MESSAGES", "200"))
RECONNECTS = int(os.environ.get("SPLIT_RECONNECTS", "200"))
LIMIT_SECONDS = min(25, round(3 * TIME_FACTOR))  # lookup_timeout of the tests


def _fill(backend):
    backend.rows = make_rows(random.Random(seed()))
    backend.fill(backend.rows)


class Front:
    """A front Postfix with splitmilter that has the table; the filters and the mailbox are sinks."""

    def __init__(self, backend, on_failure="tempfail", address=None, more=None):
        self.spec = backend.write(f"outage-{on_failure}", {**backend.plain, **backend.fast, **(more or {})}, address)
        options = f'    filter_maps += {{ "{self.spec}" }}\n    on_failure = "{on_failure}"\n    lookup_timeout = "{LIMIT_SECONDS}s"\n'
        self.tower = Tower(backend.rig, milter=options, short=True)
        self.milter = self.tower.milter

    def reply(self, number=0):
        """The reply to RCPT TO for a recipient of the table, and the seconds that it took."""
        begin = time.monotonic()
        reply = self.tower.rcpt_reply(f"load{number}@example.com")
        return reply, time.monotonic() - begin

    def is_refused(self):
        """RCPT TO gets 451 4.3.0 within the time limit."""
        reply, seconds = self.reply()
        assert reply.code == 451 and "4.3.0" in str(reply), f"{reply}\n{self.milter.log()}"
        assert seconds < LIMIT_SECONDS + 2 * TIME_FACTOR, f"the reply took {seconds:.1f} s"

    def wait_accepted(self, seconds=20):
        """Wait until RCPT TO is accepted again, without a restart."""
        wait_for(lambda: self.reply()[0].code == 250, seconds, "recovery of the table", self.milter.log)

    def is_filtered(self, number=0):
        """A message to this recipient is accepted, and arrives at the filter that the table has for it."""
        sink = self.tower.taps["primary" if number % 2 else "secondary"]
        before = len(sink.accepted)
        self.tower.send([f"load{number}@example.com"], b"Subject: x\r\n\r\nx\r\n")
        sink.wait(before + 1, 30)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.milter.pid}/fd"))


def check_away(backend, stop, start, has_warning=True):
    """After stop() recipients get 451; after start() they are filtered again. has_warning: the log has one line about the host."""
    _fill(backend)
    front = Front(backend)
    front.is_filtered(0)
    front.is_filtered(1)
    stop()
    for _ in range(6):
        front.is_refused()
    failures = [ln for ln in front.milter.log_lines("warning: ") if front.spec in ln and "status=" not in ln]
    assert not has_warning or len(failures) == 1, f"{len(failures)} warnings about the host, not 1:\n{front.milter.log()}"
    assert backend.secret not in front.milter.log(), "the password is in the log"
    start()
    front.wait_accepted()
    front.is_filtered(0)
    front.is_filtered(1)
    assert not front.tower.mailbox.accepted, "a message was not filtered"


def check_killed(backend):
    """The server is killed and started again."""
    check_away(backend, backend.server.kill, backend.server.start)


def check_default_intervals(backend):
    """A single server is found again soon after it is back, also with the default retry_interval of 60 seconds."""
    _fill(backend)
    front = Front(backend, more={name: None for name in backend.fast})
    front.is_filtered(0)
    backend.server.kill()
    for _ in range(3):
        front.is_refused()
    backend.server.start()
    front.wait_accepted(20 * TIME_FACTOR)
    front.is_filtered(1)
    assert not front.tower.mailbox.accepted, "a message was not filtered"


def check_hung(backend):
    """The server hangs (SIGSTOP) and goes on."""
    check_away(backend, backend.server.freeze, backend.server.thaw)


def check_away_at_start(backend):
    """A server that is away when splitmilter starts does not keep it from starting."""
    _fill(backend)
    backend.server.kill()
    front = Front(backend)
    front.is_refused()
    backend.server.start()
    front.wait_accepted()
    front.is_filtered(0)


def check_accept(backend):
    """With on_failure = "accept" a message is delivered unchanged while the server is away."""
    _fill(backend)
    front = Front(backend, "accept")
    front.is_filtered(0)
    backend.server.kill()
    front.tower.send(["load0@example.com"], b"Subject: x\r\n\r\nx\r\n")
    front.tower.mailbox.wait(1, 30)
    front.milter.wait_log(r"to=<load0@example.com>, status=unchanged \(")
    backend.server.start()


def check_refused_key(backend, more, recipient):
    """With on_failure = "accept" a recipient for which the query fails is deferred nevertheless, so that a sender cannot bypass the
    filter by its choice. more: the parameters of such a query. The table has no row for the recipient."""
    _fill(backend)
    front = Front(backend, "accept", more=more)
    front.is_filtered(0)
    reply = front.tower.rcpt_reply(recipient)
    assert reply.code == 451 and "4.3.0" in str(reply), f"{reply}\n{front.milter.log()}"
    front.is_filtered(1)
    assert not front.tower.mailbox.accepted, "a message was not filtered"


def check_slow(backend):
    """A server that answers slowly, but within lookup_timeout, is waited for; one that is slower gets 451."""
    _fill(backend)
    gate = Gate(backend.rig, backend.address)
    front = Front(backend, address=gate.address)
    front.is_filtered(0)
    gate.delay_s = 0.3
    front.is_filtered(1)
    gate.delay_s = LIMIT_SECONDS * 2.0
    front.is_refused()
    gate.delay_s = 0.0
    front.wait_accepted()
    front.is_filtered(0)
    gate.hang()
    front.is_refused()
    gate.flow()
    front.wait_accepted()
    front.is_filtered(1)
    assert not front.tower.mailbox.accepted, "a message was not filtered"


class Load:
    """Clients that send messages to the recipients load0 to load9, one after the other, until `count` were accepted."""

    def __init__(self, address, count, clients=6):
        self.address, self.count, self.limit = address, count, 0
        self.accepted, self.deferred, self.wrong = [], 0, []
        self.lock = threading.Lock()
        self.is_allowed = threading.Condition(self.lock)
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    @property
    def is_done(self):
        return not any(t.is_alive() for t in self.threads)

    def allow(self, limit):
        """From now on the clients wait when so many messages were accepted."""
        with self.is_allowed:
            self.limit = min(limit, self.count)
            self.is_allowed.notify_all()

    def _run(self, client):
        number = client
        try:
            while True:
                with self.is_allowed:
                    self.is_allowed.wait_for(lambda: len(self.accepted) < self.limit or len(self.accepted) >= self.count)
                    if len(self.accepted) >= self.count:
                        self.is_allowed.notify_all()
                        return
                self._send(number)
                number += len(self.threads)
        except Exception as e:  # the main thread reports it
            with self.lock:
                self.wrong.append(repr(e))

    def _send(self, number):
        with SmtpClient(self.address, timeout=60) as c:
            reply = c.mail("s@sender.test")
            if reply.code == 250:
                reply = c.rcpt(f"load{number % 10}@example.com")
            if reply.code == 250:
                reply = c.data(f"Subject: m{number}\r\n\r\nx\r\n".encode())
        with self.lock:
            if reply.code == 250:
                self.accepted.append(number)
            elif reply.code == 451:
                self.deferred += 1
            else:
                self.wrong.append(str(reply))


def check_restarts_under_load(backend, messages=MESSAGES):
    """The server is killed, stopped with SIGSTOP, and started again while clients send. Each message that is accepted arrives at the
    filter of its recipient, and none at the mailbox. Afterwards the number of descriptors is what it was before."""
    _fill(backend)
    takes_idle_interval = backend.kind != "ldap"
    front = Front(backend, more={"idle_interval": "1"} if takes_idle_interval else None)
    front.is_filtered(0)
    before = front.descriptors()
    sinks = front.tower.taps
    load = Load(front.tower.front.address, messages)
    turns, step = 0, max(1, messages // 10)
    while not load.is_done:
        goal, deferred = len(load.accepted) + step, load.deferred
        if turns % 3 == 2:
            load.allow(messages)
            backend.server.freeze()
            wait_for(lambda deferred=deferred: load.deferred > deferred or load.is_done, 30, "a refusal while the server hangs")
            load.allow(len(load.accepted) + 2 * step)
            backend.server.thaw()
        else:
            load.allow(goal + step)
            backend.server.kill()
            backend.server.start()
        turns += 1
        wait_for(lambda goal=goal: len(load.accepted) >= goal or load.is_done, 90, f"{goal} messages", front.milter.log)
    print(f"{len(load.accepted)} messages accepted, {load.deferred} refused with 451, {turns} restarts")
    assert not load.wrong, load.wrong[:10]
    assert turns > 2, "hardly a restart, so the test is worth nothing"
    front.tower.settle(60)
    arrived = {name: {s for t in sinks[name].accepted for s in t.headers("Subject")} for name in ("primary", "secondary")}
    for number in load.accepted:
        name = "primary" if number % 2 else "secondary"
        assert f"m{number}" in arrived[name], f"message {number} is not at {name}"
    assert not front.tower.mailbox.accepted, "a message was not filtered"
    front.wait_accepted()
    # The connections that clients used at the same time are closed by the look-ups that come later than idle_interval.
    allowed = before + (1 if takes_idle_interval else len(load.threads))
    wait_for(lambda: front.reply()[0].code == 250 and front.descriptors() <= allowed, 30, "descriptors to be closed", lambda: f"{before} before, {front.descriptors()} now")
    assert backend.secret not in front.milter.log(), "the password is in the log"


def check_reconnects(backend, count=RECONNECTS):
    """Each look-up finds its connection closed, connects again, and is answered. Descriptors and memory do not grow, nor do they when
    connections fail."""
    _fill(backend)
    gate = Gate(backend.rig, backend.address)
    query = TableQuery(backend.rig, backend.write("reconnects", {**backend.plain, **backend.fast}, gate.address), seconds=30)
    first = None
    for i in range(count):
        answer = query.ask("load1@example.com")
        assert answer == (FOUND, b"primary"), f"look-up {i}: {answer!r}\n{query.log()}"
        if i == count // 10:
            first = query.descriptors(), query.rss_kb()
        gate.cut()
        wait_for(lambda: gate.open_connections == 0, 10, "connections to be closed")
    assert gate.connections >= count, f"only {gate.connections} connections for {count} look-ups"
    now = query.descriptors(), query.rss_kb()
    print(f"{count} reconnects: descriptors {first[0]} and {now[0]}, memory {first[1]} and {now[1]} kB")
    assert now[0] <= first[0], f"{first[0]} descriptors after {count // 10} look-ups, {now[0]} after {count}"
    if not instrumented():
        assert now[1] < first[1] + 1024, f"{first[1]} kB after {count // 10} look-ups, {now[1]} kB after {count}"
    query.stop()
    _check_failed_connections(backend, gate)


def _check_failed_connections(backend, gate):
    """Connections that are refused, or time out, leave no descriptor behind."""
    query = TableQuery(backend.rig, backend.write("failing", {**backend.plain, **backend.fast}, gate.address), seconds=1, name="failing")
    wait_for(lambda: query.ask("load1@example.com").kind == FOUND, 60, "a connection", query.log)
    before = query.descriptors()
    gate.cut()
    gate.is_closed = True
    for _ in range(2):
        seen = gate.connections
        wait_for(lambda seen=seen: query.ask("load1@example.com").kind == FAILED and gate.connections >= seen + 2, 60, "connections that fail")
        assert query.descriptors() < before, f"{query.descriptors()} descriptors after connections that fail, {before} before"
        gate.is_closed = False
        gate.hang()
    gate.flow()
    query.stop()


def check_wrong_password(backend):
    """A look-up with a wrong password fails, and shows no password."""
    _fill(backend)
    wrong = "another-pa55-w0rd"
    spec = backend.write("wrong-password", {**backend.plain, **backend.fast})
    path = spec.split(":", 1)[1]
    with open(path, encoding="utf-8") as f:
        text = f.read()
    assert backend.secret in text, "the .cf file has no password, so the test is worth nothing"
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace(backend.secret, wrong))
    query = TableQuery(backend.rig, spec, seconds=5)
    answer = query.ask("load1@example.com")
    assert answer.kind == FAILED, answer
    assert wrong not in answer.text.decode() + query.log(), f"the password is shown: {answer!r}\n{query.log()}"
    query.stop()


def check_tools(backend, has_password=True):
    """`splitctl check` asks the server, and reports one that is away and (has_password) a password file that others may read;
    `explain` names the table and the query. None of them shows the password."""
    _fill(backend)
    specs = {"good": backend.write("good"), "open": backend.write("open", mode=0o644)}

    def ctl(name, *command):
        text = (
            f'log {{ target = "stderr" }}\nmilter {{ socket = "unix:{backend.rig.path("m.sock")}" filter_maps = {{ "{specs[name]}" }} lookup_timeout = "{LIMIT_SECONDS}s" }}\n'
            'filter primary { nexthop = "smtp:[127.0.0.1]:10024" }\nfilter secondary { nexthop = "smtp:[127.0.0.1]:10025" }\n'
        )
        status, out, err = run_splitctl(backend.rig, backend.rig.write(f"{name}.conf", text), *command, check=False)
        assert backend.secret not in out + err, f"the password is shown:\n{out}{err}"
        return status, out + err

    status, out = ctl("good", "check")
    assert status == 0 and "good.cf" not in out, out
    status, out = ctl("good", "explain", "load1@example.com")
    assert status == 0 and f"{specs['good']}: load1@example.com -> primary" in out, out
    assert re.search(r"(?m)^ +asked: host \S+: .*load1@example\.com", out), out
    _, out = ctl("open", "check")
    assert bool(re.search(r"(?m)^warning.*open\.cf.*everybody can read it", out)) == has_password, out
    if backend.server is None:
        return
    backend.server.kill()
    status, out = ctl("good", "check")  # a warning, because a server that is away does not prevent the start
    assert status == 0 and re.search(r"(?im)^warning.*good\.cf", out), out
    status, out = ctl("good", "explain", "load1@example.com")
    assert status != 0, out
    backend.server.start()

