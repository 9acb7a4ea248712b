#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Each kind of fault at each step of a delivery, once. The tables below have the results for each recipient.

A step is named by its place in the dialogue, after the kind of destination if that is special: "may-starttls". Every cell is a
destination with a server of its own, which misbehaves once at that step, and works afterwards. One message has a copy for two
recipients for each destination. At connect(2) a server cannot reply, so that row has faults of its own. No content is cut, no
copy is lost or left over, and no descriptor, connection or thread is left behind, in splitrelay or at the servers.
"""

import base64
import collections
import os
import re
import signal
import socket
import ssl

import rig

TIMEOUT = int(8 * rig.TIME_FACTOR)  # the wait after half a line; longer than any delay of the servers under load
CONTENT = b"Subject: matrix\r\n\r\n" + b"".join(b"line %06d " % n + b"x" * 80 + b"\r\n.\r\n" for n in range(1500)) + b"end\r\n"
# With PostgreSQL all destinations are looked at every few seconds, and looks that overlap keep some helper threads.
THREADS_MORE = 16 if rig.queue.ON_POSTGRESQL else 0
DATABASE_MAX = 3 * 5  # descriptors: the file, its log and its index, of the writer and four readers; or connections to PostgreSQL
FAULTS = "4xx 5xx 421 garbage long half reset close".split()

# The log lines for the first and for the second recipient, in order: S sent, D deferred, X dead. In the table for TLS, T is sent
# with TLS, and P in plain text.
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
next          S+S     X+X    S+S    S+S    S+S    S+S    S+S    S+S
"""
# dot1, dot2: the reply for that recipient. A reply within the content can only be the one for the first recipient.
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
next          S+S     X+X    S+S    S+S    S+S    S+S    S+S    S+S
"""
# With "may" a server that refuses STARTTLS gets the copy over the same connection, and one whose handshake fails gets it over a new
# one. After any other fault, and with "encrypt" after every fault, the copy waits for another attempt with TLS. handshake: the bytes
# that the server sends instead of its first record. ehlo: the EHLO after the handshake.
TLS = """
may-starttls       P+P    P+P    DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT
may-handshake      P+P    P+P    P+P    P+P    P+P    P+P    P+P    P+P
may-ehlo           DT+DT  T+T    DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT
encrypt-starttls   DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT
encrypt-handshake  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT
encrypt-ehlo       DT+DT  T+T    DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT
encrypt-dot1       DT+DT  X+X    DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT
encrypt-next       T+T    X+X    T+T    T+T    T+T    T+T    T+T    T+T
encrypt-quit       T+T    T+T    T+T    T+T    T+T    T+T    T+T    T+T
wrap-handshake     DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT
wrap-banner        DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT  DT+DT
"""
# old: a server without EHLO. deaf: a server that refuses MAIL and then accepts recipients and DATA; a dot would be an empty message
# to them. Authentication, and the commands about the original client. xclient-ehlo: the EHLO after XCLIENT. A refusal of XFORWARD
# has no effect, and a refusal of the RSET before it must not lose a copy.
MORE = """
old-helo            DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
deaf-mail           DS+DS  X+X    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
plain-auth1         DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
login-auth1         DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
login-auth2         DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
login-auth3         DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
xforward-xforward1  S+S    S+S    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
xforward-xforward2  S+S    S+S    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
xforward-rset       DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
xforward-next       S+S    X+X    S+S    S+S    S+S    S+S    S+S    S+S
xclient-xclient     DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
xclient-ehlo        DS+DS  S+S    DS+DS  DS+DS  DS+DS  DS+DS  DS+DS  DS+DS
xclient-quit        S+S    S+S    S+S    S+S    S+S    S+S    S+S    S+S
"""
CONNECT = {"refused": "DS+DS", "unanswered": "DS+DS", "reset": "DS+DS", "close": "DS+DS"}
# The number of times that the server got the whole content for a recipient, where that differs from the number of S: it got the
# content, but did not accept it.
SEEN = {
    ("smtp", "dot1"): "2+2     1+1    2+2    2+2    2+2    2+2    2+2    2+2",
    ("smtp", "encrypt-dot1"): "2+2 1+1 2+2 2+2 2+2 2+2 2+2 2+2",
    ("lmtp", "dot1"): "2+1     1+1    2+2    2+2    2+2    2+2    2+2    2+2",
    ("lmtp", "dot2"): "1+2     1+1    1+2    1+2    1+2    1+2    1+2    1+2",
}
GOOD_CODE = {"banner": "220", "data": "354", "quit": "221", "starttls": "220", "xclient": "220", "auth1": "334", "auth2": "334", "auth3": "235"}
STAGE = {
    "banner": "connect",
    "rcpt1": "rcpt",
    "rcpt2": "rcpt",
    "dot1": "dot",
    "dot2": "dot",
    "next": "mail",
    "handshake": "starttls",
    "ehlo": "helo",
    "xforward1": "xfor",
    "xforward2": "xfor",
    "xclient": "xcli",
}
STEP_BY_STEP = ("SIZE 0", "8BITMIME", "DSN", "ENHANCEDSTATUSCODES")  # no PIPELINING
LETTER = {"sent": "S", "deferred": "D", "dead": "X"}
USER, PASSWORD = "relay", "pass word"
AUTH = f'auth_user = "{USER}" auth_password_file = "{{password}}" auth_plaintext = "yes" auth_mechanisms'
# Kind of destination: (further options, further extensions of its server).
KINDS = {
    "": ("", ()),
    "old": ("", ()),
    "deaf": ("", ()),
    "may": ('tls = "may"', ()),
    "encrypt": ('tls = "encrypt"', ()),
    "wrap": ('tls = "encrypt" tls_wrap = "yes"', ()),
    "plain": (AUTH + ' = "PLAIN"', ("AUTH PLAIN",)),
    "login": (AUTH + ' = "LOGIN"', ("AUTH LOGIN",)),
    "xforward": ('xforward = "yes"', ("XFORWARD NAME ADDR PROTO HELO IDENT",)),
    "xclient": ('xclient = "yes"', ("XCLIENT NAME ADDR PROTO HELO",)),
}


def answer(step, fault):
    """The answer of the server instead of its usual reply."""
    code = "235" if step == "plain-auth1" else GOOD_CODE.get(step.rpartition("-")[2], "250")
    return {
        "4xx": "451 4.3.0 later",
        "5xx": "554 5.6.0 never",
        "421": "421 4.3.2 going down",
        "garbage": rig.Raw(b"\x16\x03\x01 what \xff\x00 is this\r\n"),
        "long": rig.Raw(f"{code} ".encode() + b"x" * 300000 + b"\r\n"),
        "half": rig.Raw(f"{code} 2.0".encode()),
        "reset": rig.RESET,
        "close": rig.CLOSE,
    }[fault]


def spoil_handshake(conn, fault):
    """The answer of the server to the client's first record."""
    conn.fill()
    if fault == "421":
        conn.sock.sendall(b"421 4.3.2 going down\r\n")
        return rig.CLOSE
    return {
        "4xx": rig.Raw(b"451 4.3.0 later\r\n"),
        "5xx": rig.Raw(b"554 5.6.0 never\r\n"),
        "garbage": rig.Raw(b"\x16\x03\x03\x00\x20" + b"what \xff\x00 is this" * 2),  # a whole record
        "long": rig.Raw(b"\x16\x03\x03\xff\xff" + b"x" * 100000),
        "half": rig.Raw(b"\x16\x03\x03\x00\x7a\x02\x00"),
        "reset": rig.RESET,
        "close": rig.CLOSE,
    }[fault]


