# SPDX-License-Identifier: ISC
"""An SMTP or LMTP server that records each transaction exactly, and misbehaves when told to.

A hook decides about misbehaviour. hook(stage, conn, arg) is called before each reply. It returns one of:

    None                the usual reply
    "451 4.3.0 later"   this reply
    CLOSE               close the connection without a reply
    RESET               as CLOSE, but with a TCP reset
    HANG                never reply
    Raw(data)           send these bytes, and then never reply

Stages: connect, helo, starttls, auth, mail, rcpt, data, body, dot, rset, noop, xfor, xcli, quit. arg is the line at helo, auth,
mail, rcpt and xcli. At body arg is the first bytes of the content; if the hook returns a reply text, it is sent at once, and no reply
after the dot. At dot arg is the Transaction, which is in sink.transactions already, with answered False. For LMTP the hook is called
at dot once for each recipient; conn.dot_index is the number of the recipient.

With tls (an ssl.SSLContext) the sink offers STARTTLS; with tls and wrap, connections begin with TLS. conn.tls is the version of TLS,
or "".
"""

import hashlib
import os
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

from .base import wait_for

CLOSE = object()
HANG = object()
RESET = object()


@dataclass
class Raw:
    """Bytes that are sent unchanged, with a line end or without; then the sink never replies."""

    data: bytes


