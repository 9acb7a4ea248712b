# SPDX-License-Identifier: ISC
"""A network between a program and a server, which can be cut: bytes stop in both directions, and neither side is told."""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading

from .base import Skip, need_tools, wait_for
from .jail import CLONE_NEWNET
from .postfix import environment


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


class Cable:
    """Two networks with a cable between them. One is for this thread and the programs that it starts from now on. The other is for
    servers: `wrapper` starts a program there, and `host` is its address. cut() pulls the cable, and mend() plugs it in; all packets
    are lost meanwhile. When the rig closes, the thread goes back to the network where it was."""

    NEAR, FAR = "198.51.100.1", "198.51.100.2"

    def __init__(self, rig):
        need_tools("ip", "unshare", "nsenter")
        self.host = self.FAR
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        rig.on_close(self._go_home)
        if self.libc.unshare(CLONE_NEWNET) != 0:
            raise Skip(f"a network of its own is not allowed here: {os.strerror(ctypes.get_errno())}")
        own = os.readlink("/proc/thread-self/ns/net")
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], start_new_session=True)
        rig.session.record_process(holder.pid, "network")
        rig.on_close(lambda: (holder.kill(), holder.wait()))
        wait_for(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own, 10, "another network")
        self.wrapper = ["nsenter", "--target", str(holder.pid), "--net", "--"]
        self._ip("link", "set", "lo", "up")
        self._ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(holder.pid))
        self._ip("address", "add", f"{self.NEAR}/30", "dev", "near")
        self._ip("link", "set", "near", "up")
        self._ip("link", "set", "lo", "up", where=self.wrapper)
        self._ip("address", "add", f"{self.FAR}/30", "dev", "far", where=self.wrapper)
        self.mend()

    def _go_home(self):
        self.libc.setns(self.home, CLONE_NEWNET)
        os.close(self.home)

    @staticmethod
    def _ip(*arguments, where=()):
        done = subprocess.run([*where, "ip", *arguments], stderr=subprocess.PIPE, env=environment(), check=False)
        if done.returncode != 0:
            raise Skip(f"ip {' '.join(arguments)}: {done.stderr.decode().strip()}")

    def cut(self):
        self._ip("link", "set", "far", "down", where=self.wrapper)

    def mend(self):
        self._ip("link", "set", "far", "up", where=self.wrapper)
