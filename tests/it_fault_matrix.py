#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Each step of a delivery, each kind of fault, once: what becomes of each recipient is as the tables below say.

Every cell is a destination with a server of its own, which misbehaves at that step one time, and is well afterwards. A copy for two
recipients goes to each, all of them in one message. At connect(2) nothing can be said, so that row has faults of its own.
No content is cut, no copy lost or left, no descriptor, connection or thread left behind.
"""

import collections
import os
import re
import signal
import socket

import rig

TIMEOUT = int(8 * rig.TIME_FACTOR)  # of what half a line is followed by; the servers here must never be as slow as that by themselves
CONTENT = b"Subject: matrix\r\n\r\n" + b"".join(b"line %06d " % n + b"x" * 80 + b"\r\n.\r\n" for n in range(1500)) + b"end\r\n"
FAULTS = "4xx 5xx 421 garbage long half reset close".split()

# What the log says of the first and of the second recipient, in this order: S sent, D deferred, X dead.
#             4xx     5xx    421    garbage long   half   reset  close
SMTP = """
banner        DS+DS   DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
helo          DS+DS   S+S    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
mail          DS+DS   X+X    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
rcpt1         DS+S    X+S    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
rcpt2         S+DS    S+X    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
data          DS+DS   X+X    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
body          DS+DS   X+X    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
dot1          DS+DS   X+X    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
rset          DS+DS   DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
quit          S+S     S+S    S+S    S+S    S+S    S+S    S+S    S+S
next          DS+DS   X+X    S+S    S+S    S+S    S+S    S+S    S+S
"""
# dot1, dot2: the reply for that recipient. A reply in the middle of the content can only be that for the first one.
LMTP = """
banner        DS+DS   DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
helo          DS+DS   DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
mail          DS+DS   X+X    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
rcpt1         DS+S    X+S    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
rcpt2         S+DS    S+X    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
data          DS+DS   X+X    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
body          DS+DS   X+DS   DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
dot1          DS+S    X+S    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
dot2          S+DS    S+X    S+DS   S+DS   S+DS   S+DS   S+DS   S+DS
rset          DS+DS   DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
quit          S+S     S+S    S+S    S+S    S+S    S+S    S+S    S+S
next          DS+DS   X+X    S+S    S+S    S+S    S+S    S+S    S+S
"""
CONNECT = {"refused": "DS+DS", "unanswered": "DS+DS", "reset": "DS+DS", "close": "DS+DS"}
# How often the server saw the whole content for a recipient, where that is not once for each S: it had it, but did not say so.
SEEN = {
    ("smtp", "dot1"): "2+2     1+1    2+2    2+2    2+2    2+2    2+2    2+2",
    ("lmtp", "dot1"): "2+1     1+1    2+2    2+2    2+2    2+2    2+2    2+2",
    ("lmtp", "dot2"): "1+2     1+1    1+2    1+2    1+2    1+2    1+2    1+2",
}
GOOD_CODE = {"banner": "220", "data": "354", "quit": "221"}
STAGE = {"banner": "connect", "rcpt1": "rcpt", "rcpt2": "rcpt", "dot1": "dot", "dot2": "dot", "next": "mail"}
LETTER = {"sent": "S", "deferred": "D", "dead": "X"}


def answer(step, fault):
    """What the server does instead of its usual reply."""
    code = GOOD_CODE.get(step, "250")
    return {
        "4xx": "451 4.3.0 later",
        "5xx": "554 5.6.0 never",
        "421": "421 4.3.2 going down",
        "garbage": rig.Raw(b"\x16\x03\x01 what \xff\x00 is this\r\n"),
        "long": rig.Raw(f"{code} ".encode() + b"x" * 100000 + b"\r\n"),
        "half": rig.Raw(f"{code} 2.0".encode()),
        "reset": rig.RESET,
        "close": rig.CLOSE,
    }[fault]


class Cell:
    """One destination: its server, what it is to do, and what is to come of it."""

    def __init__(self, r, flavour, step, fault, expected, extensions):
        self.name = f"{step}-{fault}"
        self.step, self.fault = step, fault
        self.expected = expected.split("+")
        seen = SEEN.get((flavour, step))
        wanted = seen.split()[FAULTS.index(fault)].split("+") if seen else [str(e.count("S")) for e in self.expected]
        self.seen = [int(n) for n in wanted]
        self.has_fired = False
        self.put_off = set()  # rset: recipients that were deferred so that a RSET comes
        self.taken = collections.Counter()  # per recipient: how often the server said 2xx to its content
        self.is_down = fault in ("refused", "unanswered")  # at first
        self.sink = rig.Sink(r, self.name, extensions=extensions, hook=self.hook, start=not self.is_down)
        self.plug = Plug(self.sink.address) if fault == "unanswered" else None

    def recover(self):
        """From not being there."""
        if self.plug:
            self.plug.close()
        self.sink.start()

    def is_here(self, stage, conn, arg):
        if self.has_fired or self.is_down or stage != STAGE.get(self.step, self.step):
            return False
        if self.step in ("rcpt1", "rcpt2"):
            return ("first@" if self.step == "rcpt1" else "second@") in arg
        if self.step in ("dot1", "dot2"):
            return conn.dot_index == int(self.step[3]) - 1
        return self.step != "next" or any(t.conn == conn.number for t in self.sink.transactions)

    def hook(self, stage, conn, arg):
        if self.is_here(stage, conn, arg):
            self.has_fired = True
            return answer(self.step, self.fault)
        if self.step == "rset" and stage == "rcpt" and arg not in self.put_off:
            self.put_off.add(arg)
            return "450 4.2.1 put off"
        if stage == "dot":
            self.taken.update([arg.addrs[conn.dot_index]] if conn.lmtp else arg.addrs)
        return None

    def check(self, log):
        """The texts of what is not as it must be."""
        wrong = []
        for name, expected, seen in zip(("first", "second"), self.expected, self.seen):
            addr = f"{name}@x.test"
            found = [t for t in self.sink.transactions if addr in t.addrs]
            if log[self.name, name] != expected:
                wrong.append(f"{self.name}: {name}: {log[self.name, name]}, not {expected}")
            if self.taken[addr] != expected.count("S") or len(found) != seen:
                wrong.append(f"{self.name}: {name}: taken {self.taken[addr]} times, seen {len(found)} times, not {seen}")
            if any(rig.split_trace(t.data)[1] != CONTENT for t in found):
                wrong.append(f"{self.name}: {name}: the content is not what was sent")
        if not self.has_fired and not self.is_down:
            wrong.append(f"{self.name}: the fault did not happen")
        return wrong


class Plug:
    """Listens, but its queue of connections is full, so that connect(2) gets no answer."""

    def __init__(self, address):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(address)
        self.listener.listen(0)
        self.fillers = []
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            self.fillers.append(filler)

    def close(self):
        for s in (*self.fillers, self.listener):
            s.close()


def descriptors(pid):
    """Kinds of open descriptors: "socket", "directory", "spool file", "other"."""
    kinds = collections.Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        try:
            target = os.readlink(path)
            is_directory = os.path.isdir(path)
        except OSError:
            continue
        is_file = re.search(r"/spool/(tmp|free|queue|dead|quarantine)/", target) and not is_directory
        kinds["socket" if target.startswith("socket:") else "directory" if is_directory else "spool file" if is_file else "other"] += 1
    return kinds


class Matrix:
    """All cells of one flavour, and the splitrelay between."""

    def __init__(self, r, flavour, table, extensions=rig.sink.EXTENSIONS):
        self.r = r
        self.cells = [Cell(r, flavour, "connect", fault, expected, extensions) for fault, expected in CONNECT.items()]
        for line in table.strip().split("\n"):
            step, *row = line.split()
            assert len(row) == len(FAULTS), line
            self.cells += [Cell(r, flavour, step, fault, expected, extensions) for fault, expected in zip(FAULTS, row)]
        self.address = ("127.0.0.1", r.free_port())
        self.spool = r.path("spool")
        text = f"""\
