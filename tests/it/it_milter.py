#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitmilter over its own socket: negotiation, answers, changes and their order, reload, signals."""

import os
import signal
import stat
import subprocess
import time

import rig
from rig.milter import (
    ALL_ACTIONS,
    SMFIF_ADDHDRS,
    SMFIF_ADDRCPT_PAR,
    SMFIP_NOBODY,
    SMFIP_NOCONNECT,
    SMFIP_NODATA,
    SMFIP_NOEOH,
    SMFIP_NOHDRS,
    SMFIP_NOHELO,
    SMFIP_NR_HDR,
    SMFIP_NR_MAIL,
    SMFIP_NR_RCPT,
    Milter,
)

CONFIGURATION = """
log {{ target = "stderr" }}
milter {{
    socket = "{socket}"
    filter_maps = {{ "texthash:{table}" }}
    copy_maps = {{ "inline:{{ copied@a.test=archive }}" }}
    {more}
}}
filter one {{ nexthop = "smtp:[127.0.0.1]:10024" }}
filter two {{ nexthop = "smtp:[127.0.0.1]:10025" }}
destination archive {{ relay_to = {{ "[127.0.0.1]:2601" }} }}
"""


def start(r, kind="unix", more="", table="one@a.test one\ntwo@a.test two\n"):
    path = r.write("filters", table)
    if kind == "unix":
        address = r.path("m.sock")
        text = f"unix:{address}"
    else:
        address = ("127.0.0.1", r.session.free_port())
        text = f"inet:{address[1]}@127.0.0.1"
    daemon = rig.start_splitmilter(r, CONFIGURATION.format(socket=text, table=path, more=more), address)
    daemon.table = path
    return daemon, address


def message(m, *rcpts):
    m.mail("<s@x.test>")
    answers = [m.rcpt(*([x] if isinstance(x, str) else x)) for x in rcpts]
    m.data()
    m.macros(b"E", i="QUEUEID")
    return answers, *m.eom()


def test_negotiates_away(r):
    """splitmilter asks for neither headers, bodies nor DATA, and does not answer MAIL."""
    unwanted = SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NODATA | SMFIP_NOHDRS | SMFIP_NOEOH | SMFIP_NOBODY
    for kind in ("unix", "inet"):
        daemon, address = start(r, kind)
        m = Milter(address)
        assert m.steps & unwanted == unwanted, hex(m.steps)
        assert not m.steps & SMFIP_NR_RCPT
        assert m.steps & SMFIP_NR_MAIL, hex(m.steps)
        m.close()
        daemon.stop()


def test_mta_without_parameters_is_refused(r):
    """An MTA that does not support parameters of added recipients is refused, because it would drop NOTIFY=NEVER from copies."""
    daemon, address = start(r)
    try:
        Milter(address, ALL_ACTIONS & ~SMFIF_ADDRCPT_PAR)
    except (EOFError, AssertionError, ConnectionResetError):
        pass
    else:
        raise AssertionError("negotiated")
    daemon.wait_log("does not let a milter add and delete recipients")


def test_changes_and_their_order(r):
    """All additions come before all deletions, a deletion has the client's own text, and the words are NOTIFY and ORCPT."""
    daemon, address = start(r)
    m = Milter(address)
    answers, changes, end = message(m, "<One@a.test>", ["<copied@a.test>", "NOTIFY=FAILURE"], "<plain@a.test>", "<two@a.test>")
    assert answers == ["c"] * 4 and end == "c", (answers, end)
    assert changes == [
        ("+", "<One@a.test.one.filter.split.invalid>", "ORCPT=rfc822;One@a.test"),
        ("+", "<copied@a.test.archive.copy.split.invalid>", "NOTIFY=NEVER ORCPT=rfc822;copied@a.test"),
        ("+", "<two@a.test.two.filter.split.invalid>", "ORCPT=rfc822;two@a.test"),
        ("-", "<One@a.test>"),
        ("-", "<two@a.test>"),
    ], changes
    daemon.wait_log(r"splitmilter\[\d+\]: QUEUEID: to=<One@a.test>, filter=one$")
    daemon.wait_log(r"splitmilter\[\d+\]: QUEUEID: to=<copied@a.test>, copy=archive$")
    assert not daemon.log_lines("plain@a.test")
    m.close()


