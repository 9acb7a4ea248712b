#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""pgsql: tables on a private PostgreSQL: the same answers as postmap(1), injections, outages, hosts, connection URIs, encodings, faults
of queries and of files."""

import os
import re
import subprocess
import threading
import time

import rig
from rig import libpq, table_outages, tables
from rig.tables import FAILED, FOUND, LIMIT, NOT_FOUND

USER, DATABASE = "splitmail", "mail"
# A database that stores bytes, and converts nothing: the answers do not depend on the encoding of the client.
BYTES = "bytes"
SCHEMA = """
CREATE TABLE alias (id SERIAL PRIMARY KEY, address TEXT NOT NULL, goto TEXT);
CREATE INDEX ON alias (address);
CREATE FUNCTION aliases(key TEXT) RETURNS SETOF TEXT LANGUAGE SQL STABLE AS $$ SELECT goto FROM alias WHERE address = key ORDER BY id $$;
"""
WHOLE = "SELECT goto FROM alias WHERE address = '%s' ORDER BY id"


class Pgsql(tables.Backend):
    kind = "pgsql"
    plain = {"query": WHOLE}
    cases = {
        "whole": {},
        "continued": {"query": "SELECT goto\n    FROM alias\n# comment\n    WHERE address = '%s'\n    ORDER BY id"},
        "parts": {"query": "SELECT goto FROM alias WHERE address = '%u' || '@' || '%d' ORDER BY id"},
        "upper": {"query": "SELECT goto FROM alias WHERE address = '%U@%D' AND '%S' <> '' ORDER BY id"},
        "user": {"query": "SELECT goto FROM alias WHERE split_part(address, '@', 1) = '%u' ORDER BY id LIMIT 3"},
        "domain": {"query": "SELECT goto FROM alias WHERE address IN ('%d', '@%d') ORDER BY id"},
        "labels": {"query": "SELECT goto FROM alias WHERE address = '%u@%2.%1' ORDER BY id"},
        "more-labels": {"query": "SELECT goto FROM alias WHERE address = '%u@%6.%5.%4.%3.%2.%1' ORDER BY id"},
        "columns": {"query": "SELECT goto, NULL, '', '%%', address FROM alias WHERE address = '%s' ORDER BY id"},
        "function": {"query": "SELECT aliases('%s')"},
        "statements": {"query": "SELECT 'first'; SELECT goto FROM alias WHERE address = '%s' ORDER BY id"},
        "format-value": {"query": WHOLE, "result_format": "smtp:[%d]:%u"},
        "format-user": {"query": WHOLE, "result_format": "%u%%"},
        "format-key": {"query": WHOLE, "result_format": "%S %U %D %1 %s"},
        "format-fixed": {"query": WHOLE, "result_format": "OK"},
        "filter": {"query": WHOLE, "domain": "example.com, .example.org\n   mail.example.com"},
        "limit": {"query": WHOLE, "expansion_limit": "2"},
        "limit-of-domains": {"query": WHOLE, "expansion_limit": "1", "result_format": "%d"},
        "errors": {"query": "SELECT goto FROM alias WHERE address LIKE '%u' || '@%d' ORDER BY id"},
        "bytes": {"query": WHOLE, "dbname": BYTES},
        "bytes-parts": {"query": "SELECT goto FROM alias WHERE address = '%u@%d' ORDER BY id", "dbname": BYTES, "result_format": "<%s>"},
        "utf8": {"query": WHOLE, "encoding": None},
    }

    def __init__(self, r, settings=None):
        super().__init__(r)
        self.server = rig.Postgres(r, "tables", settings)
        self.address = self.server.address
        self.is_old = old_postfix()
        self.server.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{self.secret}'")
        for database, encoding in ((DATABASE, "UTF8"), (BYTES, "SQL_ASCII")):
            self.server.execute(f"CREATE DATABASE {database} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
            self.server.execute(f"{SCHEMA} GRANT SELECT, INSERT, UPDATE, DELETE ON alias TO {USER}", database=database)

    def fill(self, rows):
        for database in (DATABASE, BYTES):
            with libpq.Connection(self.server.superuser_uri(database) + " client_encoding=UTF8") as c:
                c.execute("TRUNCATE alias")
                for address, values in rows.items():
                    for i, value in enumerate(values):
                        c.execute("INSERT INTO alias (address, goto) VALUES ($1, $2)", address, None if value == "" and i % 2 else value)

    def snapshot(self):
        found = {"roles": self.server.execute("SELECT rolname FROM pg_roles ORDER BY 1")}
        for database in (DATABASE, BYTES):
            found[database] = self.server.execute("SELECT id, textsend(address), textsend(goto) FROM alias ORDER BY id", database=database)
            found[database, "tables"] = self.server.execute("SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') ORDER BY 1", database=database)
        return found

    def parameters(self, address=None):
        host, port = address or self.address
        return {"hosts": f"inet:{host}:{port}", "user": USER, "password": self.secret, "dbname": DATABASE}

    def difference(self, case, key, ours, theirs):
        if case == "utf8" and self.is_old and not (key + ours.text).isascii():
            return "Postfix before 3.8 speaks LATIN1 with the server"
        if case == "format-fixed" and b"no valid UTF-8" in ours.text:
            return "a value that is not UTF-8 is refused even if result_format does not use it"
        return None


def old_postfix():
    """Is this a Postfix without the parameter `encoding`, which has come with 3.8?"""
    out = subprocess.run(["postconf", "-d", "-h", "mail_version"], stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode()
    return tuple(int(n) for n in re.findall(r"\d+", out)[:2]) < (3, 8)


def backend(r, settings=None):
    made = Pgsql(r, settings)
    made.rows = {"anna@example.com": ["primary"], "jürgen@example.com": ["ü@store.test"]}
    made.fill(made.rows)
    return made


def query(b, more=None, seconds=10, **parameters):
    """A table_query on a table with these parameters instead of the usual ones (None: without them)."""
    return tables.TableQuery(b.rig, b.write("own", {"query": WHOLE, **(more or {}), **parameters}), seconds)


def connections(b):
    """{process: state} of the table's connections to the server."""
    return dict(b.server.execute("SELECT pid, state FROM pg_stat_activity WHERE usename = $1", USER))


