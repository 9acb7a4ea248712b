#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""sqlite: tables: the same answers as postmap(1) for the same files; hostile keys; databases that are locked, replaced, damaged or
missing; what users see of it.

Environment: SPLIT_LOOKUPS, SPLIT_INJECTIONS, SPLIT_SEED (tests/rig/tables.py)."""

import os
import sqlite3
import threading
import time

import rig
from rig import tables, table_outages
from rig.tables import FAILED, FOUND, NOT_FOUND, TableQuery

QUERY = "SELECT goto FROM alias WHERE address = '%s' ORDER BY id"


class Sqlite(tables.Backend):
    kind = "sqlite"
    plain = {"query": QUERY}
    fast = {}
    cases = {
        "plain": {"query": QUERY},
        "format": {"query": QUERY, "result_format": "%u at %d for %S %%"},
        "user": {"query": QUERY, "result_format": "smtp:[%u]:%U@%D"},
        "parts": {"query": "SELECT goto FROM alias WHERE address = '%u' || '@' || '%d' ORDER BY id"},
        "labels": {"query": "SELECT goto FROM alias WHERE address = '%U@%D' AND '%1' <> '' AND '%2' = '%2' ORDER BY id", "result_format": "%2.%1 %s"},
        "domain": {"query": QUERY, "domain": "!example.net, example.com b\u00fccher.example mail.example.com"},
        "limit": {"query": QUERY, "expansion_limit": "2"},
        "like": {"query": "SELECT goto FROM alias WHERE address LIKE '%%' || '%s' ORDER BY id LIMIT 3"},
        "columns": {"query": "SELECT goto, address FROM alias WHERE address = '%s' ORDER BY id"},
        "types": {"query": "SELECT CASE id %% 4 WHEN 0 THEN id WHEN 1 THEN id / 2.0 WHEN 2 THEN NULL ELSE CAST(goto AS BLOB) END FROM alias WHERE address = '%s' ORDER BY id"},
        "several": {"query": QUERY + "; DROP TABLE alias"},
        "continued": {"query": "SELECT goto\n    FROM alias\n# comment\n    WHERE address = '%s'\n    ORDER BY id"},
        "name": {"query": "SELECT goto FROM alias WHERE substr(address, 1, length('%u') + 1) = '%u' || '@' ORDER BY id LIMIT 3"},
        "more-labels": {"query": "SELECT goto FROM alias WHERE address = '%u@%6.%5.%4.%3.%2.%1' ORDER BY id"},
        "escape": {"query": "SELECT goto FROM alias WHERE address LIKE '%u@%d' ESCAPE '\\' ORDER BY id LIMIT 4"},
        "limit-of-domains": {"query": QUERY, "expansion_limit": "1", "result_format": "%d"},
    }

    def __init__(self, r):
        super().__init__(r)
        self.path = r.path("mail.sqlite")

    def connect(self):
        return sqlite3.connect(self.path)

    def fill(self, rows):
        with self.connect() as db:
            db.execute("DROP TABLE IF EXISTS alias")
            db.execute("CREATE TABLE alias (id INTEGER PRIMARY KEY, address TEXT, goto TEXT)")
            db.executemany("INSERT INTO alias (address, goto) VALUES (?, ?)", [(a, v) for a, values in rows.items() for v in values])
        db.close()

    def snapshot(self):
        db = self.connect()
        text = list(db.iterdump())
        db.close()
        return text

    def parameters(self, address=None):
        return {"dbpath": self.path}


def test_same_answers_as_postmap(r):
    tables.compare_cases(Sqlite(r))


def test_injections(r):
    tables.check_injections(Sqlite(r))


def test_tools(r):
    table_outages.check_tools(Sqlite(r), has_password=False)


def small(r, text="CREATE TABLE alias (id INTEGER PRIMARY KEY, address TEXT, goto); INSERT INTO alias (address, goto) VALUES ('k', 'v')"):
    """A table with one row, and table_query on it."""
    t = Sqlite(r)
    db = t.connect()
    db.executescript(text)
    db.close()
    return t, TableQuery(r, t.write("small"), seconds=3)


def test_a_database_that_was_replaced_is_opened_again(r):
    t, query = small(r)
    assert query.ask("k") == (FOUND, b"v")
    before = query.descriptors()
    for i in range(20):
        other = sqlite3.connect(r.path("other"))
        other.executescript(f"CREATE TABLE alias (id INTEGER PRIMARY KEY, address TEXT, goto TEXT); INSERT INTO alias (address, goto) VALUES ('k', 'v{i}')")
        other.close()
        os.rename(r.path("other"), t.path)
        assert query.ask("k") == (FOUND, f"v{i}".encode())
    assert query.descriptors() == before


def test_a_database_that_is_missing_or_damaged_fails_until_it_is_there(r):
    t, query = small(r)
    assert query.ask("k") == (FOUND, b"v")
    os.rename(t.path, r.path("away"))
    for _ in range(3):
        answer = query.ask("k")
        assert answer.kind == FAILED and b"cannot open the database" in answer.text, answer
    with open(t.path, "wb") as f:
        f.write(b"This is no database. " * 100)
    answer = query.ask("k")
    assert answer.kind == FAILED and b"not a database" in answer.text, answer
    os.rename(r.path("away"), t.path)
    assert query.ask("k") == (FOUND, b"v")
    assert query.ask("l") == (NOT_FOUND, b"")
    assert query.log().count("does not answer") == 1 and query.log().count("answers again") == 1, query.log()


def test_changes_are_seen_at_once(r):
    t, query = small(r)
    for i in range(20):
        db = t.connect()
        db.execute("UPDATE alias SET goto = ?", (f"v{i}",))
        db.commit()
        db.close()
        assert query.ask("k") == (FOUND, f"v{i}".encode())


def test_a_database_that_is_missing_refuses_mail(r):
    """Recipients get 451 while the file is away. Then they are filtered, without a restart."""
    t = Sqlite(r)
    table_outages.check_away(t, lambda: os.rename(t.path, f"{t.path}.away"), lambda: os.rename(f"{t.path}.away", t.path))


def test_refused_keys(r):
    """A sender that chooses a key with too many results does not bypass the filter."""
    table_outages.check_refused_key(Sqlite(r), {"query": "SELECT goto FROM alias WHERE address LIKE '%s'", "expansion_limit": "2"}, "load_@example.com")


def test_faults_of_a_key(r):
    """Errors that a client can cause by the choice of the key, and those of the query, are told apart. None makes the host fail."""
    t, query = small(r)
    query.stop()
    for i, (text, good, bad, kind) in enumerate((
        ("SELECT abs(CAST('%s' AS INTEGER))", "-7", "-9223372036854775808", tables.LIMIT),
        ("SELECT %s", "7", "no_such_column", tables.LIMIT),
        ("SELECT 7 LIMIT '%s'", "1", "x", tables.LIMIT),
        ("SELECT length(zeroblob(CAST('%s' AS INTEGER)))", "7", "9000000000", tables.LIMIT),
        ("SELECT goto FROM missing WHERE address = '%s'", None, "x", FAILED),
    )):
        query = TableQuery(r, t.write(f"key{i}", {"query": text}), name=f"key{i}")
        assert good is None or query.ask(good).kind == FOUND, text
        for _ in range(2):
            answer = query.ask(bad)
            assert answer.kind == kind and b"asked again" not in answer.text, (text, answer)
            assert good is None or query.ask(good).kind == FOUND, text
        query.stop()
        assert "warning" not in query.log(), query.log()


def test_queries_that_write_fail(r):
    t, query = small(r)
    query.stop()
    before = t.snapshot()
    for i, text in enumerate(("DELETE FROM alias WHERE address = '%s'", "UPDATE alias SET goto = '%s' RETURNING goto", f"ATTACH '{r.path('attached')}' AS x")):
        query = TableQuery(r, t.write(f"writes{i}", {"query": text}), name=f"writes{i}")
        answer = query.ask("k")
        assert answer.kind == FAILED, (text, answer)
        query.stop()
        assert t.snapshot() == before and not os.path.exists(r.path("attached")), text


def test_rows_without_end_fail_at_once(r):
    t, query = small(r)
    query.stop()
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT '%s' || i FROM n"
    for i, limit in enumerate(("10", "0")):
        query = TableQuery(r, t.write(f"rows{i}", {"query": endless, "expansion_limit": limit}), seconds=60, name=f"rows{i}")
        answer = query.ask("k")
        assert answer.kind in (FAILED, tables.LIMIT) and b"the result" in answer.text, answer
        query.stop()


def test_a_locked_database_is_waited_for(r):
    t, query = small(r)
    db = t.connect()
    db.isolation_level = None
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    begin = time.monotonic()
    answer = query.ask("k")
    assert answer.kind == FAILED and b"locked" in answer.text, answer
    assert 2 < time.monotonic() - begin < 5 * rig.TIME_FACTOR
    db.execute("COMMIT")
    db.close()
    assert query.ask("k") == (FOUND, b"v")


def test_a_query_without_end_is_interrupted(r):
    t, query = small(r)
    query.stop()
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n WHERE '%s' <> ''"
    query = TableQuery(r, t.write("endless", {"query": endless}), seconds=2, name="endless")
    begin = time.monotonic()
    answer = query.ask("k")
    assert answer.kind == FAILED and b"takes too long" in answer.text, answer
    assert 1.9 < time.monotonic() - begin < 4 * rig.TIME_FACTOR


def test_values_that_are_no_text_fail(r):
    """Postfix fails for a value that is not UTF-8, too, but cuts a value at its NUL."""
    _, query = small(
        r,
        "CREATE TABLE alias (id INTEGER PRIMARY KEY, address TEXT, goto); "
        "INSERT INTO alias (address, goto) VALUES ('nul', CAST(x'6100' AS TEXT)), ('latin', CAST(x'fc' AS TEXT)), ('null', NULL), ('empty', ''), ('number', 5)",
    )
    for key in ("nul", "latin"):
        answer = query.ask(key)
        assert answer.kind == tables.LIMIT and b"no valid UTF-8" in answer.text, answer
    theirs = tables.Postmap(r, "sqlite").ask_all(f"sqlite:{r.path('small.cf')}", [b"nul", b"latin"])
    assert theirs[0] == (FOUND, b"a") and theirs[1].kind == FAILED, theirs
    assert query.ask("null").kind == query.ask("empty").kind == NOT_FOUND
    assert query.ask("number") == (FOUND, b"5")


def test_faults_of_a_file_have_path_and_line(r):
    t = Sqlite(r)
    for more, expected in (
        ({"query": "SELECT %x"}, "2: query: "),
        ({"query": QUERY, "hosts": "x"}, '3: unknown parameter "hosts"'),
        ({"select_field": "goto"}, "2: select_field is not supported: write the statement as query = SELECT"),
        ({"query": QUERY, "dbpath": "mail.sqlite"}, "1: dbpath: "),
    ):
        parameters = {"dbpath": t.path, **more}
        path = r.write("bad.cf", "".join(f"{n} = {v}\n" for n, v in parameters.items()))
        conf = r.write("bad.conf", f'log {{ target = "stderr" }}\nmilter {{ socket = "unix:{r.path("m.sock")}" filter_maps = {{ "proxy:sqlite:{path}" }} }}\n')
        status, out, err = rig.run_splitctl(r, conf, "check", check=False)
        assert status != 0 and f"{path}:{expected}" in out + err, out + err


def test_check_asks_for_a_key_that_the_table_takes(r):
    """A query with an error is found though `domain` or the labels that it needs leave hardly any address to ask for."""
    t = Sqlite(r)
    t.fill({"a@x.test": ["primary"]})
    broken = "SELECT goto FROM missing WHERE address = '%s'"
    for more, expected in (
        ({"query": QUERY, "domain": "x.test"}, None),
        ({"query": broken, "domain": "x.test"}, "no such table: missing"),
        ({"query": broken + " OR address = '%4'"}, "no such table: missing"),
        ({"query": QUERY + " OR address = '%3'", "domain": "x.test"}, "nothing is asked for any address"),
    ):
        spec = t.write("checked", more)
        conf = r.write("checked.conf", f'log {{ target = "stderr" }}\nmilter {{ socket = "unix:{r.path("m.sock")}" filter_maps = {{ "{spec}" }} }}\n')
        _, out, err = rig.run_splitctl(r, conf, "check", check=False)
        assert ("checked.cf" in out + err) == (expected is not None) and (expected or "") in out + err, f"{more}: {out}{err}"


def test_a_missing_module_names_its_package(r):
    t = Sqlite(r)
    spec = t.write("small")
    conf = r.write("missing.conf", f'log {{ target = "stderr" }}\nmilter {{ socket = "unix:{r.path("m.sock")}" filter_maps = {{ "{spec}" }} }}\n')
    status, out, err = rig.run_splitctl(r, conf, "check", check=False, env={"SPLIT_MODULE_DIR": r.path("")})
    assert status != 0 and "sqlite: tables need the package splitmilter-sqlite" in out + err, out + err


def test_a_listener_goes_on_while_it_looks_recipients_up(r):
    """Six look-ups wait for a locked database, in a process with one or two threads for tasks."""
    t, query = small(r, "CREATE TABLE alias (id INTEGER PRIMARY KEY, address TEXT, goto); INSERT INTO alias (address, goto) VALUES ('slow@slow.test', 'newmail')")
    query.stop()
    slow = t.write("slow", {"query": QUERY, "domain": "slow.test"})
    t.path = r.path("other.sqlite")
    t.fill({"quick@x.test": ["newmail"]})
    d = rig.Duplicator(r, listener=f'copies = {{}} copy_maps = {{ "{slow}", "{t.write("quick")}" }}', top='milter { lookup_timeout = "29s" }\n')
    said = []

    def send(name):
        with d.client(timeout=60 * rig.TIME_FACTOR) as c:
            replies = [c.mail("s@x.test"), c.rcpt(name)]
            if replies[-1].code == 250:
                replies.append(c.data(b"Subject: x\r\n\r\nx\r\n"))
        return replies[-1]

    lock = sqlite3.connect(r.path("mail.sqlite"), isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    clients = [threading.Thread(target=lambda: said.append(send("slow@slow.test")), daemon=True) for _ in range(6)]
    for thread in clients:
        thread.start()
    rig.wait_for(lambda: len(descriptors_of(d.daemon.pid, "mail.sqlite")) == len(clients), 20, "look-ups to wait")
    for _ in range(3):
        assert send("quick@x.test").code == 250
    assert not said, f"a look-up did not wait: {said}"
    lock.execute("COMMIT")
    lock.close()
    for thread in clients:
        thread.join(60)
    assert len(said) == len(clients) and all(reply.code == 250 for reply in said), said
    d.backups["newmail"].wait(len(clients) + 3, 30)


def descriptors_of(pid, name):
    """The descriptors of a process with which it has this file open."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.path.basename(os.readlink(f"/proc/{pid}/fd/{fd}")) == name:
                found.append(fd)
        except FileNotFoundError:
            pass  # closed meanwhile
    return found


if __name__ == "__main__":
    rig.main()
