#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""pgsql: tables: hosts, connection URIs, encodings, limits, faults of queries and of files."""

import os
import re
import subprocess
import threading
import time

import rig
from rig import table_outages, tables
from rig.pgsql_table import DATABASE, Pgsql, SCHEMA, USER, WHOLE, backend, connections, end_connections, query
from rig.tables import FAILED, FOUND, LIMIT, NOT_FOUND


def test_refused_keys(r):
    """A sender that chooses a key for which the query fails does not bypass the filter."""
    query = "SELECT goto FROM alias WHERE address = '%s' AND '%u' ~ '%u'"
    table_outages.check_refused_key(Pgsql(r), {"query": query}, "*x@example.com")


def test_keys_that_match_many_rows(r):
    """In a query with LIKE a sender can choose a key that matches more rows than allowed. It does not bypass the filter either."""
    query = "SELECT goto FROM alias WHERE address LIKE '%s'"
    table_outages.check_refused_key(Pgsql(r), {"query": query, "expansion_limit": "2"}, "load_@example.com")


def test_refused_characters(r):
    """A database in LATIN1 refuses characters that it does not have."""
    b = backend(r)
    b.server.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    b.server.execute(f"{SCHEMA} GRANT SELECT ON alias TO {USER}; INSERT INTO alias (address, goto) VALUES ('anna@example.com', 'primary')", database="latin")
    q = query(b, dbname="latin")
    assert q.ask("anna@example.com") == (FOUND, b"primary")
    assert q.ask("jürgen@example.com").kind == NOT_FOUND
    answer = q.ask("anna+日@example.com")
    assert answer.kind == LIMIT and b"no equivalent" in answer.text, answer
    assert q.ask("anna@example.com") == (FOUND, b"primary")
    q.stop()
    assert "warning" not in q.log(), q.log()


def test_kinds_of_errors(r):
    """A fault of one server lets the other one be asked. A fault of the query does not, and the host does not count as
    failed."""
    b = backend(r)
    other = rig.Postgres(r, "other")
    other.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{b.secret}'")
    other.execute(f"CREATE DATABASE {DATABASE}")
    os.chmod(other.socket_directory, 0o755)
    hosts = {"hosts": f"unix:{other.socket_directory} inet:{b.address[0]}:{b.address[1]}", "dbname": f"dbname={DATABASE} port={other.address[1]}"}  # the socket is tried first
    quoted, bare = "SELECT aliases('%s')", "SELECT aliases('%s') /* %u */"
    failing = "CREATE OR REPLACE FUNCTION aliases(key TEXT) RETURNS SETOF TEXT LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'as the test wants it' USING ERRCODE = '{}'; END $$"
    for code, text, kind in (
        ("40001", quoted, FOUND), ("40P01", quoted, FOUND), ("42P01", quoted, FOUND), ("42501", quoted, FOUND), ("3F000", quoted, FOUND), ("53200", quoted, FOUND), ("25006", quoted, FOUND),
        ("08006", quoted, FOUND), ("53100", quoted, FOUND), ("53300", quoted, FOUND), ("57P03", quoted, FOUND), ("58000", quoted, FOUND), ("XX001", quoted, FOUND), ("XX002", quoted, FOUND),
        ("22021", quoted, FAILED), ("2201B", quoted, FAILED), ("54001", quoted, FAILED), ("42601", bare, FAILED), ("42P01", bare, FAILED),
        ("42601", quoted, FAILED), ("42883", quoted, FAILED), ("21000", quoted, FAILED), ("57014", quoted, FAILED), ("P0001", quoted, FAILED),
    ):
        other.execute(failing.format(code), database=DATABASE)
        q = query(b, {"query": text, **hosts})
        answer = q.ask("anna@example.com")
        assert answer.kind == kind and (kind == FOUND or b"as the test wants it" in answer.text), (code, text, answer, q.log())
        q.stop()
        assert ("warning" in q.log()) == (kind == FOUND), (code, q.log())
        os.unlink(q.log_path)


