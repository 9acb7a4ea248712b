# SPDX-License-Identifier: ISC
"""A TCP forwarder before any server, which can hang, delay, refuse and cut connections."""

import socket
import threading


class Gate:
    """Listens on a port of its own, and forwards to target ((host, port)).

    delay_s: what the server sends is held back for so long, each time.
    is_closed: connections are accepted, and closed at once.
    connections: the number of connections that were accepted.
    """

    def __init__(self, rig, target):
        self.target = target
        self.delay_s = 0.0
        self.is_closed = False
        self.connections = 0
        self._lock = threading.Lock()
        self._sockets = set()
        self._flows = threading.Event()
        self._flows.set()
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", rig.free_port()), backlog=256)
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()
        rig.on_close(self.stop)

    @property
    def open_connections(self):
        with self._lock:
            return len(self._sockets) // 2

    def hang(self):
        """Forward nothing from now on. Connections are still accepted, and stay open."""
        self._flows.clear()

    def flow(self):
        """Forward again, also what has come meanwhile."""
        self._flows.set()

    def cut(self):
        """Close all connections."""
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            _shut(sock)

    def stop(self):
        self._stopped.set()
        self._flows.set()
        _shut(self._listener)
        self._listener.close()
        self.cut()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        self._flows.wait()
        server = None
        try:
            if not self.is_closed:
                server = socket.create_connection(self.target, timeout=10)
                server.settimeout(None)
        except OSError:
            pass
        if server is None:
            client.close()
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets |= {client, server}
        back = threading.Thread(target=self._copy, args=(server, client, True), daemon=True)
        back.start()
        self._copy(client, server, False)
        back.join()
        with self._lock:
            self._sockets -= {client, server}
        client.close()
        server.close()

    def _copy(self, source, sink, is_answer):
        """Forward until either side is closed, and then close both."""
        try:
            while chunk := source.recv(65536):
                self._flows.wait()
                if is_answer and self.delay_s > 0:
                    self._stopped.wait(self.delay_s)
                sink.sendall(chunk)
        except OSError:
            pass
        _shut(source)
        _shut(sink)


def _shut(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
