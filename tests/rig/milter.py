# SPDX-License-Identifier: ISC
"""The MTA's side of the milter protocol (version 6), as far as an envelope-only milter needs it."""

import socket
import struct

SMFIF_ADDHDRS, SMFIF_ADDRCPT, SMFIF_DELRCPT, SMFIF_ADDRCPT_PAR, SMFIF_SETSYMLIST = 0x01, 0x04, 0x08, 0x80, 0x100
ALL_ACTIONS, ALL_STEPS = 0x1FF, 0x1FFFFF
SMFIP_NOCONNECT, SMFIP_NOHELO, SMFIP_NOMAIL, SMFIP_NORCPT, SMFIP_NOBODY, SMFIP_NOHDRS, SMFIP_NOEOH = (1 << i for i in range(7))
SMFIP_NR_HDR, SMFIP_NR_CONN = 1 << 7, 1 << 12
SMFIP_NODATA, SMFIP_NR_MAIL, SMFIP_NR_RCPT, SMFIP_NR_DATA = 1 << 9, 1 << 14, 1 << 15, 1 << 16


class Milter:
    """One connection. `actions`, `steps`: the bits that the milter asked for in the negotiation."""

    def __init__(self, address, actions=ALL_ACTIONS, seconds=20):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(seconds)
        self.sock.connect(address)
        self.send(b"O", struct.pack("!III", 6, actions, ALL_STEPS))
        command, data = self.receive()
        assert command == b"O", (command, data)
        self.version, self.actions, self.steps = struct.unpack("!III", data[:12])

    def send(self, command, data=b""):
        self.sock.sendall(struct.pack("!I", len(data) + 1) + command + data)

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise EOFError("the milter closed the connection")
            data += more
        return data

    def receive(self):
        (length,) = struct.unpack("!I", self._exactly(4))
        data = self._exactly(length)
        return data[:1], data[1:]

    def macros(self, stage, **values):
        self.send(b"D", stage + b"".join(f"{k}\0{v}\0".encode() for k, v in values.items()))

    def connect(self, client):
        """Send the client's address. Only for a milter that has not asked to skip this step."""
        family = b"6" if ":" in client else b"4"
        self.send(b"C", b"client.test\0" + family + struct.pack("!H", 25) + client.encode() + b"\0")
        return None if self.steps & SMFIP_NR_CONN else self.receive()

    def mail(self, *argv):
        self.send(b"M", b"".join(a.encode() + b"\0" for a in argv))
        return None if self.steps & SMFIP_NR_MAIL else self.receive()

    def rcpt(self, *argv):
        """Send a recipient. Returns the milter's answer as text ("c"), or the text of the SMTP reply that it asks for."""
        self.send(b"R", b"".join(a.encode() + b"\0" for a in argv))
        command, data = self.receive()
        return data.rstrip(b"\0").decode() if command == b"y" else command.decode()

    def header(self, name, body):
        """Send one header. Only for a milter that has not asked to skip headers."""
        self.send(b"L", name.encode() + b"\0" + body.encode() + b"\0")
        return None if self.steps & SMFIP_NR_HDR else self.receive()

    def data(self):
        if self.steps & SMFIP_NODATA:
            return
        self.send(b"T")
        if not self.steps & SMFIP_NR_DATA:
            assert self.receive()[0] == b"c"

    def eom(self):
        """Send the end of the message. Returns (the changes in order, the final answer). A change is ("+", address, words),
        ("-", address), ("h", name, value) or ("m", name, index, value)."""
        self.send(b"E")
        changes = []
        while True:
            command, data = self.receive()
            parts = [p.decode("utf-8", "replace") for p in data.split(b"\0")[:-1]]
            if command == b"2":
                changes.append(("+", parts[0], parts[1]))
            elif command == b"+":
                changes.append(("+", parts[0], ""))
            elif command == b"-":
                changes.append(("-", parts[0]))
            elif command == b"m":
                index = struct.unpack("!I", data[:4])[0]
                parts = [p.decode() for p in data[4:].split(b"\0")[:-1]]
                changes.append(("m", parts[0], index, parts[1]))
            elif command == b"h":
                changes.append(("h", parts[0], parts[1]))
            elif command == b"y":
                return changes, parts[0]
            else:
                return changes, command.decode()

    def abort(self):
        self.send(b"A")

    def close(self, quit_first=True):
        if quit_first:
            self.send(b"Q")
        self.sock.close()


def ask(address):
    """Send one message to a@example.com through a milter. Returns the changes that eom() describes, without words."""
    m = Milter(address)
    m.macros(b"M", i="4F00")
    m.mail("<s@sender.test>")
    assert m.rcpt("<a@example.com>") == "c"
    m.data()
    if not m.steps & SMFIP_NOHDRS:
        m.header("To", "a@example.com")
    if not m.steps & SMFIP_NOEOH:
        m.send(b"N")
        m.receive()
    changes, answer = m.eom()
    m.close()
    assert answer in ("a", "c"), (changes, answer)
    return [change[:2] for change in changes]
