# SPDX-License-Identifier: ISC
"""Another milter beside splitmilter: it accepts everything and adds one header. Options make it refuse, delete and add
recipients."""

import socket
import struct
import threading


class OwnMilter:
    """The milter. It listens at once on a port of its own; `asked` counts the messages. refuse: recipients that get 550;
    delete: recipients that are deleted at the end of a message; add: recipients that are added to a message if one was
    deleted."""

    def __init__(self, rig, header="X-Own-Milter", refuse=(), delete=(), add=()):
        self.address = ("127.0.0.1", rig.free_port())
        self.asked = 0
        self._header = header
        self._refuse, self._delete, self._add = refuse, delete, add
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

        recipients = []
        with sock, sock.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                packet = stream.read(struct.unpack("!I", head)[0])
                command = packet[:1]
                if command == b"O":
                    put(b"O", struct.pack("!III", 6, 0x01 | 0x04 | 0x08, 0))
                elif command == b"M":
                    recipients.clear()
                    put(b"c")
                elif command == b"R":
                    path = packet[1:].split(b"\0")[0].decode()
                    if path.strip("<>") in self._refuse:
                        put(b"y", b"550 5.7.1 refused by another milter\0")
                    else:
                        recipients.append(path)
                        put(b"c")
                elif command == b"E":
                    self.asked += 1
                    deleted = [path for path in recipients if path.strip("<>") in self._delete]
                    for address in self._add if deleted else ():
                        put(b"+", f"<{address}>\0".encode())
                    for path in deleted:
                        put(b"-", f"{path}\0".encode())
                    put(b"h", f"{self._header}\0yes\0".encode())
                    put(b"c")
                elif command == b"Q":
                    return
                elif command not in b"DA":
                    put(b"c")
