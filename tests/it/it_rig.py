#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The rig itself: what the other tests rely on holds with plain Postfix."""

import os
import signal
import subprocess
import sys
import time

import rig
from rig.guardian import start_time


def test_words_pass_through_postfix(r):
    """Envelope words, original recipients and content arrive as sent; nothing else is in the transaction."""
    sink = rig.Sink(r, "mailbox")
    front = rig.Postfix(r, "front", {"relayhost": sink.bracketed})
    front.start()
    content = b"Subject: x\r\n\r\n.dot\r\n..two\r\n\xff\r\n"
    rig.send(
        front.address,
        "s@sender.test",
        [("a@example.com", "NOTIFY=NEVER"), ("B@example.com", "ORCPT=rfc822;Old+2B1@example.com")],
        content,
    )
    txn = sink.wait(1)[0]
    assert txn.sender == "s@sender.test"
    assert {x.addr: sorted(x.params) for x in txn.rcpts} == {
        "a@example.com": ["NOTIFY=NEVER", "ORCPT=rfc822;a@example.com"],
        "B@example.com": ["ORCPT=rfc822;Old+2B1@example.com"],
    }, txn.rcpts
    assert txn.data.endswith(b"\r\n" + content), txn.data
    front.wait_empty()


def test_hooks_misbehave(r):
    """Refusals, a dropped connection and a stopped sink delay a message; it arrives when the sink behaves."""
    sink = rig.Sink(r, "mailbox", start=False)
    front = rig.Postfix(r, "front", {"relayhost": sink.bracketed})
    front.start()
    rig.send(front.address, "s@sender.test", ["a@example.com"], b"Subject: x\r\n\r\n")
    front.wait_log(r"status=deferred .*Connection refused")
    answers = {"rcpt": "450 4.2.1 later", "dot": rig.CLOSE}
    sink.hook = lambda stage, conn, arg: answers.pop(stage, None)
    sink.start()
    front.wait_log(r"status=deferred .*450 4\.2\.1 later")
    rig.wait_for(lambda: "still being delivered" in front.log() or len(front.log_lines("status=deferred")) >= 3, 15, "the third attempt")
    front.flush()  # qmgr(8) leaves a message alone for a while that smtp(8) still had when its time came
    front.wait_log(r"status=deferred .*lost connection .*sending end of data")
    assert len(sink.wait(1)) == 1
    assert [t.answered for t in sink.transactions] == [False, True]


def test_tap_records(r):
    """A tap between two real MTAs shows the words, and does not change them."""
    sink = rig.Sink(r, "mailbox")
    tap = rig.Tap(r, "tap", sink.address)
    front = rig.Postfix(r, "front", {"relayhost": tap.bracketed})
    front.start()
    rig.send(front.address, "", ["a@example.com"], b"\r\nbody\r\n")
    direct, tapped = sink.wait(1)[0], tap.transactions[0]
    assert (tapped.sender, tapped.addrs, tapped.data) == (direct.sender, direct.addrs, direct.data)


def test_smtp_source_and_sink(r):
    """Postfix's own load tools through a private instance."""
    sink = rig.SmtpSink(r, "mailbox", dump=True)
    front = rig.Postfix(r, "front", {"relayhost": sink.bracketed})
    front.start()
    rig.smtp_source(front.address, 20, sessions=2, size=1000, recipient="a@example.com")
    front.wait_empty()
    found = rig.wait_for(lambda: sink.transactions if len(sink.transactions) == 20 else None, 10, "20 dumps")
    assert found[0].addrs == ["a@example.com"] and found[0].sender == "s@sender.test", found[0]
    assert found[0].data.startswith(b"Received: from"), found[0].data[:200]