def test_encodings(r):
    """By default the connection is in UTF-8, as in Postfix 3.8 and later. With another encoding a result that is not UTF-8 makes the look-up fail."""
    b = backend(r)
    q = query(b)
    assert q.ask("jürgen@example.com") == (FOUND, "ü@store.test".encode())
    assert q.ask("JÜRGEN@Example.com") == (FOUND, "ü@store.test".encode())
    assert q.ask(b"j\xfcrgen@example.com") == (NOT_FOUND, b"")
    assert q.ask(b"anna@example.com\0' OR 1=1") == (FOUND, b"primary"), "the key ends at the NUL, as in postmap"
    q.stop()
    for encoding, expected in ((None, b"UTF8"), ("LATIN1", b"LATIN1"), ("latin-1", b"LATIN1")):
        q = query(b, query="SELECT pg_client_encoding() WHERE '%s' <> ''", encoding=encoding)
        assert q.ask("x") == (FOUND, expected), encoding
        q.stop()
    q = query(b, {"query": "SELECT goto FROM alias WHERE '%s' <> '' AND id = (SELECT max(id) FROM alias)", "encoding": "LATIN1"})
    assert q.ask("x").kind == FAILED
    q.stop()
    q = query(b, {"query": "SELECT 1 / 0 WHERE '%s' <> ''", "encoding": "SJIS"})
    assert q.ask("anna@example.com").kind == FAILED
    answer = q.ask("あ")  # ends with the first byte of a character of two
    assert answer.kind == LIMIT and b"cannot be quoted" in answer.text, answer
    q.stop()
    q = query(b, encoding="nosuchcoding")
    answer = q.ask("anna@example.com")
    assert answer.kind == FAILED and b"nosuchcoding" in answer.text, answer


def test_forms_of_hosts(r):
    """A socket's directory, host and port, a connection URI, and options in dbname."""
    b = backend(r)
    host, port = b.address
    os.chmod(b.server.socket_directory, 0o755)
    uri = f"postgresql://{USER}:{b.secret}@{host}:{port}/{DATABASE}?sslmode=disable"
    for parameters in (
        {"hosts": f"unix:{b.server.socket_directory}", "dbname": f"dbname={DATABASE} port={port}"},
        {"hosts": b.server.socket_directory, "dbname": f"dbname={DATABASE} port={port}", "password": None},
        {"hosts": f"{host}:{port}"},
        {"hosts": f"inet:[{host}]:{port}"},
        {"hosts": f"inet:{host}", "dbname": f"dbname={DATABASE} port={port} sslmode=disable"},
        {"hosts": uri, "user": None, "password": None, "dbname": None},
        {"hosts": uri, "user": "nobody", "password": "wrong", "dbname": "nothing"},
    ):
        q = query(b, parameters)
        assert q.ask("anna@example.com") == (FOUND, b"primary"), (parameters, q.log())
        q.stop()


def test_order_of_hosts(r):
    """As in Postfix, a socket is asked before a host, and a host before a connection URI, whatever their order in the file."""
    b = backend(r)
    other = rig.Postgres(r, "other")
    other.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{b.secret}'")
    other.execute(f"CREATE DATABASE {DATABASE}")
    other.execute(f"{SCHEMA} GRANT SELECT ON alias TO {USER}; INSERT INTO alias (address, goto) VALUES ('anna@example.com', 'other')", database=DATABASE)
    os.chmod(b.server.socket_directory, 0o755)
    host, port = b.address
    uri = f"postgresql://{USER}:{b.secret}@{other.address[0]}:{other.address[1]}/{DATABASE}"
    for parameters in (
        {"hosts": f"{uri} {host}:{port}"},
        {"hosts": f"{uri} unix:{b.server.socket_directory}", "dbname": f"dbname={DATABASE} port={port}"},
        {"hosts": f"{other.address[0]}:{other.address[1]} unix:{b.server.socket_directory}", "dbname": f"dbname={DATABASE} port={port}"},
    ):
        for _ in range(8):
            q = query(b, parameters)
            assert q.ask("anna@example.com") == (FOUND, b"primary"), (parameters, q.log())
            q.stop()


def test_several_hosts(r):
    """While one of two hosts is away the other is asked. The log names the host that failed, once, and without the password of its
    URI."""
    b = backend(r)
    host, port = b.address
    away = r.free_port()
    for hosts in (f"{host}:{away} {host}:{port}", f"postgresql://{USER}:{b.secret}@{host}:{away}/{DATABASE}, postgresql://{USER}:{b.secret}@{host}:{port}/{DATABASE}"):
        for _ in range(12):  # the order is random
            q = query(b, hosts=hosts)
            for _ in range(5):
                assert q.ask("anna@example.com") == (FOUND, b"primary"), q.log()
            q.stop()
        log = q.log()
        warnings = [ln for ln in log.splitlines() if "warning: " in ln and str(away) in ln]
        assert 1 <= len(warnings) <= 12, log
        assert b.secret not in log, log
        os.unlink(q.log_path)