class Cell:
    """One destination: its server, the fault, and the expected results."""

    def __init__(self, r, flavour, step, fault, expected, extensions, tls=None):
        self.name = f"{step}-{fault}"
        self.kind, _, self.place = step.rpartition("-")
        self.step, self.fault = step, fault
        self.lines, more = KINDS[self.kind]
        letters = expected.split("+")
        self.expected = [re.sub("[PT]", "S", e) for e in letters]
        self.is_encrypted = [{"P": False, "T": True}.get(e[-1]) for e in letters]  # None: either is right
        seen = SEEN.get((flavour, step))
        wanted = seen.split()[FAULTS.index(fault)].split("+") if seen else [str(e.count("S")) for e in self.expected]
        self.seen = [int(n) for n in wanted]
        self.has_fired = False
        self.put_off = set()  # rset: recipients that were deferred, which leads to a RSET
        self.taken = collections.Counter()  # recipient: the number of 2xx replies to its content
        self.is_down = fault in ("refused", "unanswered")  # until recover()
        self.asked = collections.Counter()  # (number of the connection, stage): count
        self.authenticated = set()  # numbers of connections
        self.refused = set()  # numbers of the connections with the fault
        self.early = []  # (stage, bytes that came before the reply to it although PIPELINING was not offered)
        self.sink = rig.Sink(r, self.name, extensions=(*extensions, *more), hook=self.hook, start=not self.is_down, tls=tls)
        self.plug = Plug(self.sink.address) if fault == "unanswered" else None

    def recover(self):
        """Start a server that was down."""
        if self.plug:
            self.plug.close()
        self.sink.start()

    def is_here(self, stage, conn, arg):
        if self.has_fired or self.is_down or stage != STAGE.get(self.place, self.place):
            return False
        if self.place in ("rcpt1", "rcpt2"):
            return ("first@" if self.place == "rcpt1" else "second@") in arg
        if self.place in ("dot1", "dot2"):
            return conn.dot_index == int(self.place[3]) - 1
        if self.place in ("xforward1", "xforward2"):
            return self.asked[conn.number, stage] == int(self.place[8])
        if self.place == "ehlo":
            return conn.tls != "" or self.asked[conn.number, "xcli"] > 0
        return self.place != "next" or any(t.conn == conn.number for t in self.sink.transactions)

    def fire(self, conn):
        self.has_fired = True
        if self.place != "handshake":
            return answer(self.step, self.fault)
        if self.kind != "wrap":
            conn.sock.sendall(b"220 2.0.0 Go on\r\n")
        return spoil_handshake(conn, self.fault)

    def wrap(self, conn):
        """Begin the connection with TLS, or with the fault."""
        if self.place == "handshake" and not self.has_fired:
            return self.fire(conn)
        conn.start_tls()
        return None

    def authenticate(self, conn, line):
        """Do the whole exchange of AUTH. Returns the last reply."""
        steps = [base64.b64encode(s.encode()).decode() for s in (USER, PASSWORD, f"\0{USER}\0{PASSWORD}")]
        said = ["AUTH LOGIN", *steps[:2]] if self.kind == "login" else [f"AUTH PLAIN {steps[2]}"]
        for n, wanted in enumerate(said, 1):
            line = line if n == 1 else conn.line()
            if line != wanted:
                return "535 5.7.8 Wrong"
            if self.place == f"auth{n}" and not self.has_fired:
                return self.fire(conn)
            if n < len(said):
                conn.sock.sendall(b"334 VXNlcm5hbWU6\r\n")
        self.authenticated.add(conn.number)
        return "235 2.7.0 Ok"

    def is_allowed(self, conn):
        """Return true if this connection may send mail."""
        if self.kind in ("encrypt", "wrap"):
            return conn.tls != ""
        if self.kind in ("plain", "login"):
            return conn.number in self.authenticated
        return self.kind != "xclient" or self.asked[conn.number, "xcli"] > 0

    def hook(self, stage, conn, arg):
        self.asked[conn.number, stage] += 1
        if conn.buffer and stage not in ("body", "dot") and "PIPELINING" not in self.sink.extensions:
            self.early.append((stage, bytes(conn.buffer)))
        if self.kind == "wrap" and stage == "connect":
            said = self.wrap(conn)
            if said is not None:
                return said
        if self.kind == "old" and stage == "helo" and arg.startswith("EHLO"):
            return "502 5.5.2 What?"
        if stage == "auth":
            return self.authenticate(conn, arg)
        if self.is_here(stage, conn, arg):
            self.refused.add(conn.number)
            return self.fire(conn)
        if self.kind == "deaf" and conn.number in self.refused and stage in ("rcpt", "data"):
            return "250 2.1.5 Ok" if stage == "rcpt" else "354 Go on"
        if stage == "mail" and not self.is_allowed(conn):
            return "530 5.7.0 Not so"
        if self.place == "rset" and stage == "rcpt" and arg not in self.put_off:
            self.put_off.add(arg)
            return "450 4.2.1 put off"
        if stage == "dot":
            self.taken.update([arg.addrs[conn.dot_index]] if conn.lmtp else arg.addrs)
        return None

    def check(self, log):
        """The deviations from the expected results, as texts."""
        wrong = []
        for name, expected, seen, is_encrypted in zip(("first", "second"), self.expected, self.seen, self.is_encrypted):
            addr = f"{name}@x.test"
            found = [t for t in self.sink.transactions if addr in t.addrs]
            if log[self.name, name] != expected:
                wrong.append(f"{self.name}: {name}: {log[self.name, name]}, not {expected}")
            if self.taken[addr] != expected.count("S") or len(found) != seen:
                wrong.append(f"{self.name}: {name}: taken {self.taken[addr]} times, seen {len(found)} times, not {seen}")
            if any(not t.data.endswith(b"\r\n" + CONTENT) or rig.split_trace(t.data)[1] != CONTENT for t in found):
                wrong.append(f"{self.name}: {name}: the content is not what was sent")
            if is_encrypted is not None and any(bool(t.tls) != is_encrypted for t in found):
                wrong.append(f"{self.name}: {name}: by {[t.tls or 'plain text' for t in found]}")
        if any(line == "." for _, line in self.sink.commands):
            wrong.append(f"{self.name}: a dot without a message")
        if self.early:
            wrong.append(f"{self.name}: sent before the reply: {self.early}")
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


