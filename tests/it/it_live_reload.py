#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Tables that change while mail flows are used within two seconds without a signal, never in part, and not if they have an error.

SPLIT_RELOADS: the number of reloads in test_reloads_under_load (1000 for a release; less by default)."""

import os
import shutil
import signal
import subprocess
import threading
import time

import rig
from rig.milter import Milter

RELOADS = int(os.environ.get("SPLIT_RELOADS", "40"))
NOTICE_SECONDS = 2.0

CONFIGURATION = """
log {{ target = "stderr" }}
milter {{
    socket = "unix:{socket}"
    filter_maps = {{ {tables} }}
}}
filter one {{ nexthop = "smtp:[127.0.0.1]:10024" }}
filter two {{ nexthop = "smtp:[127.0.0.1]:10025" }}
"""


def start(r, *tables):
    socket = r.path("m.sock")
    text = ", ".join(f'"{t}"' for t in tables)
    return rig.start_splitmilter(r, CONFIGURATION.format(socket=socket, tables=text), socket), socket


def filters(address, *rcpts):
    """The filter of each recipient of one message, which is sent over a new connection."""
    m = Milter(address)
    m.mail("<s@x.test>")
    for rcpt in rcpts:
        assert m.rcpt(f"<{rcpt}>") == "c"
    m.data()
    changes, end = m.eom()
    m.close()
    assert end == "c", end
    found = {}
    for change in changes:
        if change[0] == "+":
            for name in ("one", "two"):
                address_, _, rest = change[1][1:-1].rpartition(f".{name}.filter.")
                if rest:
                    found[address_] = name
    return [found.get(rcpt) for rcpt in rcpts]


def replace(path, text):
    with open(f"{path}.new", "w", encoding="ascii") as f:
        f.write(text)
    os.rename(f"{path}.new", path)


def rewrite(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def compile_in_place(kind):
    def write(path, text):
        rewrite(path, text)
        subprocess.run(["postmap", "-c", os.path.dirname(path), f"{kind}:{path}"], check=True, timeout=60)

    return write


def line_table(name):
    return f"a@a.test {name}\n"


def rule_table(name):
    return f"/^a@a\\.test$/ {name}\n"


def map_types(r):
    """The types that postmap can make. postconf gets a main.cf of the test, because the system may have none."""
    if not shutil.which("postconf"):
        return []
    directory = os.path.dirname(r.write("types/main.cf", "compatibility_level = 3.6\n"))
    done = subprocess.run(["postconf", "-c", directory, "-m"], stdout=subprocess.PIPE, check=True, timeout=60)
    return done.stdout.decode().split()


def test_changes_are_noticed(r):
    """A change of a file of any type is used within two seconds without a signal, if it is rewritten in place or replaced."""
    cases = [("texthash", line_table, rewrite), ("texthash", line_table, replace), ("pcre", rule_table, replace), ("regexp", rule_table, rewrite)]
    for kind in ("lmdb", "cdb"):
        if kind in map_types(r):
            cases.append((kind, line_table, compile_in_place(kind)))
        else:
            print(f"not tried: {kind}, postmap does not make it")
    r.write("t/main.cf", "compatibility_level = 3.6\n")
    paths = []
    for number, (kind, text, write) in enumerate(cases):
        paths.append(r.path("t", f"{number}"))
        write(paths[-1], text("one").replace("a@", f"k{number}@"))
    daemon, address = start(r, *(f"{kind}:{path}" for (kind, _, _), path in zip(cases, paths)))
    worst = 0.0
    for number, (kind, text, write) in enumerate(cases):
        key = f"k{number}@a.test"
        assert filters(address, key) == ["one"], kind
        write(paths[number], text("two").replace("a@", f"k{number}@"))
        begin = time.monotonic()
        rig.wait_for(lambda: filters(address, key) == ["two"], 20, f"{kind} to be noticed", daemon.log)
        worst = max(worst, time.monotonic() - begin)
    print(f"noticed after at most {worst:.2f} s")
    assert worst < NOTICE_SECONDS * rig.TIME_FACTOR, worst


def test_errors_keep_the_old(r):
    """After an error in a file, or without the file, the old table stays in use, and the log has one line. A corrected file is
    used."""
    path, other = r.write("table", line_table("one")), r.write("other", "b@a.test one\n")
    daemon, address = start(r, f"texthash:{path}", f"texthash:{other}")
    replace(path, "# a comment\na@a.test nonsense\n")
    daemon.wait_log(r"error: table not reloaded.*table:2: .*nonsense")
    assert filters(address, "a@a.test") == ["one"]
    replace(other, "b@a.test two\n")  # the fault does not delay another file
    rig.wait_for(lambda: filters(address, "b@a.test") == ["two"], 20, "the other table", daemon.log)
    replace(path, line_table("two"))
    rig.wait_for(lambda: filters(address, "a@a.test") == ["two"], 20, "the mended table", daemon.log)
    os.unlink(path)
    daemon.wait_log(r"error: table not reloaded.*cannot open .*table: No such file")
    assert filters(address, "a@a.test") == ["two"]
    replace(other, "b@a.test one\n")
    rig.wait_for(lambda: filters(address, "b@a.test") == ["one"], 20, "the other table", daemon.log)
    assert len(daemon.log_lines("table not reloaded")) == 2, daemon.log()
    replace(path, line_table("one"))
    rig.wait_for(lambda: filters(address, "a@a.test") == ["one"], 20, "the table that came back", daemon.log)


def test_truncated_lmdb(r):
    """If a file of postmap is truncated while it is in use, the table that was read before stays in use."""
    if "lmdb" not in map_types(r):
        raise rig.Skip("postmap does not make lmdb (postfix-lmdb)")
    r.write("main.cf", "compatibility_level = 3.6\n")
    path, write = r.path("table"), compile_in_place("lmdb")
    write(path, line_table("one"))
    daemon, address = start(r, f"lmdb:{path}")
    os.truncate(f"{path}.lmdb", 5000)
    daemon.wait_log(r"error: table not reloaded.*table\.lmdb is cut off")
    assert filters(address, "a@a.test") == ["one"]
    os.unlink(f"{path}.lmdb")
    write(path, line_table("two"))
    rig.wait_for(lambda: filters(address, "a@a.test") == ["two"], 20, "the new file", daemon.log)


def test_slow_writer(r):
    """A file that is written in steps is not used before it is complete."""
    path = r.write("table", "".join(f"k{i}@a.test one\n" for i in range(50)))
    daemon, address = start(r, f"texthash:{path}")
    done = threading.Event()

    def write():
        with open(path, "w", encoding="ascii", buffering=1) as f:
            for i in range(50):
                f.write(f"k{i}@a.test two\n")
                time.sleep(0.05)  # a slow writer; the test waits for nothing with it
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert filters(address, "k0@a.test", "k49@a.test") == ["one", "one"], "half a file"
    writer.join()
    rig.wait_for(lambda: filters(address, "k0@a.test", "k49@a.test") == ["two", "two"], 20, "the new table", daemon.log)


def test_reloads_under_load(r):
    """With reloads under load each message is decided with one version of the table, no message fails, and memory does not
    grow."""
    keys = [f"k{i}@a.test" for i in range(0, 5000, 250)]

    def table(name):
        return "".join(f"k{i}@a.test {name}\n" for i in range(5000))

    path = r.write("table", table("one"))
    daemon, address = start(r, f"texthash:{path}")
    stop, faults, messages = threading.Event(), [], [0] * 3

    def load(number):
        while not stop.is_set():
            try:
                if len(set(filters(address, *keys))) != 1:
                    faults.append("decided by two tables")
                messages[number] += 1
            except (AssertionError, OSError, EOFError) as e:
                faults.append(repr(e))

    threads = [threading.Thread(target=load, args=(i,)) for i in range(len(messages))]
    for t in threads:
        t.start()
    sizes = []
    for number in range(RELOADS):
        name = ("two", "one")[number % 2]
        replace(path, table(name))
        daemon.signal(signal.SIGUSR1)
        rig.wait_for(lambda: filters(address, keys[0]) == [name], 20, f"reload {number}")
        sizes.append(daemon.rss_kb())
    stop.set()
    for t in threads:
        t.join()
    assert not faults, faults[:5]
    curve = [max(sizes[i * RELOADS // 10 : (i + 1) * RELOADS // 10]) for i in range(10)]
    print(f"{RELOADS} reloads, {sum(messages)} messages; largest resident size in each tenth: {curve} kB")
    if not rig.instrumented():
        # The size levels off. Growth in the second half is noise of the allocator.
        assert max(curve[5:]) <= max(curve[:5]) * 1.05 + 1000, curve


if __name__ == "__main__":
    rig.main()