def test_queries_that_fail(r):
    """A look-up whose query or data is at fault fails. The connection stays in use, and the host does not count as failed."""
    b = backend(r)
    for text, kind_of_x, reason in (
        ("SELECT goto FROM alias WHERE address = '%s' AND 1 / length(replace('%s', 'x', '')) >= 0", LIMIT, "division by zero"),
        ("SELECT goto FROM alias WHERE address = '%s' AND '%u' !~ '\\(x'", NOT_FOUND, ""),
        ("SELECT CASE '%s' WHEN 'x' THEN pg_catalog.repeat('y', 100001) ELSE 'primary' END", LIMIT, "long"),
        ("SELECT CASE '%s' WHEN 'x' THEN lower('A')::int::text ELSE 'primary' END", LIMIT, "invalid input syntax"),
        ("SELECT goto FROM alias WHERE address = CASE '%s' WHEN 'x' THEN (SELECT 'a' UNION SELECT 'b') ELSE '%s' END", LIMIT, "more than one row"),
    ):
        q = query(b, query=text)
        for key, kind in (("anna@example.com", FOUND), ("x", kind_of_x), ("anna@example.com", FOUND)):
            answer = q.ask(key)
            assert answer.kind == kind, (text, key, answer, q.log())
            assert kind == FOUND or reason in answer.text.decode(), answer
        assert len(connections(b)) == 1, connections(b)
        assert "warning" not in q.log(), q.log()
        q.stop()
    for text, reason in (
        ("SELECT goto FROM nosuchtable WHERE address = '%s'", "nosuchtable"),
        ("COPY alias TO STDOUT", "COPY"),
        ("COPY alias FROM STDIN", "COPY"),
        ("BEGIN; SELECT 1 / 0", "division by zero"),
        ("-- %s", "no statement"),
    ):
        q = query(b, query=text)
        for _ in range(3):
            answer = q.ask("x")
            assert answer.kind == FAILED and reason in answer.text.decode(), (text, answer)
        q.stop()


def test_rows_without_end(r):
    """An answer with more values than allowed makes the look-up fail, and takes no memory."""
    b = backend(r)
    q = query(b, {"query": "SELECT 'v' || n FROM generate_series(1, CASE '%s' WHEN 'all' THEN 3000000 ELSE 2 END) AS n", "expansion_limit": "10"}, seconds=60)
    assert q.ask("two") == (FOUND, b"v1,v2")
    before, first = q.rss_kb(), connections(b).keys()
    for _ in range(3):
        assert q.ask("all").kind == LIMIT
        assert q.ask("two") == (FOUND, b"v1,v2"), "the connection is not in order"
    assert rig.instrumented() or q.rss_kb() < before + 4096, (before, q.rss_kb())
    assert connections(b).keys() == first, "the connection is another one"


SLOW = "SELECT goto FROM alias WHERE address = '%s' AND ('%s' <> 'anna@example.com' OR pg_sleep(20) IS NOT NULL)"


def timed(q, key):
    begin = time.monotonic()
    return q.ask(key), time.monotonic() - begin


def test_time_limit(r):
    """A query that takes longer than lookup_timeout makes the look-up fail in time. The server ends it, too, and the connection stays
    in use, unless the query is no SELECT: then the connection is closed."""
    b = backend(r)
    for text, is_ended in ((SLOW, True), (f"WITH one AS ({SLOW}) SELECT * FROM one", True), (f"/* */ {SLOW}", False)):
        q = query(b, query=text, seconds=2)
        assert q.ask("jürgen@example.com").kind == FOUND
        first = connections(b)
        answer, seconds = timed(q, "anna@example.com")
        # LIMIT: there was time to see that the server answers for another key.
        assert answer.kind in ((FAILED, LIMIT) if is_ended else (FAILED,)) and (b"statement timeout" if is_ended else b"time limit") in answer.text, answer
        assert seconds < 4 * rig.TIME_FACTOR, seconds
        state = connections(b)
        assert set(state.values()) == {"idle" if is_ended else "active"} and state.keys() == first.keys(), (text, state, first)
        assert q.ask("jürgen@example.com").kind == FOUND
        assert (connections(b).keys() == first.keys()) == is_ended, (text, connections(b), first)
        assert "warning" not in q.log(), q.log()
        q.stop()
        end_connections(b)