def end_connections(b):
    """Let the server end the table's connections."""
    b.server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", USER)
    rig.wait_for(lambda: not connections(b), 10, "connections to end")


def test_same_answers_as_postmap(r):
    """All kinds of queries, formats and filters. All but three cases have the encoding that every version of Postfix can use."""
    b = Pgsql(r)
    b.cases = {name: {"query": WHOLE, "encoding": "LATIN1", **more} if "dbname" not in more and "encoding" not in more else more for name, more in b.cases.items()}
    tables.compare_cases(b)


def test_injections(r):
    tables.check_injections(Pgsql(r))


def test_injections_where_backslashes_escape(r):
    """A server with standard_conforming_strings = off takes a backslash in a string for an escape."""
    tables.check_injections(Pgsql(r, {"standard_conforming_strings": "off", "escape_string_warning": "off"}), tables.INJECTIONS // 4)


def test_injections_in_other_encodings(r):
    """In some encodings the second byte of a character may be a quote or a backslash. Keys that are no text in it make the look-up
    fail, or are not found."""
    b = Pgsql(r)
    for encoding in ("SJIS", "BIG5", "GBK", "LATIN1"):
        tables.check_injections(b, tables.INJECTIONS // 8, {"query": WHOLE, "encoding": encoding}, may_fail=True)


def test_server_is_killed(r):
    table_outages.check_killed(Pgsql(r))


def test_single_server_is_found_again_soon(r):
    table_outages.check_default_intervals(Pgsql(r))


def test_server_hangs(r):
    table_outages.check_hung(Pgsql(r))


def test_server_is_away_at_start(r):
    table_outages.check_away_at_start(Pgsql(r))


def test_server_is_away_and_messages_are_accepted(r):
    table_outages.check_accept(Pgsql(r))


def test_refused_keys(r):
    """A sender that chooses a key for which the query fails does not bypass the filter."""
    query = "SELECT goto FROM alias WHERE address = '%s' AND '%u' ~ '%u'"
    table_outages.check_refused_key(Pgsql(r), {"query": query}, "*x@example.com")


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
    """A fault of one server lets the other one be asked. A fault of the key or the query does not, and the host does not count as
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
        ("22021", quoted, LIMIT), ("2201B", quoted, LIMIT), ("54001", quoted, LIMIT), ("42601", bare, LIMIT), ("42P01", bare, LIMIT),
        ("42601", quoted, FAILED), ("42883", quoted, FAILED), ("21000", quoted, FAILED), ("57014", quoted, FAILED), ("P0001", quoted, FAILED),
    ):
        other.execute(failing.format(code), database=DATABASE)
        q = query(b, {"query": text, **hosts})
        answer = q.ask("anna@example.com")
        assert answer.kind == kind and (kind == FOUND or b"as the test wants it" in answer.text), (code, text, answer, q.log())
        q.stop()
        assert ("warning" in q.log()) == (kind == FOUND), (code, q.log())
        os.unlink(q.log_path)


def test_server_is_slow(r):
    table_outages.check_slow(Pgsql(r))


def test_restarts_under_load(r):
    table_outages.check_restarts_under_load(Pgsql(r))


def test_reconnects(r):
    table_outages.check_reconnects(Pgsql(r))


def test_wrong_password(r):
    table_outages.check_wrong_password(Pgsql(r))


def test_check_and_explain(r):
    table_outages.check_tools(Pgsql(r))


def test_encodings(r):
    """By default the connection is in UTF-8. With another encoding a result that is not UTF-8 makes the look-up fail."""
    b = backend(r)
    q = query(b)
    assert q.ask("jürgen@example.com") == (FOUND, "ü@store.test".encode())
    assert q.ask("JÜRGEN@Example.com") == (FOUND, "ü@store.test".encode())
    assert q.ask(b"j\xfcrgen@example.com") == (NOT_FOUND, b"")
    assert q.ask(b"anna@example.com\0' OR 1=1") == (FOUND, b"primary"), "the key ends at the NUL, as in postmap"
    q.stop()
    q = query(b, {"query": "SELECT goto FROM alias WHERE '%s' <> '' AND id = (SELECT max(id) FROM alias)", "encoding": "LATIN1"})
    assert q.ask("x").kind == FAILED
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
        ("SELECT CASE '%s' WHEN 'x' THEN pg_catalog.repeat('y', 100001) ELSE 'primary' END", FAILED, "long"),
        ("SELECT CASE '%s' WHEN 'x' THEN lower('A')::int::text ELSE 'primary' END", LIMIT, "invalid input syntax"),
        ("SELECT goto FROM alias WHERE address = CASE '%s' WHEN 'x' THEN (SELECT 'a' UNION SELECT 'b') ELSE '%s' END", FAILED, "more than one row"),
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
            assert answer.kind == (LIMIT if "1 / 0" in text else FAILED) and reason in answer.text.decode(), (text, answer)
        q.stop()


def test_rows_without_end(r):
    """An answer with more values than allowed makes the look-up fail, and takes no memory."""
    b = backend(r)
    q = query(b, {"query": "SELECT 'v' || n FROM generate_series(1, CASE '%s' WHEN 'all' THEN 3000000 ELSE 2 END) AS n", "expansion_limit": "10"}, seconds=60)
    assert q.ask("two") == (FOUND, b"v1,v2")
    before, first = q.rss_kb(), connections(b).keys()
    for _ in range(3):
        assert q.ask("all").kind in (FAILED, tables.LIMIT)
        assert q.ask("two") == (FOUND, b"v1,v2"), "the connection is not in order"
    assert rig.instrumented() or q.rss_kb() < before + 4096, (before, q.rss_kb())
    assert connections(b).keys() == first, "the connection is another one"


def test_time_limit(r):
    """A query that takes longer than lookup_timeout makes the look-up fail in time."""
    b = backend(r)
    q = query(b, {"query": "SELECT goto FROM alias WHERE address = '%s' AND ('%s' <> 'anna@example.com' OR pg_sleep(20) IS NOT NULL)"}, seconds=2)
    assert q.ask("jürgen@example.com").kind == FOUND
    begin = time.monotonic()
    answer = q.ask("anna@example.com")
    assert answer.kind == FAILED and b"time limit" in answer.text, answer
    assert time.monotonic() - begin < 4 * rig.TIME_FACTOR


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
        (f"query = SELECT 1\ndbname = x\n\nhosts = a b mysql://u:{secret}@h/d\n", r":4: .*hosts.*postgresql://"),
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