EXTENSIONS = ("PIPELINING", "SIZE 0", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")
_PATH = re.compile(r"^(?:MAIL FROM|RCPT TO):\s*<((?:\"(?:[^\"\\]|\\.)*\"|[^>\"])*)>(?: (.*))?$", re.IGNORECASE)


@dataclass
class Rcpt:
    """addr: the text between the angle brackets; params: the ESMTP words, in the client's order and spelling."""

    addr: str
    params: list


@dataclass
class Transaction:
    """conn: the number of the connection; data: the content without dot stuffing (b"" if the sink does not keep data)."""

    conn: int
    peer: str
    helo: str
    sender: str
    mail_params: list
    rcpts: list = field(default_factory=list)
    refused: list = field(default_factory=list)
    data: bytes = b""
    size: int = 0
    sha256: str = ""
    answered: bool = False
    tls: str = ""
    when: float = 0.0

    @property
    def addrs(self):
        return [r.addr for r in self.rcpts]

    def headers(self, name):
        """The values of all header fields of that name, unfolded."""
        head = self.data.split(b"\r\n\r\n", 1)[0].replace(b"\r\n\t", b" ").replace(b"\r\n ", b" ")
        wanted = name.lower().encode() + b":"
        found = [ln[len(wanted):].strip() for ln in head.split(b"\r\n") if ln.lower().startswith(wanted)]
        return [v.decode("utf-8", "replace") for v in found]


def split_trace(data):
    """Split a copy's content: (the first two header fields, Received and X-Split-Copy; the rest)."""
    at = 0
    for _ in range(2):
        at = data.index(b"\r\n", at) + 2
        while data[at : at + 1] in (b" ", b"\t"):
            at = data.index(b"\r\n", at) + 2
    return data[:at], data[at:]


class _Gone(Exception):
    """The connection is over."""


class _Connection:
    """One accepted connection, in its own thread."""

    def __init__(self, sink, sock, peer, number):
        self.sink = sink
        self.sock = sock
        self.number = number
        self.peer = str(peer)
        self.buffer = bytearray()
        self.helo = ""
        self.tls = ""
        self.resumed = False
        self.lmtp = False
        self.txn = None
        self.dot_index = 0

    def fill(self):
        chunk = self.sock.recv(262144)
        if not chunk:
            raise _Gone
        self.buffer += chunk

    def line(self):
        while True:
            end = self.buffer.find(b"\n")
            if end >= 0:
                line = bytes(self.buffer[: end + 1])
                del self.buffer[: end + 1]
                return line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            if len(self.buffer) > 65536:
                raise _Gone
            self.fill()

    def reply(self, stage, usual, arg=None):
        """Ask the hook, and send its reply, or `usual` if it returns None. Returns True if the reply was positive."""
        hook = self.sink.hook
        said = hook(stage, self, arg) if hook else None
        self.misbehave(said)
        text = said if said is not None else usual
        if stage == "dot" and text[0] == "2":
            arg.answered = True
        self.sock.sendall(text.encode() + b"\r\n")
        if text.startswith("421"):
            raise _Gone
        return text[0] in "23"

    def misbehave(self, said):
        """Do what the hook returned. Returns only if that was a reply text, or None."""
        if said is None or isinstance(said, str):
            return
        if said is RESET:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(said, Raw):
            self.sock.sendall(said.data)
        if said is HANG or isinstance(said, Raw):
            while self.sock.recv(65536):
                pass
        raise _Gone

    def run(self):
        try:
            if self.sink.wrap:
                self.start_tls()
            self.reply("connect", f"220 {self.sink.name}.test ESMTP sink")
            while self.command(self.line()):
                pass
        except (OSError, _Gone):
            pass
        finally:
            self.sock.close()

    def command(self, line):
        self.sink.commands.append((self.number, line))
        verb = line[:4].upper()
        if verb in ("EHLO", "LHLO", "HELO"):
            self.greet(verb, line)
        elif verb == "STAR" and self.sink.tls and not self.tls:
            if self.reply("starttls", "220 2.0.0 Go on") and self.buffer == b"":
                self.start_tls()
        elif verb == "AUTH":
            self.reply("auth", "502 5.5.1 Not offered", line)
        elif verb == "XCLI":
            self.txn = None
            self.reply("xcli", f"220 {self.sink.name}.test ESMTP sink", line)
        elif verb == "MAIL":
            self.mail(line)
        elif verb == "RCPT":
            self.rcpt(line)
        elif verb == "DATA":
            self.data()
        elif verb == "QUIT":
            self.reply("quit", "221 2.0.0 Bye")
            return False
        elif verb in ("RSET", "NOOP", "XFOR"):
            if self.reply(verb.lower(), "250 2.0.0 Ok") and verb == "RSET":
                self.txn = None
        else:
            self.sock.sendall(b"500 5.5.2 What?\r\n")
        return True

    def start_tls(self):
        self.sock = self.sink.tls.wrap_socket(self.sock, server_side=True)
        self.tls = self.sock.version()
        self.resumed = self.sock.session_reused
        self.buffer.clear()

    def greet(self, verb, line):
        self.lmtp = verb == "LHLO"
        self.helo = line[5:]
        words = [f"{self.sink.name}.test", *(self.sink.extensions if verb != "HELO" else ())]
        words += ["STARTTLS"] if self.sink.tls and not self.tls and verb != "HELO" else []
        lines = [f"250-{w}" for w in words[:-1]] + [f"250 {words[-1]}"]
        self.reply("helo", "\r\n".join(lines), line)

    def mail(self, line):
        found = _PATH.match(line)
        usual = "250 2.1.0 Ok" if found and not self.txn else "503 5.5.1 Nested MAIL" if found else "501 5.5.4 Syntax"
        if self.reply("mail", usual, line) and found and not self.txn:
            self.txn = Transaction(self.number, self.peer, self.helo, found.group(1), (found.group(2) or "").split())
            self.txn.tls = self.tls

    def rcpt(self, line):
        found = _PATH.match(line)
        usual = "250 2.1.5 Ok" if found and self.txn else "503 5.5.1 Need MAIL" if found else "501 5.5.4 Syntax"
        good = self.reply("rcpt", usual, line)
        if found and self.txn:
            rcpt = Rcpt(found.group(1), (found.group(2) or "").split())
            (self.txn.rcpts if good else self.txn.refused).append(rcpt)

    def data(self):
        txn = self.txn
        ok = txn is not None and bool(txn.rcpts)
        if not self.reply("data", "354 Go on" if ok else "503 5.5.1 No recipients") or not ok:
            return
        said = self.read_content(txn)
        self.txn = None
        if said is not None:
            return
        self.sink.record(txn)
        if not self.lmtp:
            self.reply("dot", "250 2.0.0 Ok", txn)
            return
        for self.dot_index, rcpt in enumerate(txn.rcpts):
            self.reply("dot", f"250 2.0.0 <{rcpt.addr}> Ok", txn)

    def read_content(self, txn):
        """Read the content up to the line that is only a dot. Only CRLF.CRLF ends it. Returns the reply that was sent before the
        end, or None."""
        while len(self.buffer) < 3:
            self.fill()
        said = self.sink.hook("body", self, bytes(self.buffer)) if self.sink.hook else None
        self.misbehave(said)
        if said is not None:
            self.sock.sendall(said.encode() + b"\r\n")
        seen = 0
        while True:
            if self.buffer.startswith(b".\r\n"):
                end, skip = 0, 3
                break
            end = self.buffer.find(b"\r\n.\r\n", seen)
            if end >= 0:
                end, skip = end + 2, 3
                break
            seen = max(0, len(self.buffer) - 4)
            self.fill()
        data = bytes(self.buffer[:end])
        del self.buffer[: end + skip]
        if data.startswith(b".") or b"\r\n." in data:
            data = re.sub(rb"(\A|\r\n)\.", rb"\1", data)
        txn.size = len(data)
        txn.sha256 = hashlib.sha256(data).hexdigest()
        if self.sink.keep_data:
            txn.data = data
        return said


class Sink:
    """A recording server on a port of its own (or on a unix socket), started at once.

    transactions: all that were received completely, with any reply; accepted: those that got 250. commands: (number of the
    connection, line) of every command. A sink that is stopped and started again keeps its address.
    """

    def __init__(
        self, rig, name, unix=False, extensions=EXTENSIONS, hook=None, keep_data=True, start=True, address=None, tls=None, wrap=False
    ):
        self.name = name
        self.extensions = tuple(extensions)
        self.tls = tls
        self.wrap = wrap
        self.hook = hook
        self.keep_data = keep_data
        self.transactions = []
        self.commands = []
        self.connections = 0
        self._listener = None
        self._open = set()
        self._lock = threading.Lock()
        self.address = address or (rig.path(f"{name}.sock") if unix else ("127.0.0.1", rig.free_port()))
        if start:
            self.start()
        rig.on_close(self.stop)

    @property
    def bracketed(self):
        """The address in the form of Postfix and splitmilter.conf: "[host]:port"."""
        return f"unix:{self.address}" if isinstance(self.address, str) else f"[{self.address[0]}]:{self.address[1]}"

    @property
    def accepted(self):
        with self._lock:
            return [t for t in self.transactions if t.answered]

    @property
    def open_connections(self):
        with self._lock:
            return len(self._open)

    def record(self, txn):
        txn.when = time.monotonic()
        with self._lock:
            self.transactions.append(txn)

    def start(self):
        unix = isinstance(self.address, str)
        if unix and os.path.exists(self.address):
            os.unlink(self.address)
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        if not unix:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(self.address)
        if unix:
            os.chmod(self.address, 0o666)
        sock.listen(256)
        self._listener = sock
        threading.Thread(target=self._accept, args=(sock,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            with self._lock:
                if self._listener is not listener:
                    sock.close()
                    return
                self.connections += 1
                conn = _Connection(self, sock, peer, self.connections)
                self._open.add(conn)
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        conn.run()
        with self._lock:
            self._open.discard(conn)

    def stop(self):
        """Stop listening, and cut all connections. From now on connections are refused."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is None:
            return
        try:
            listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        listener.close()
        self.cut()

    def cut(self):
        """Cut all connections, but still listen."""
        with self._lock:
            open_now = list(self._open)
        for conn in open_now:
            try:
                conn.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def describe(self):
        """The transactions as text, for failure texts."""
        with self._lock:
            rows = [f"  {t.conn}: <{t.sender}> {t.mail_params} {t.rcpts} {t.size} bytes" for t in self.transactions]
        return "\n".join([f"{self.name} received {len(rows)} transactions:", *rows[-20:]])

    def wait(self, count, seconds=20, accepted=True):
        """Wait until there are `count` transactions (accepted: only accepted ones count), and return them all."""

        def there():
            found = self.accepted if accepted else list(self.transactions)
            return found if len(found) >= count else None

        return wait_for(there, seconds, f"{count} transactions at {self.name}", self.describe)

    def wait_recipients(self, count, seconds=20):
        """Wait until the accepted transactions have `count` recipients altogether, and return the transactions."""

        def there():
            found = self.accepted
            return found if sum(len(t.rcpts) for t in found) >= count else None

        return wait_for(there, seconds, f"{count} recipients at {self.name}", self.describe)