def test_messages_do_not_mix(r):
    """After ABORT, a second MAIL, or ABORT behind the end of a message, the next message has only its own recipients."""
    _, address = start(r)
    m = Milter(address)
    m.mail("<s@x.test>")
    assert m.rcpt("<one@a.test>") == "c"
    m.abort()
    _, changes, _ = message(m, "<two@a.test>")
    assert [c[0] for c in changes] == ["+", "-"] and changes[1][1] == "<two@a.test>", changes
    m.abort()
    m.abort()
    m.mail("<s@x.test>")
    assert m.rcpt("<one@a.test>") == "c"
    _, changes, _ = message(m, "<plain@a.test>")
    assert changes == [], changes
    m.close(quit_first=False)


def test_refusals(r):
    """Recipients in the tag domain, with another filter, or with a malformed address are refused with their own codes."""
    _, address = start(r, more='filter_method = "header" mixed_filters = "defer"')
    m = Milter(address)
    answers, changes, end = message(
        m, "<x@a.test.one.filter.split.invalid>", "<one@a.test>", "<two@a.test>", '<"open@a.test>', "<one@a.test>"
    )
    assert answers[0].startswith("550 5.7.1 "), answers
    assert answers[2].startswith("451 4.5.3 "), answers
    assert answers[3].startswith("550 5.1.3 "), answers
    assert answers[1] == answers[4] == "c", answers
    assert changes == [("h", "X-Split-Filter", "smtp:[127.0.0.1]:10024")] and end == "c", changes


def test_reload(r):
    """After SIGUSR1 new connections use a changed table. One with an error is reported with its line, and has no effect."""
    daemon, address = start(r)
    old = Milter(address)
    assert message(old, "<three@a.test>")[1] == []
    r.write("filters", "three@a.test one\n")
    daemon.signal(signal.SIGUSR1)
    daemon.wait_log("configuration reloaded")
    new = Milter(address)
    assert message(old, "<three@a.test>")[1] == [], "a connection keeps its snapshot"
    assert len(message(new, "<three@a.test>")[1]) == 2
    r.write("filters", "three@a.test nonsense\n")
    daemon.signal(signal.SIGUSR1)
    daemon.wait_log(r"not reloaded.*filters:1: .*nonsense")
    assert len(message(Milter(address), "<three@a.test>")[1]) == 2


def sockets(daemon):
    """How many sockets it has open. Its files do not count: another thread reads tables now and then."""
    directory = f"/proc/{daemon.pid}/fd"
    count = 0
    for name in os.listdir(directory):
        try:
            count += os.readlink(os.path.join(directory, name)).startswith("socket:")
        except FileNotFoundError:
            pass
    return count


def test_gate_repeats_answers(r):
    """The second MTA that negotiates in the same way gets the same answer, and occupies libmilter only from its first recipient on."""
    daemon, address = start(r, "inet")
    first = Milter(address)
    before = sockets(daemon)
    second = Milter(address)
    assert (second.version, second.actions, second.steps) == (first.version, first.actions, first.steps)
    second.macros(b"M", v="Postfix 3.7.11")
    second.mail("<s@x.test>")
    rig.wait_for(lambda: sockets(daemon) == before + 1, 10, "one connection more", daemon.log)
    assert second.rcpt("<one@a.test>") == "c"
    assert sockets(daemon) == before + 3
    assert len(second.eom()[0]) == 2
    assert len(message(first, "<two@a.test>")[1]) == 2
    other = Milter(address, ALL_ACTIONS & ~SMFIF_ADDHDRS)
    assert other.actions == first.actions & ~SMFIF_ADDHDRS, "the answer to another negotiation"
    for m in (other, Milter(address)):
        assert len(message(m, "<one@a.test>")[1]) == 2
        m.close()


