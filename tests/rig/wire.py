# SPDX-License-Identifier: ISC
"""A network between a program and a server, which can be cut: bytes stop in both directions, and nobody is told."""

import contextlib
import socket
import threading


class Wire:
    """Forwards TCP connections to `target`. cut(): connections stay open and silent, and new ones get no answer, as when packets
    are dropped. mend(): what was sent meanwhile arrives. reset(): all connections are closed."""

    def __init__(self, rig, target):
        self.target = target
        self.address = ("127.0.0.1", rig.free_port())
        self.port = self.address[1]
        self.connections = 0
        self._open = threading.Event()
        self._open.set()
        self._sockets = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(self.address, backlog=100)
        threading.Thread(target=self._accept, daemon=True).start()
        rig.on_close(self.close)

    def cut(self):
        self._open.clear()

    def mend(self):
        self._open.set()

    def reset(self):
        with self._lock:
            sockets = list(self._sockets)
        for s in sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        self.mend()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client):
        self._open.wait()
        try:
            server = socket.create_connection(self.target, timeout=10)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for s in (client, server):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets |= {client, server}
        back = threading.Thread(target=self._forward, args=(server, client), daemon=True)
        back.start()
        self._forward(client, server)
        back.join()
        with self._lock:
            self._sockets -= {client, server}
        client.close()
        server.close()

    def _forward(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                target.sendall(data)
            self._open.wait()  # the end of the connection is a packet, too
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
