# SPDX-License-Identifier: ISC
"""A name server whose records the test sets."""

import contextlib
import ipaddress
import socket
import struct
import threading

TYPES = {"A": 1, "MX": 15, "AAAA": 28}
NAMES = {number: name for name, number in TYPES.items()}
CODES = {"SERVFAIL": 2, "NXDOMAIN": 3, "REFUSED": 5}


def _encode_name(name):
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _encode_data(kind, value):
    if kind == "MX":
        preference, host = value
        return struct.pack("!H", preference) + _encode_name(host)
    return ipaddress.ip_address(value).packed


class Dns:
    """records: {(name, "MX" | "A" | "AAAA"): [values] | "SERVFAIL" | "NXDOMAIN" | "REFUSED" | None (no answer at all)}.

    An MX value is (preference, host); host "." is the null MX. A name without any record does not exist; a name with records
    of another type only has no data. queries: (name, type) of each query. records may be changed at any time.
    """

    def __init__(self, rig, records, port=0, host="127.0.0.1"):
        self.records = records
        self.queries = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, port))
        self.address = self.socket.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()
        rig.on_close(self.stop)

    @property
    def server(self):
        """The address in the form of dns_servers."""
        return f"{self.address[0]}:{self.address[1]}"

    def stop(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()

    def _serve(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(4096)
                if not query:
                    return
                answer = self._answer(query)
                if answer is not None:
                    with contextlib.suppress(OSError):  # the client, or its network, is gone
                        self.socket.sendto(answer, peer)
            except OSError:
                return

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        question = query[12 : at + 5]
        name, kind = ".".join(labels), NAMES.get(struct.unpack("!H", query[at + 1 : at + 3])[0], "?")
        self.queries.append((name, kind))
        exists = any(known == name for known, _ in self.records)
        found = self.records.get((name, kind), [] if exists else "NXDOMAIN")
        if found is None:
            return None
        code = CODES[found] if isinstance(found, str) else 0
        values = [] if isinstance(found, str) else found
        head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(values), 0, 0)
        data = [_encode_data(kind, value) for value in values]
        return head + question + b"".join(b"\xc0\x0c" + struct.pack("!HHIH", TYPES[kind], 1, 0, len(d)) + d for d in data)
