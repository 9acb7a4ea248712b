# SPDX-License-Identifier: ISC
"""Somebody else's milter, as administrators have them: agrees to everything and adds one header."""

import socket
import struct
import threading


class OwnMilter:
    """Listens at once on a port of its own; `asked` counts the messages."""

    def __init__(self, rig, header="X-Own-Milter"):
        self.address = ("127.0.0.1", rig.free_port())
        self.asked = 0
        self._header = header
        self._listener = socket.create_server(self.address)
        threading.Thread(target=self._accept, daemon=True).start()
        rig.on_close(self._stop)

    def _stop(self):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        def put(command, data=b""):
            sock.sendall(struct.pack("!I", len(data) + 1) + command + data)

        with sock, sock.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                packet = stream.read(struct.unpack("!I", head)[0])
                command = packet[:1]
                if command == b"O":
                    put(b"O", struct.pack("!III", 6, 0x01, 0))
                elif command == b"E":
                    self.asked += 1
                    put(b"h", f"{self._header}\0yes\0".encode())
                    put(b"c")
                elif command == b"Q":
                    return
                elif command not in b"DA":
                    put(b"c")
