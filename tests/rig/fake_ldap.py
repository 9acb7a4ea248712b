# SPDX-License-Identifier: ISC
"""LDAP servers that answer what a test wants (RFC 4511), for the module ldap:

    server = FakeServer(r, entry(maildrop=["a@b.test"]) + done())
    server.url                  # "ldap://127.0.0.1:20389"
    server.clients              # the sockets of all that have connected
"""

import contextlib
import socket
import threading
import time


def tlv(tag, *parts):
    """An element in BER."""
    body = b"".join(parts)
    size = len(body)
    return bytes([tag]) + (bytes([size]) if size < 0x80 else b"\x84" + size.to_bytes(4, "big")) + body


def text(value, tag=4):
    return tlv(tag, value if isinstance(value, bytes) else value.encode())


def message(operation):
    """A message, in which FakeServer writes the id of the request for ID."""
    body = b"\x02\x01ID" + operation
    return tlv(0x30, body[:-1])[: -len(body) + 1] + body


def entry(**attributes):
    return message(tlv(0x64, text("cn=x"), tlv(0x30, *(tlv(0x30, text(n), tlv(0x31, *map(text, v))) for n, v in attributes.items()))))


def reference(*urls):
    return message(tlv(0x73, *map(text, urls)))


def done(code=0, referral=()):
    return message(tlv(0x65, bytes([0x0A, 1, code]), text(""), text(""), *([tlv(0xA3, *map(text, referral))] if referral else [])))


NOTIFICATION = b"\x30\x24\x02\x01\x00\x78\x1f\x0a\x01\x34\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20036"


class FakeServer:
    """Accepts the bind of each client, and sends the next of `replies` to each search, the last one for ever. Then it hangs; if
    is_closed, it closes the connection; if is_endless, it sends the reply again and again. trickle: (bytes, seconds): it sends so
    many bytes at a time, with a pause after them. on_search: called before a reply; what it returns is called after the reply."""

    def __init__(self, r, *replies, is_closed=False, is_endless=False, trickle=None):
        self.replies, self.is_closed, self.is_endless, self.trickle = list(replies), is_closed, is_endless, trickle
        self.on_search = None
        self.listener = socket.create_server(("127.0.0.1", r.free_port()))
        self.address = self.listener.getsockname()
        self.url = f"ldap://127.0.0.1:{self.address[1]}"
        self.clients = []  # all that have connected
        threading.Thread(target=self._accept, daemon=True).start()
        r.on_close(self.close)

    def close(self):
        for s in (self.listener, *self.clients):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.clients.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _send(self, client, data):
        size, seconds = self.trickle or (len(data), 0)
        for i in range(0, len(data), size or 1):
            client.sendall(data[i : i + size])
            if seconds:
                time.sleep(seconds)

    def _serve(self, client):
        with contextlib.suppress(OSError), client.makefile("rb") as f:
            while head := f.read(2):
                size = head[1] if head[1] < 0x80 else int.from_bytes(f.read(head[1] & 0x7F), "big")
                request = f.read(size)  # its message id is in one byte
                if request[3] == 0x60:  # a bind
                    client.sendall(message(tlv(0x61, b"\x0a\x01\x00\x04\x00\x04\x00")).replace(b"ID", request[2:3]))
                elif request[3] == 0x63:  # a search
                    reply = (self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]).replace(b"ID", request[2:3])
                    after = self.on_search() if self.on_search else None
                    self._send(client, reply)
                    while self.is_endless:
                        self._send(client, reply if self.trickle else reply * 200)
                    if after:
                        after()
                    if self.is_closed:
                        return client.shutdown(socket.SHUT_RDWR)
        return None