def descriptors(pid, spool):
    """The numbers of open descriptors by kind: "socket", "directory", "database", "content", "other"."""
    kinds = collections.Counter()
    connections = rig.queue.connections(spool)
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        try:
            target = os.readlink(path)
            is_directory = os.path.isdir(path)
        except OSError:
            continue
        is_database = re.search(r"/spool/queue\.db(-wal|-shm)?$", target) or target in connections
        is_content = "/spool/large/" in target and not is_directory
        kinds["database" if is_database else "socket" if target.startswith("socket:") else "directory" if is_directory
              else "content" if is_content else "other"] += 1
    return kinds


class Matrix:
    """All cells of one protocol, and the splitrelay that delivers to them."""

    def __init__(self, r, flavour, table, extensions=rig.sink.EXTENSIONS, connect=CONNECT, tls=None):
        self.r = r
        self.cells = [Cell(r, flavour, "connect", fault, expected, extensions) for fault, expected in connect.items()]
        for line in table.strip().split("\n"):
            step, *row = line.split()
            assert len(row) == len(FAULTS), line
            self.cells += [Cell(r, flavour, step, fault, expected, extensions, tls) for fault, expected in zip(FAULTS, row)]
        self.address = ("127.0.0.1", r.free_port())
        self.spool = r.path("spool")
        password = r.write("password", PASSWORD + "\n", 0o600)
        text = f"""\
log {{ target = "stderr" }}
relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" {rig.queue.options(self.r, self.spool)} min_free_space = "1M" }}
"""
        for cell in self.cells:
            text += f"""\
destination {cell.name} {{ relay_to = {{ "{cell.sink.bracketed}" }} protocol = "{flavour}" concurrency = 1
    retry_min = "1s" retry_max = "1s" connect_timeout = "{TIMEOUT}s" command_timeout = "{TIMEOUT}s"
    {cell.lines.format(password=password)} }}
"""
        self.relay = rig.start_splitrelay(r, text, self.address)
        self.before = descriptors(self.relay.pid, self.spool)
        self.threads = 0

    def thread_count(self):
        return len(os.listdir(f"/proc/{self.relay.pid}/task"))

    def at(self, *places):
        return [cell for cell in self.cells if cell.place in places]

    def send(self, cells, *names):
        rcpts = [f"{name}@x.test.{cell.name}.copy.split.invalid" for cell in cells for name in names]
        rig.send(self.address, "s@sender.test", rcpts, CONTENT)

    def log(self):
        """(destination, recipient) -> the letters of its log lines."""
        found = collections.defaultdict(str)
        for name, dest, status in re.findall(r"to=<(\w+)@x\.test>, dest=([a-z0-9-]+), .*?, status=(\w+) ", self.relay.log()):
            found[dest, name] += LETTER[status]
        return found

    def wait(self, cells, names, expected):
        """Wait until the log has the expected number of lines for each recipient."""
        def are_there():
            log = self.log()
            return all(len(log[c.name, n]) >= len(expected(c, i)) for c in cells for i, n in enumerate(names))

        rig.wait_for(are_there, 40, f"the ends of {', '.join(names)}", self.differences)

    def differences(self):
        log = self.log()
        return "\n".join(text for cell in self.cells for text in cell.check(log))

    def settled(self):
        """Return true if no connection is open, no copy queued, and no descriptor or thread left."""
        now = descriptors(self.relay.pid, self.spool)
        queued = rig.queue.count(self.spool, "queued")
        return (now["socket"] <= self.before["socket"] and now["content"] == 0 and now["other"] <= self.before["other"]
                and now["database"] <= DATABASE_MAX and self.thread_count() <= self.threads + THREADS_MORE
                and not queued
                and not any(c.sink.open_connections for c in self.cells))

    def left(self):
        now = descriptors(self.relay.pid, self.spool)
        return f"descriptors {dict(self.before)}, now {dict(now)}; threads {self.threads}, now {self.thread_count()}\n{self.differences()}"

    def settle(self):
        self.relay.signal(signal.SIGUSR1)  # a reload closes all kept connections
        rig.wait_for(self.settled, 20, "no connection, thread or file to be left", self.left)
        assert descriptors(self.relay.pid, self.spool)["directory"] <= self.before["directory"]

    def run(self):
        later = self.at("next", "quit")
        self.send(later, "warm")
        self.wait(later, ["warm"], lambda _c, _i: "S")
        self.threads = self.thread_count()  # the threads that wait for clients have started by now
        self.send([c for c in self.cells if c.place != "quit"], "first", "second")
        down = [c for c in self.cells if c.is_down]
        for cell in sorted(down, key=lambda c: c.fault):  # "refused" is noticed at once
            self.wait([cell], ["first", "second"], lambda _c, _i: "D")
            cell.recover()
        self.wait([c for c in self.cells if c.place != "quit"], ["first", "second"], lambda c, i: c.expected[i])
        self.settle()
        self.send(self.at("quit"), "first", "second")
        self.wait(self.cells, ["first", "second"], lambda c, i: c.expected[i])
        self.settle()
        wrong = self.differences()
        assert not wrong, f"\n{wrong}"
        dead = {c.name for c in self.cells if "X" in "".join(c.expected)}
        found = {c.destination for c in rig.queue.copies(self.spool, "dead")}
        assert found == dead, f"dead copies of {found ^ dead}"
        assert not rig.queue.leftovers(self.spool), rig.queue.leftovers(self.spool)[:9]
        assert not self.relay.log_lines("error: "), self.relay.log_lines("error: ")
        print(f"{len(self.cells)} cells, as expected")
        return self


