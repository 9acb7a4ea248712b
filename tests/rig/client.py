# SPDX-License-Identifier: ISC
"""An SMTP client that sends exactly the words it is given."""

import re
import socket
import ssl
from dataclasses import dataclass

from .base import TIME_FACTOR


class SmtpError(AssertionError):
    """An unexpected reply, or none."""


@dataclass
class Reply:
    """A reply of the server. code: int; lines: the texts after the code, without line ends."""

    code: int
    lines: list

    def __str__(self):
        return f"{self.code} {' / '.join(self.lines)}"


def quote_message(content):
    """The bytes to send after 354: the content with dots doubled, and the final dot. A missing last CRLF is added."""
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    if b"\r\n." in content or content.startswith(b"."):
        content = re.sub(rb"(\A|\r\n)\.", rb"\1..", content)
    return content + b".\r\n"


class SmtpClient:
    """A connection. address: (host, port) or the path of a unix socket; source: the address to connect from; greet: wait for
    the greeting. Every method for a command returns the Reply, also a refusal."""

    def __init__(self, address, helo="client.test", timeout=60, lmtp=False, source=None, greet=True):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(timeout * TIME_FACTOR)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(address)
        self.file = self.sock.makefile("rb")
        self.greeting = self.read() if greet else None
        self.extensions = []
        if greet and helo and self.greeting.code == 220:
            reply = self.cmd(f"{'LHLO' if lmtp else 'EHLO'} {helo}")
            self.extensions = reply.lines[1:]

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def read(self):
        lines = []
        while True:
            line = self.file.readline(65536)
            if not line.endswith(b"\n"):
                raise SmtpError(f"connection closed by the server after {lines!r} {line!r}")
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if not re.match(r"\d{3}([ -]|$)", text):
                raise SmtpError(f"not an SMTP reply: {text!r}")
            lines.append(text[4:])
            if text[3:4] != "-":
                return Reply(int(text[:3]), lines)

    def write(self, data):
        """Send bytes unchanged, or a text as UTF-8."""
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def cmd(self, line):
        self.write(line + "\r\n")
        return self.read()

    def starttls(self, context=None, helo="client.test", lmtp=False):
        """STARTTLS, the handshake (context: an ssl.SSLContext; the default trusts every certificate) and EHLO."""
        reply = self.cmd("STARTTLS")
        if reply.code != 220:
            raise SmtpError(f"STARTTLS: {reply}")
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self.file.close()
        self.sock = context.wrap_socket(self.sock)
        self.file = self.sock.makefile("rb")
        self.extensions = self.cmd(f"{'LHLO' if lmtp else 'EHLO'} {helo}").lines[1:]
        return self

    def mail(self, sender, params=""):
        return self.cmd(f"MAIL FROM:<{sender}>{' ' if params else ''}{params}")

    def rcpt(self, recipient, params=""):
        return self.cmd(f"RCPT TO:<{recipient}>{' ' if params else ''}{params}")

    def data(self, content):
        """Send DATA and the content. Returns the reply to the final dot, or the refusal of DATA."""
        reply = self.cmd("DATA")
        if reply.code != 354:
            return reply
        self.write(quote_message(content))
        return self.read()

    def quit(self):
        reply = self.cmd("QUIT")
        self.close()
        return reply

    def close(self):
        self.file.close()
        self.sock.close()


def send(address, sender, recipients, content, mail_params="", helo="client.test", lmtp=False, timeout=60):
    """Send one message; every reply must be positive. recipients: addresses, or (address, parameters). Returns the last reply."""
    with SmtpClient(address, helo=helo, lmtp=lmtp, timeout=timeout) as c:
        replies = [("MAIL", c.mail(sender, mail_params))]
        for rcpt in recipients:
            name, params = (rcpt, "") if isinstance(rcpt, str) else rcpt
            replies.append((f"RCPT {name}", c.rcpt(name, params)))
        for what, reply in replies:
            if reply.code != 250:
                raise SmtpError(f"{what}: {reply}")
        reply = c.data(content)
        if reply.code != 250:
            raise SmtpError(f"end of data: {reply}")
        c.quit()
        return reply
