# SPDX-License-Identifier: ISC
"""A TCP forwarder that records what the client sends: the exact SMTP commands between two real MTAs."""

import re
import socket
import threading

from .sink import Rcpt, Transaction, _PATH


class Tap:
    """Listens on a port of its own and forwards to target ((host, port))."""

    def __init__(self, rig, name, target):
        self.name = name
        self.target = target
        self.address = ("127.0.0.1", rig.free_port())
        self.streams = []
        self._lock = threading.Lock()
        self._sockets = set()
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(self.address)
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()
        rig.on_close(self.stop)

    @property
    def bracketed(self):
        return f"[127.0.0.1]:{self.address[1]}"

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            server = socket.create_connection(self.target, timeout=10)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        record = bytearray()
        with self._lock:
            self.streams.append(record)
            self._sockets |= {client, server}
        back = threading.Thread(target=self._copy, args=(server, client, None), daemon=True)
        back.start()
        self._copy(client, server, record)
        back.join()
        with self._lock:
            self._sockets -= {client, server}
        client.close()
        server.close()

    @staticmethod
    def _copy(source, sink, record):
        try:
            while True:
                chunk = source.recv(65536)
                if not chunk:
                    break
                if record is not None:
                    record += chunk
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for sock in (source, sink):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def stop(self):
        with self._lock:
            sockets = [self._listener, *self._sockets]
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._listener.close()

    @property
    def transactions(self):
        """The clients' transactions, as sink.Transaction objects. rcpts has all recipients, accepted or not."""
        with self._lock:
            streams = [bytes(s) for s in self.streams]
        found = []
        for number, stream in enumerate(streams, 1):
            found += _parse(number, stream)
        return found


def _parse(number, stream):
    helo, txn, found, at = "", None, [], 0
    while True:
        end = stream.find(b"\r\n", at)
        if end < 0:
            return found
        line = stream[at:end].decode("utf-8", "surrogateescape")
        at = end + 2
        verb = line[:4].upper()
        words = _PATH.match(line)
        if verb in ("EHLO", "HELO", "LHLO"):
            helo = line[5:]
        elif verb == "MAIL" and words:
            txn = Transaction(number, "", helo, words.group(1), (words.group(2) or "").split())
        elif verb == "RCPT" and words and txn:
            txn.rcpts.append(Rcpt(words.group(1), (words.group(2) or "").split()))
        elif verb == "DATA" and txn:
            done = re.compile(rb"(?:\A|\r\n)\.\r\n").search(stream[at:])
            if not done:
                return found
            content = stream[at : at + done.end() - 3]
            txn.data = re.sub(rb"(\A|\r\n)\.", rb"\1", content)
            txn.size = len(txn.data)
            at += done.end()
            found.append(txn)
            txn = None