def test_limits_that_are_set_already(r):
    """A limit that the role or the connection URI sets for statements stays in force. The limit of a query does not stay in the
    session, which a pooler may give to others."""
    b = backend(r)
    host, port = b.address
    shown = "SELECT current_setting('statement_timeout') WHERE '%s' <> ''"
    q = query(b, query=shown)
    first = q.ask("x")
    assert first.kind == FOUND and re.fullmatch(rb"9\d{3}ms|9s|9\d00ms", first.text), first
    q.stop()
    q = query(b, query="SELECT 'a'; RESET client_min_messages; COMMIT; " + shown)
    assert q.ask("x") == (FOUND, b"0"), "the limit outlives its query"
    q.stop()
    q = query(b, query=SLOW, hosts=f"postgresql://{USER}:{b.secret}@{host}:{port}/{DATABASE}?options=-c%20statement_timeout%3D300ms")
    answer, seconds = timed(q, "anna@example.com")
    assert answer.kind in (FAILED, LIMIT) and b"statement timeout" in answer.text and seconds < 5 * rig.TIME_FACTOR, (answer, seconds)
    q.stop()
    b.server.execute(f"ALTER ROLE {USER} SET statement_timeout = '1min'")
    q = query(b, query=shown)
    assert q.ask("x") == (FOUND, b"1min")
    q.stop()


def test_connections_that_end(r):
    """An idle connection that the server has closed is replaced, without a warning. A server that takes no more connections makes
    the look-up fail, and is asked again later."""
    b = backend(r)
    q = query(b, retry_interval="1")
    for _ in range(3):
        assert q.ask("anna@example.com") == (FOUND, b"primary"), q.log()
        end_connections(b)
    assert "warning" not in q.log(), q.log()
    assert q.ask("anna@example.com") == (FOUND, b"primary"), q.log()
    b.server.execute(f"ALTER ROLE {USER} CONNECTION LIMIT 0")
    end_connections(b)
    answer = q.ask("anna@example.com")
    assert answer.kind == FAILED and b"too many connections" in answer.text, answer
    b.server.execute(f"ALTER ROLE {USER} CONNECTION LIMIT -1")
    rig.wait_for(lambda: q.ask("anna@example.com") == (FOUND, b"primary"), 10, "recovery", q.log)


def test_idle_connections_are_closed(r):
    """A connection that was idle for longer than idle_interval is closed when the next look-up comes."""
    b = backend(r)
    q = query(b, idle_interval="1")
    assert q.ask("anna@example.com").kind == FOUND
    first = connections(b)
    threading.Event().wait(1.5)
    assert q.ask("anna@example.com").kind == FOUND
    rig.wait_for(lambda: not first.keys() & connections(b).keys(), 10, "the connection to be closed")


def test_files_that_are_refused(r):
    """Mistakes in the parameter file are reported with the file's name and line, and without passwords."""
    secret = "pa55:w%zz"
    for text, expected in (
        ("hosts = localhost\nquery = SELECT 1\n", r"dbname"),
        ("dbname = mail\nhosts = localhost\n", r"query"),
        ("dbname = mail\nselect_field = goto\ntable = alias\nwhere_field = address\n", r":2: .*select_field.*query = SELECT"),
        ("dbname = mail\nselect_function = f\n", r":2: .*select_function.*query = SELECT"),
        ("dbname = mail\nquery = SELECT 1\nquerry = SELECT 1\n", r":3: .*querry"),
        ("dbname = mail\nquery = SELECT '%x'\n", r":2: query.*%"),
        ("dbname = mail\nquery = SELECT 1\nexpansion_limit = many\n", r":3: .*expansion_limit"),
        ("dbname = mail\nquery = SELECT 1\nretry_interval = 0\n", r":3: .*retry_interval"),
        (f"query = SELECT 1\nhosts = postgresql://u:{secret}@h/d\n", r":2: .*hosts.*URI is not valid"),
        (f"query = SELECT 1\ndbname = x\n\nhosts = a b mysql://u:{secret}@h/d\n", r":4: .*hosts.*URI begins with"),
        (f"query = SELECT 1\ndbname = x\nhosts = mysql://h/d?password={secret}\n", r":3: .*hosts.*URI begins with"),
        (f"query = SELECT 1\ndbname = x\nhosts = u:{secret}@h:5432\n", r":3: .*hosts.*a user"),
        (f"query = SELECT 1\ndbname = x\nhosts = {secret}@h/d\n", r":3: .*hosts.*a user"),
        (f"query = SELECT 1\nhosts = h\ndbname = dbname=x passwort={secret}\n", r":3: .*dbname"),
        ("query = SELECT 1\nhosts = postgresql://h/d?sslmode=require other\n", r"dbname.*other"),
    ):
        path = r.write("refused.cf", text, 0o600)
        done = subprocess.run(
            [rig.program("table_query"), f"pgsql:{path}"], input=b"", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=rig.sanitizer_environment(r, "refused"), timeout=60, check=False
        )
        log = done.stderr.decode()
        assert done.returncode == 2 and re.search(r"refused\.cf.*" + expected, log), (text, log)
        assert "w%zz" not in log and "pa55" not in log, log


if __name__ == "__main__":
    rig.main(timeout=900)