def test_gate_forgets_answers(r):
    """After a reload MTAs get the answer of the new configuration, also one that has negotiated before and has no mail yet."""
    daemon, address = start(r, "inet")
    assert Milter(address).steps & SMFIP_NOCONNECT
    early = Milter(address)
    with open(r.path("splitmilter.conf"), encoding="utf-8") as f:
        text = f.read()
    r.write("splitmilter.conf", text.replace("copy_maps", 'bypass_clients = { "192.0.2.7" }\n    copy_maps', 1))
    daemon.signal(signal.SIGUSR1)
    daemon.wait_log("configuration reloaded")
    assert early.steps & SMFIP_NOCONNECT
    assert len(message(early, "<one@a.test>")[1]) == 2
    for _ in range(3):
        late = Milter(address)
        assert not late.steps & SMFIP_NOCONNECT, hex(late.steps)
        late.connect("192.0.2.7")
        assert message(late, "<one@a.test>")[1] == []
    r.write("splitmilter.conf", text)
    daemon.signal(signal.SIGUSR1)
    rig.wait_for(lambda: len(daemon.log_lines("configuration reloaded")) == 2, 10, "the second reload", daemon.log)
    assert Milter(address).steps & SMFIP_NOCONNECT


def test_gate_passes_packets_without_reply(r):
    """However many packets without reply come before one with a reply, they all arrive, in their order."""
    _, address = start(r, "inet", more='canonical_maps = { "inline:{ alias@a.test=one@a.test }" }\n    canonical_classes = { "header_recipient" }')
    m = Milter(address)
    assert m.steps & SMFIP_NR_HDR and not m.steps & SMFIP_NOHDRS, hex(m.steps)
    for _ in range(2):
        m.mail("<s@x.test>")
        m.mail("<s@x.test>")
        assert m.rcpt("<plain@a.test>") == "c"
        for i in range(2000):
            m.header("X-Header", f"{i:50}")
        m.header("To", "alias@a.test")
        assert m.eom() == ([("m", "To", 1, "one@a.test")], "c")
        m.abort()


def test_no_packet_waits_for_an_acknowledgement(r):
    """Over TCP a small packet waits until the one before it is acknowledged. That takes 40 ms if the gate does not see to it."""
    _, address = start(r, "inet")
    m = Milter(address)
    shortest = 10.0
    for _ in range(3):
        begin = time.monotonic()
        for _ in range(40):
            m.macros(b"M", v="Postfix 3.7.11")
            m.mail("<s@x.test>")
            m.macros(b"R", v="Postfix 3.7.11")
            assert m.rcpt("<plain@a.test>") == "c"
            m.macros(b"T", i="QUEUEID")
            assert m.eom() == ([], "c")
            m.abort()
        shortest = min(shortest, time.monotonic() - begin)
    assert shortest < 40 * 0.03, shortest


def test_socket_and_second_instance(r):
    """The socket has the configured mode, a second splitmilter does not start on it, and SIGTERM ends with 0 and removes it."""
    daemon, address = start(r, more='socket_mode = "0600"')
    assert stat.S_IMODE(os.stat(address).st_mode) == 0o600
    second = subprocess.run(
        daemon.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
    )
    assert second.returncode == 69, (second.returncode, second.stdout)
    assert str(daemon.pid).encode() in second.stdout, second.stdout
    message(Milter(address), "<one@a.test>")
    daemon.stop()
    assert not os.path.exists(address)


def test_startup_errors(r):
    """The exit codes are 78 with FILE:LINE for a configuration with an error, 64 for usage, 0 for -t, and 69 without a socket."""
    program = rig.program("splitmilter")
    table = r.write("filters", "a@a.test one\n")

    def run(*args):
        done = subprocess.run(
            [program, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
        )
        return done.returncode, done.stdout.decode()

    def configuration(socket, more=""):
        return r.write("s.conf", CONFIGURATION.format(socket=socket, table=table, more=more))

    good = configuration(f"unix:{r.path('m.sock')}")
    assert run("-t", "-c", good) == (0, ""), run("-t", "-c", good)
    code, out = run("-c", configuration("unix:/m.sock", "\n    no_such_key = 1"))
    assert code == 78 and "s.conf:8: " in out and "no_such_key" in out, (code, out)
    code, out = run("-c", r.path("missing.conf"))
    assert code == 78 and "missing.conf" in out, (code, out)
    code, out = run("-c", configuration("unix:/nonexistent/m.sock"))
    assert code == 69, (code, out)
    assert run("-x")[0] == 64
    assert run("extra")[0] == 64
    assert run("-V")[0] == 0 and run("-h")[0] == 0


if __name__ == "__main__":
    rig.main()