def test_nothing_is_left_when_killed(r):
    """The guardian ends Postfix and removes the directory even after SIGKILL."""
    script = r.write(
        "victim.py",
        "import sys, time, rig\n"
        "s = rig.Session('victim')\n"
        "r = rig.Rig(s, 'x')\n"
        "p = rig.Postfix(r, 'front')\n"
        "p.start()\n"
        "print(p.master, s.directory, flush=True)\n"
        "time.sleep(60)\n",
    )
    env = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=env) as victim:
        pid, directory = victim.stdout.readline().decode().split()
        assert start_time(int(pid)) is not None
        os.kill(victim.pid, signal.SIGKILL)
    rig.wait_for(lambda: start_time(int(pid)) is None, 10, "the end of master")
    rig.wait_for(lambda: not os.path.exists(directory), 10, "the removal of the directory")


# A daemon whose children do not notice its end.
PARENT = "sleep 600 & echo $!; sleep 600 & echo $!; wait"


def children(log):
    return [int(word) for word in log.split()]


def await_end_of(pids):
    rig.wait_for(lambda: not any(start_time(p) for p in pids), 10, "the end of all children", lambda: str(pids))


def test_kill_ends_children(r):
    daemon = rig.Daemon(r, "parent", ["sh", "-c", PARENT])
    daemon.start(lambda: len(children(daemon.log())) == 2)
    pids = children(daemon.log())
    assert all(start_time(p) for p in pids)
    daemon.kill()
    assert not any(start_time(p) for p in pids), "a child is still there after kill()"


def test_children_end_with_the_test(r):
    """The children of a daemon end with a test that gets SIGTERM or SIGKILL."""
    script = r.write(
        "victim.py",
        "import time, rig\n"
        "def test_sleep(r):\n"
        f"    d = rig.Daemon(r, 'parent', ['sh', '-c', {PARENT!r}])\n"
        "    d.start(lambda: len(d.log().split()) == 2)\n"
        "    r.on_close(d.kill)\n"
        "    print(d.log().replace('\\n', ' '), flush=True)\n"
        "    time.sleep(60)\n"
        "rig.main()\n",
    )
    env = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for number in (signal.SIGTERM, signal.SIGKILL):
        with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=env) as victim:
            pids = children(victim.stdout.readline().decode())
            assert len(pids) == 2 and all(start_time(p) for p in pids), pids
            os.kill(victim.pid, number)
        await_end_of(pids)


def test_two_jails(r):
    """Each test of a process may have its own Jail. It does not see what another has changed."""
    for _ in range(3):
        one = rig.Rig(r.session, "jailed")
        jail = rig.Jail(one)
        jail.fresh()
        assert not os.path.exists("/etc/of-the-jail")
        with open("/etc/of-the-jail", "wb"):
            pass
        jail.fresh()
        assert not os.path.exists("/etc/of-the-jail")
        with open("/etc/of-the-jail", "wb"):
            pass
        assert not one.close()


def test_end_of_a_slow_guardian(r):
    """The time that the guardian has for its end is multiplied, too. Here it never ends in time."""
    script = r.write(
        "slow.py",
        "import os, signal, subprocess, rig\n"
        "s = rig.Session('slow')\n"
        "os.kill(s._guardian.pid, signal.SIGSTOP)\n"
        "try:\n"
        "    s.close()\n"
        "except subprocess.TimeoutExpired as e:\n"
        "    print(e.timeout)\n"
        "os.kill(s._guardian.pid, signal.SIGCONT)\n"
        "s._guardian.wait()\n",
    )
    env = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(os.path.abspath(__file__))), SPLIT_TIME_FACTOR="0.01")
    done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, env=env, timeout=100 * rig.TIME_FACTOR, check=True)
    assert float(done.stdout) == 0.2, done.stdout


def test_waiting_is_bounded(_r):
    """A predicate that never holds ends in a failure that says what was missing."""
    start = time.monotonic()
    try:
        rig.wait_for(lambda: False, 0.2, "the impossible", lambda: "detail")
    except rig.Failure as e:
        assert "the impossible" in str(e) and "detail" in str(e)
        assert time.monotonic() - start < 5 * rig.TIME_FACTOR
    else:
        raise AssertionError("wait_for did not fail")


if __name__ == "__main__":
    rig.main()