def test_smtp(r):
    """Each fault at each step of SMTP with PIPELINING has the result of the table SMTP."""
    Matrix(r, "smtp", SMTP).run()


def test_smtp_step_by_step(r):
    """Each fault at each step of SMTP without PIPELINING has the same result."""
    Matrix(r, "smtp", SMTP, STEP_BY_STEP).run()


def test_lmtp(r):
    """Each fault at each step of LMTP has the result of the table LMTP."""
    Matrix(r, "lmtp", LMTP).run()


def test_tls(r):
    """Each fault at the steps of TLS has the result of the table TLS, and a copy goes in plain text only where that is allowed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(rig.Authority(r).issue("server", "IP:127.0.0.1").path)
    matrix = Matrix(r, "smtp", TLS, connect={}, tls=context).run()
    for cell in matrix.cells:
        plain = len(matrix.relay.log_lines(f"dest={cell.name}: .*: going on without TLS"))
        assert plain == (cell.step == "may-handshake"), (cell.name, plain)


def check_more(matrix):
    for cell in matrix.at("xforward1", "xforward2"):
        refused = matrix.relay.log_lines(f"dest={cell.name}: .* refuses XFORWARD with (451|554)$")
        assert len(refused) == (cell.fault in ("4xx", "5xx")), (cell.name, refused)


def test_more_commands(r):
    """Each fault at HELO, AUTH, XFORWARD and XCLIENT has the result of the table MORE."""
    check_more(Matrix(r, "smtp", MORE, connect={}).run())


def test_more_commands_step_by_step(r):
    """Each fault at HELO, AUTH, XFORWARD and XCLIENT has the same result without PIPELINING."""
    check_more(Matrix(r, "smtp", MORE, STEP_BY_STEP, connect={}).run())


if __name__ == "__main__":
    rig.main(timeout=120)
