# SPDX-License-Identifier: ISC
"""A socketmap server (socketmap_table(5)). The test sets its answers and faults while it runs."""

import contextlib
import os
import socket
import socketserver
import threading


class SocketMap:
    """Listens at once on the unix socket `path`.

    look_up(name, key): the reply of the map `name`, as bytes: b"OK secondary", b"NOTFOUND ", b"TEMP busy". It is called for
    each request, also for one that repeats a request whose connection broke.
    fault: how requests are handled; a test may set it at any time:
        None         they are answered
        "once"       the first request on a connection is answered; after the second one the connection is closed
        "garbage"    bytes that are no netstring are sent, and the connection is closed
        "cut"        half of the reply is sent, and the connection is closed
        "close"      the connection is closed after any request
        "hang"       nothing is sent for hang_seconds, then the connection is closed
        bytes        this reply is sent to any request
        a function   it is called for each request, and returns one of these
    """

    def __init__(self, rig, path, look_up):
        self.path = path
        self.look_up = look_up
        self.fault = None
        self.hang_seconds = 60  # longer than splitmilter waits for a server
        self.asked = 0
        self.broken = 0  # connections that were closed without an answer to a request
        self._lock = threading.Lock()
        self._connections = set()
        self._server = None
        self._released = threading.Event()
        self.start()
        rig.on_close(self.stop)

    def start(self):
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                with outer._lock:
                    outer._connections.add(self.connection)
                with contextlib.suppress(OSError, ValueError):
                    outer._serve(self.rfile, self.connection)
                with outer._lock:
                    outer._connections.discard(self.connection)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            request_queue_size = 100

        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._released = threading.Event()
        self._server = Server(self.path, Handler)
        os.chmod(self.path, 0o666)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        """Close the socket and every connection. start() opens it again."""
        if self._server is None:
            return
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, requests, connection):
        count = 0
        while (request := _read_request(requests)) is not None:
            count += 1
            with self._lock:
                self.asked += 1
            reply = self._reply(request, count)
            if reply is None:
                with self._lock:
                    self.broken += 1
                return
            connection.sendall(reply)
            if not reply.endswith(b","):
                return

    def _reply(self, request, count):
        """The bytes to send; None: close the connection."""
        with self._lock:
            fault = self.fault() if callable(self.fault) else self.fault
        if fault == "close" or (fault == "once" and count > 1):
            return None
        if fault == "garbage":
            return b"!garbage\n"
        if fault == "hang":
            self._released.wait(self.hang_seconds)
            return None
        name, _, key = request.partition(b" ")
        answer = fault if isinstance(fault, bytes) else self.look_up(name.decode(), key.decode("utf-8", "surrogateescape"))
        reply = b"%d:%s," % (len(answer), answer)
        return reply[: len(reply) // 2] if fault == "cut" else reply


def _read_request(requests):
    """The next netstring; None at the end of the connection."""
    digits = b""
    while not digits.endswith(b":"):
        digit = requests.read(1)
        if not digit:
            return None
        digits += digit
    length = int(digits[:-1]) + 1
    text = requests.read(length)
    return text[:-1] if len(text) == length else None