log {{ target = "stderr" }}
relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" spool_directory = "{self.spool}" min_free_space = "1M" }}
"""
        for cell in self.cells:
            text += f"""\
destination {cell.name} {{ relay_to = {{ "{cell.sink.bracketed}" }} protocol = "{flavour}" concurrency = 1
    retry_min = "1s" retry_max = "1s" connect_timeout = "{TIMEOUT}s" command_timeout = "{TIMEOUT}s" }}
"""
        self.relay = rig.start_splitrelay(r, text, self.address)
        self.before = descriptors(self.relay.pid)
        self.threads = 0

    def thread_count(self):
        return len(os.listdir(f"/proc/{self.relay.pid}/task"))

    def at(self, *steps):
        return [cell for cell in self.cells if cell.step in steps]

    def send(self, cells, *names):
        rcpts = [f"{name}@x.test.{cell.name}.copy.split.invalid" for cell in cells for name in names]
        rig.send(self.address, "s@sender.test", rcpts, CONTENT)

    def log(self):
        """(destination, name) -> the letters."""
        found = collections.defaultdict(str)
        for name, dest, status in re.findall(r"to=<(\w+)@x\.test>, dest=([a-z0-9-]+), .*?, status=(\w+) ", self.relay.log()):
            found[dest, name] += LETTER[status]
        return found

    def wait(self, cells, names, expected):
        """Until the log has as much as is expected of each recipient."""
        def are_there():
            log = self.log()
            return all(len(log[c.name, n]) >= len(expected(c, i)) for c in cells for i, n in enumerate(names))

        rig.wait_for(are_there, 40, f"the ends of {', '.join(names)}", self.differences)

    def differences(self):
        log = self.log()
        return "\n".join(text for cell in self.cells for text in cell.check(log))

    def settled(self):
        """Nothing open, nothing queued."""
        now = descriptors(self.relay.pid)
        queued = [f for top in ("queue", "tmp") for _, _, files in os.walk(os.path.join(self.spool, top)) for f in files]
        return (now["socket"] <= self.before["socket"] and now["spool file"] == 0 and now["other"] <= self.before["other"]
                and self.thread_count() <= self.threads and not queued)

    def left(self):
        now = descriptors(self.relay.pid)
        return f"descriptors {dict(self.before)}, now {dict(now)}; threads {self.threads}, now {self.thread_count()}\n{self.differences()}"

    def settle(self):
        self.relay.signal(signal.SIGUSR1)  # which ends all kept connections
        rig.wait_for(self.settled, 20, "no connection, thread or file to be left", self.left)
        # what is kept open on purpose is bounded: at most two directories for each destination
        assert descriptors(self.relay.pid)["directory"] <= self.before["directory"] + 2 * len(self.cells)

    def run(self):
        later = self.at("next", "quit")
        self.send(later, "warm")
        self.wait(later, ["warm"], lambda _c, _i: "S")
        self.threads = self.thread_count()  # those that wait for clients are there by now
        self.send([c for c in self.cells if c.step != "quit"], "first", "second")
        down = [c for c in self.cells if c.is_down]
        for cell in sorted(down, key=lambda c: c.fault):  # "refused" is found out at once
            self.wait([cell], ["first", "second"], lambda _c, _i: "D")
            cell.recover()
        self.wait([c for c in self.cells if c.step != "quit"], ["first", "second"], lambda c, i: c.expected[i])
        self.settle()
        self.send(self.at("quit"), "first", "second")
        self.wait(self.cells, ["first", "second"], lambda c, i: c.expected[i])
        self.settle()
        wrong = self.differences()
        assert not wrong, f"\n{wrong}"
        dead = {c.name for c in self.cells if "X" in "".join(c.expected)}
        found = {d for d in os.listdir(os.path.join(self.spool, "dead")) if os.listdir(os.path.join(self.spool, "dead", d))}
        assert found == dead, f"dead copies of {found ^ dead}"
        assert not os.listdir(os.path.join(self.spool, "quarantine"))
        assert not self.relay.log_lines("error: "), self.relay.log_lines("error: ")
        print(f"{len(self.cells)} cells, as expected")


def test_smtp(r):
    """Commands are pipelined."""
    Matrix(r, "smtp", SMTP).run()


def test_smtp_step_by_step(r):
    """One command at a time."""
    Matrix(r, "smtp", SMTP, ("SIZE 0", "8BITMIME", "DSN", "ENHANCEDSTATUSCODES")).run()


def test_lmtp(r):
    """A reply for each recipient."""
    Matrix(r, "lmtp", LMTP).run()


if __name__ == "__main__":
    rig.main(timeout=120)
