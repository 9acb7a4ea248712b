#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""After any data from a peer of an inet milter socket splitmilter still serves the MTA. (The mode of a unix socket limits its
peers, so they are trusted to send well-formed packets, though not in the right order.)

SPLIT_FUZZ_CONNECTIONS: the number of random connections (default: 400); SPLIT_SEED: other random numbers.
"""

import errno
import os
import random
import signal
import socket
import struct

import rig
from rig.milter import ALL_ACTIONS, ALL_STEPS, Milter

COUNT = int(os.environ.get("SPLIT_FUZZ_CONNECTIONS", "400"))
SEED = int(os.environ.get("SPLIT_SEED", "1"))

CONFIGURATION = """
log {{ target = "stderr" }}
milter {{
    socket = "{socket}"
    filter_maps = {{ "inline:{{ one@a.test=one }}" }}
    copy_maps = {{ "inline:{{ copied@a.test=archive }}" }}
    canonical_maps = {{ "inline:{{ alias@a.test=one@a.test }}" }}
    {more}
}}
filter one {{ nexthop = "smtp:[127.0.0.1]:10024" }}
destination archive {{ relay_to = {{ "[127.0.0.1]:2601" }} }}
"""
ALL_CALLBACKS = 'canonical_classes = { "envelope_recipient", "header_recipient" } bypass_clients = { "192.0.2.7" }'
OPTIONS = struct.pack("!III", 6, ALL_ACTIONS, ALL_STEPS)


def packet(command, data=b""):
    return struct.pack("!I", len(data) + 1) + command + data


def start(r, kind, more=ALL_CALLBACKS):
    if kind == "unix":
        address = r.path("m.sock")
        text = f"unix:{address}"
    else:
        address = ("127.0.0.1", r.session.free_port())
        text = f"inet:{address[1]}"
    return rig.start_splitmilter(r, CONFIGURATION.format(socket=text, more=more), address), address


def connect(address):
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(20)
    sock.connect(address)
    return sock


def send(address, data, pieces=1):
    """Send the data as far as possible, and read up to the end of the connection, which must come: the data ends with QUIT, or
    with a packet that ends the connection."""
    with connect(address) as sock:
        try:
            step = max(1, len(data) // pieces)
            for at in range(0, len(data), step):
                sock.sendall(data[at : at + step])
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
        except OSError as e:
            if e.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                raise


def check_service(address):
    """Check that a normal message of an MTA is split."""
    m = Milter(address)
    m.macros(b"C", j="mx.test")
    m.connect("192.0.2.1")
    m.macros(b"M", i="QUEUEID", v="Postfix 3.7.11")
    m.mail("<s@x.test>")
    assert m.rcpt("<one@a.test>") == "c"
    assert m.rcpt("<copied@a.test>") == "c"
    m.data()
    m.header("To", "alias@a.test")
    changes, end = m.eom()
    assert end == "c" and len(changes) == 4, (changes, end)
    m.close()


def test_odd_macros(r):
    """A macro with a name and no value, at any stage and before any command that reads macros, does not crash splitmilter."""
    daemon, address = start(r, "inet")
    for stage in b"CHMRTNE":
        for names in (b"i\0", b"x\0", b"v\0x\0i\0", b"a\0b\0c\0d\0e\0", b"i", b"i\0v", b"\0", b"\0\0\0"):
            for _ in range(2):
                head = packet(b"O", OPTIONS) + packet(b"C", b"h\0" + b"4\0\x19192.0.2.1\0")
                macros = packet(b"D", bytes([stage]) + names)
                send(address, head + macros + packet(b"M", b"<s@x.test>\0") + packet(b"Q"))
                mail = packet(b"M", b"<s@x.test>\0") + packet(b"R", b"<one@a.test>\0")
                send(address, head + mail + macros + packet(b"R", b"<two@a.test>\0") + macros + packet(b"E") + packet(b"Q"))
    check_service(address)
    assert daemon.running
    assert daemon.log_lines(r"warning: closed the milter connection from \[127.0.0.1\]: a malformed packet \(command 0x44,")


def test_order(r):
    """Commands in a wrong order do not crash splitmilter."""
    for kind in ("unix", "inet"):
        check_order(start(r, kind)[1])


def check_order(address):
    o, mail, rcpt = packet(b"O", OPTIONS), packet(b"M", b"<s@x.test>\0"), packet(b"R", b"<one@a.test>\0")
    unknown, end, header = packet(b"U", b"X\0"), packet(b"E"), packet(b"L", b"To\0alias@a.test\0")
    for data in (
        rcpt,
        o + rcpt + end,
        o + unknown + rcpt + rcpt + end,
        o + unknown + packet(b"B", b"x") + end,
        o + header + end,
        o + mail + mail + rcpt + packet(b"A") + rcpt + end,
        o + o + mail,
        o + mail + rcpt + end + end + rcpt,
        o + mail + rcpt + packet(b"K") + rcpt + mail + rcpt + end,
        o + mail + rcpt + packet(b"Q") + rcpt,
        packet(b"O", b"\0\0\0\2") + mail,
        packet(b"O", struct.pack("!III", 2, 0, 0)) + mail + rcpt,
        packet(b"O", struct.pack("!III", 6, ALL_ACTIONS, 0)) + mail + rcpt + unknown + end,
    ):
        send(address, data)
        send(address, data + packet(b"Q"), pieces=len(data))
    check_service(address)


def random_text(rnd):
    words = [b"<one@a.test>", b"<copied@a.test>", b"<>", b"<@", b"a" * 3000, b"\xff\xfe", b"", b"NOTIFY=NEVER", b"ORCPT=rfc822;x+", b"To", b"%s%n"]
    return rnd.choice(words) if rnd.random() < 0.8 else rnd.randbytes(rnd.randrange(20))


def random_data(rnd, command, faults):
    """The data of a command, with a fault in the fraction `faults` of the calls."""
    if command == b"O":
        return OPTIONS if rnd.random() > faults else rnd.choice([OPTIONS[:11], b"", rnd.randbytes(12), rnd.randbytes(40)])
    if command == b"C":
        address = rnd.choice([b"4\0\x19192.0.2.7\0", b"4\0\x19192.0.2.8\0", b"6\0\x19::1\0", b"L\0\x19/x\0", b"U"])
        if rnd.random() < faults:
            address = rnd.choice([b"4", b"4\0", b"4\0\x19x\0", b"9\0\0x\0", b"6\0\x19::1", b""])
        return random_text(rnd) + b"\0" + address
    count = {b"M": rnd.randrange(1, 4), b"R": rnd.randrange(1, 4), b"L": 2, b"D": 2 * rnd.randrange(4)}.get(command, 1)
    if rnd.random() < faults:
        count = rnd.randrange(6)
    strings = b"".join(random_text(rnd) + b"\0" for _ in range(count))
    if command == b"D":
        strings = rnd.choice(b"CHMRTNE").to_bytes(1, "big") + strings
    return strings if rnd.random() > faults else strings[:-1]


def random_connection(rnd):
    """The packets of an MTA; half of the connections have some faults."""
    faults = rnd.choice([0, 0, 0.02, 0.1])
    out = packet(b"O", OPTIONS) if rnd.random() >= faults else b""
    usual = [b"C", b"D", b"M", b"D", b"R", b"D", b"R", b"T", b"L", b"N", b"B", b"D", b"E"]
    for command in usual * rnd.randrange(1, 3):
        if rnd.random() < 0.1:
            continue
        if rnd.random() < faults:
            command = rnd.choice([b"A", b"K", b"U", b"H", b"O", b"E", b"M", b"R", b"\0", b"z"])
        one = packet(command, random_data(rnd, command, faults))
        if rnd.random() < faults / 5:
            one = rnd.choice([struct.pack("!I", n) + one[4:] for n in (0, 1, 65536, 65537, 0x7FFFFFFF, 0xFFFFFFFF)])
        out += one
    return out


def test_random(r):
    """An MTA is served while random data arrives from other peers, whole and in pieces."""
    rnd = random.Random(SEED)
    daemon, address = start(r, "inet")
    for i in range(COUNT):
        send(address, random_connection(rnd), rnd.choice([1, 1, 7]))
        if i % 50 == 0:
            check_service(address)
    check_service(address)
    closed = len(daemon.log_lines("closed the milter connection"))
    print(f"  {COUNT} connections, {closed} of them closed for what they sent")
    assert COUNT // 10 < closed < COUNT * 3 // 4, "the connections are all good or all bad"


def test_silent_peers(r):
    """Peers that send nothing, or half a packet, occupy no thread of libmilter, so an MTA is served."""
    _, address = start(r, "inet")
    waiting = [connect(address) for _ in range(150)]
    for i, sock in enumerate(waiting):
        sock.sendall((packet(b"O", OPTIONS) + packet(b"M", b"<s@x.test>\0"))[: i % 30])
    check_service(address)
    for sock in waiting:
        sock.close()
    check_service(address)


def connect_from(source, address):
    """The answer to a negotiation from the address `source`: b"O", or nothing."""
    with socket.socket() as sock:
        sock.settimeout(20)
        sock.bind((source, 0))
        sock.connect(address)
        try:
            sock.sendall(packet(b"O", OPTIONS))
            return sock.recv(5)[4:]
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_trusted_mtas(r):
    """A peer that is not in trusted_mtas is closed at once, until a reload adds it. This is the last test, because it enters a
    network of its own."""
    rig.Jail(r, addresses=("192.0.2.1/24", "192.0.2.9/24", "198.51.100.1/24"))
    port = 8890
    configuration = CONFIGURATION.replace("{socket}", f"inet:{port}@0.0.0.0")
    daemon = rig.start_splitmilter(r, configuration.format(more='trusted_mtas = { "192.0.2.9" }'), ("127.0.0.1", port))
    mta, here = ("192.0.2.1", port), ("127.0.0.1", port)
    assert connect_from("192.0.2.9", mta) == b"O"
    assert connect_from("127.0.0.1", here) == b"O"
    for stranger in ("192.0.2.1", "198.51.100.1"):
        assert connect_from(stranger, mta) == b"", stranger
    daemon.wait_log(r"warning: refused connection from \[192.0.2.1\]: not in milter.trusted_mtas")
    r.write("splitmilter.conf", configuration.format(more='trusted_mtas = { "198.51.100.0/24" }'))
    daemon.signal(signal.SIGUSR1)
    daemon.wait_log("configuration reloaded")
    assert connect_from("198.51.100.1", mta) == b"O"
    assert connect_from("192.0.2.9", mta) == b""


if __name__ == "__main__":
    rig.main(timeout=200 + COUNT // 2)
