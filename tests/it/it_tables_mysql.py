#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""mysql: tables on a private MariaDB server: the same answers as postmap(1), injections, outages, TLS, hostile servers.

SPLIT_LOOKUPS, SPLIT_INJECTIONS, SPLIT_TABLE_MESSAGES, SPLIT_RECONNECTS make the run longer; SPLIT_SEED repeats a run."""

import os
import subprocess
import time

import rig
from rig import mariadb, table_outages, tables

SCHEMA = """
CREATE DATABASE mail CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
USE mail;
CREATE TABLE alias (position INT AUTO_INCREMENT PRIMARY KEY, address VARCHAR(700) NOT NULL, local_part VARCHAR(700) NOT NULL, domain VARCHAR(700) NOT NULL, goto TEXT, KEY (address(100)));
CREATE TABLE old_alias (position INT PRIMARY KEY, address VARCHAR(700) CHARACTER SET latin1 NOT NULL, goto TEXT CHARACTER SET latin1);
CREATE TABLE odd (address VARCHAR(100) NOT NULL, goto LONGBLOB);
DELIMITER //
CREATE PROCEDURE lookup(IN parameter VARCHAR(2000) CHARACTER SET utf8mb4) READS SQL DATA SQL SECURITY INVOKER
BEGIN
    SELECT goto FROM alias WHERE address = parameter ORDER BY position;
END //
CREATE PROCEDURE lookup_existing(IN parameter VARCHAR(2000) CHARACTER SET utf8mb4) READS SQL DATA SQL SECURITY INVOKER
BEGIN
    IF EXISTS (SELECT 1 FROM alias WHERE address = parameter) THEN
        SELECT goto FROM alias WHERE address = parameter ORDER BY position;
    END IF;
END //
CREATE PROCEDURE lookup_twice(IN parameter VARCHAR(2000) CHARACTER SET utf8mb4) READS SQL DATA SQL SECURITY INVOKER
BEGIN
    SELECT goto FROM alias WHERE address = parameter;
    SELECT goto FROM alias WHERE address = parameter;
END //
DELIMITER ;
"""
PLAIN = "SELECT goto FROM alias WHERE address = '%s' ORDER BY position"
ODD = {"query": "SELECT goto FROM odd WHERE address = '%s'"}


def sql_text(value):
    """A string for a statement, whatever is in it."""
    return f"CONVERT(X'{value.encode().hex()}' USING utf8mb4)"


class Mysql(tables.Backend):
    kind = "mysql"
    plain = {"query": PLAIN}
    cases = {
        "whole": {"query": PLAIN},
        "parts": {"query": "SELECT goto FROM alias WHERE local_part = '%u' AND domain = '%d' ORDER BY position"},
        "upper": {"query": "SELECT goto FROM alias WHERE address = CONCAT('%U', '@', '%D') AND '%S' <> '' ORDER BY position"},
        "labels": {"query": "SELECT goto FROM alias WHERE address = '%s' AND domain LIKE '%%%2.%1' ORDER BY position"},
        "like": {"query": "SELECT goto FROM alias WHERE address LIKE '%s' ORDER BY position"},
        "double-quotes": {"query": 'SELECT goto FROM alias WHERE address = "%s" ORDER BY position'},
        "columns": {"query": "SELECT goto, NULL, '', domain, position FROM alias WHERE address = '%s' ORDER BY position"},
        "format": {"query": PLAIN, "result_format": "smtp:[%s]:25"},
        "format-of-parts": {"query": PLAIN, "result_format": "%u+x@%d (%S)"},
        "format-of-key": {"query": PLAIN, "result_format": "%U at %D, %1 %%, %s"},
        "limit": {"query": PLAIN, "expansion_limit": "2"},
        "domain": {"query": PLAIN, "domain": "example.com, mail.example.com\n bücher.example"},
        "latin1": {"query": "SELECT goto FROM old_alias WHERE address = '%s' ORDER BY position"},
        "procedure": {"query": "CALL lookup('%s')"},
        "procedure-without-result": {"query": "CALL lookup_existing('%s')", "require_result_set": "no"},
        "procedure-with-required-result": {"query": "CALL lookup_existing('%s')"},
    }

    def __init__(self, r, **options):
        super().__init__(r)
        rig.program("mysql.so")
        self.server = rig.MariaDb(r, **options)
        self.address = self.server.address
        self.server.execute(SCHEMA)
        self.server.add_user("split", self.secret, "mail")
        self.cases = dict(self.cases)
        self.cases["socket"] = {"query": PLAIN, "hosts": f"unix:{self.server.socket}"}
        without_backslash = r.write("without-backslash.cnf", "[client]\ninit-command = SET sql_mode = 'NO_BACKSLASH_ESCAPES'\n")
        self.cases["no-backslash-escapes"] = {"query": PLAIN, "option_file": without_backslash}
        self._session = None

    def fill(self, rows):
        lines = ["SET autocommit = 0; DELETE FROM alias; DELETE FROM old_alias;"]
        for address, values in rows.items():
            local_part, _, domain = address.rpartition("@")
            for value in values:
                columns = ", ".join(sql_text(t) for t in (address, local_part, domain, value))
                lines.append(f"INSERT INTO alias (address, local_part, domain, goto) VALUES ({columns});")
        lines.append("INSERT IGNORE INTO old_alias SELECT position, address, goto FROM alias; COMMIT;")
        self.server.execute("\n".join(lines), "mail")

    def snapshot(self):
        query = "SELECT position, HEX(address), HEX(local_part), HEX(domain), HEX(goto) FROM alias ORDER BY position"
        return self.server.execute(query, "mail"), self.server.execute("SHOW TABLES", "mail"), self.server.execute("SHOW PROCEDURE STATUS WHERE Db = 'mail'")

    def parameters(self, address=None):
        host, port = address or self.address
        return {"hosts": f"inet:{host}:{port}", "user": "split", "password": self.secret, "dbname": "mail"}

    def is_same(self, key):
        try:
            text = key.split(b"\0")[0].decode()
        except UnicodeDecodeError:
            return False
        if self._session is None:
            self._session = self.server.session("mail")
        return self._session.value(f"SELECT COUNT(*) FROM alias WHERE address = {sql_text(text)}") != "0"


def query_of(r, backend, more=None, seconds=10, name="query", **options):
    """A running table_query for a table with these parameters."""
    return tables.TableQuery(r, backend.write(name, more, **options), seconds=seconds, name=name)


def refused(r, backend, more):
    """The message with which a table with these parameters is refused."""
    spec = backend.write("refused", {**backend.plain, **more})
    done = subprocess.run([rig.program("table_query"), spec], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=rig.sanitizer_environment(r, "refused"), timeout=60, check=False)
    text = done.stderr.decode()
    assert done.returncode == 2, f"{more}: exit {done.returncode}\n{text}"
    assert backend.secret not in text, text
    return text


def connections(backend):
    """The ids of the connections that look-ups have open."""
    return backend.server.execute("SELECT id FROM information_schema.processlist WHERE user = 'split'")


def test_same_answers_as_postmap(r):
    tables.compare_cases(Mysql(r))


def test_injections(r):
    tables.check_injections(Mysql(r))


def test_server_killed(r):
    table_outages.check_killed(Mysql(r))


def test_single_server_is_found_again_soon(r):
    table_outages.check_default_intervals(Mysql(r))


def test_server_hung(r):
    table_outages.check_hung(Mysql(r))


def test_server_away_at_start(r):
    table_outages.check_away_at_start(Mysql(r))


def test_accept_while_away(r):
    table_outages.check_accept(Mysql(r))


def test_server_slow(r):
    table_outages.check_slow(Mysql(r))


def test_restarts_under_load(r):
    table_outages.check_restarts_under_load(Mysql(r))


def test_reconnects(r):
    table_outages.check_reconnects(Mysql(r))


def test_wrong_password(r):
    table_outages.check_wrong_password(Mysql(r))


def test_tools(r):
    table_outages.check_tools(Mysql(r))


def test_parameters(r):
    """Parameters that are not valid are refused with their line."""
    backend = Mysql(r)
    hosts = {
        "inet:127.0.0.1:99999": "no such port", "inet:127.0.0.1:": "no such port", "inet:127.0.0.1:no-such-service": "no such port", "inet:": "the host is missing",
        "unix:": "the path is missing", "unix:/" + "x" * 108: "too long", "::1": "brackets", "[::1": "brackets", "127.0.0.1:3306, [::1]x": "brackets",
    }
    for value, reason in hosts.items():
        text = refused(r, backend, {"hosts": value})
        assert "refused.cf:1: hosts: " in text and reason in text, text
    assert "option_file" in (text := refused(r, backend, {"option_file": r.path("missing.cnf")})) and "No such file" in text, text
    assert "charset" in (text := refused(r, backend, {"charset": ""})), text
    assert "dbname" in (text := refused(r, backend, {"dbname": None})), text
    assert "select_field" in (text := refused(r, backend, {"select_field": "goto"})) and "query = SELECT" in text, text
    assert "tls_verify_cert" in (text := refused(r, backend, {"tls_verify_cert": "perhaps"})), text


def test_values(r):
    """NULL and empty values are skipped; values that no result may have make the look-up fail; the connection is used again."""
    backend = Mysql(r)
    values = {
        "null": "NULL", "empty": "''", "nul": "X'610062'", "latin1": "X'fc'", "surrogate": "X'eda080'", "good": "'secondary'", "long": "REPEAT('x', 90000)", "too-long": "REPEAT('x', 200000)",
        "huge": "REPEAT('x', 3000000)", "lines": "'a\\nb'",
    }
    for name, value in values.items():
        backend.server.execute(f"INSERT INTO odd VALUES ('{name}@example.com', {value})", "mail")
    query = query_of(r, backend, ODD)
    for name, kind in (("null", "-"), ("empty", "-"), ("nul", "!"), ("latin1", "!"), ("surrogate", "!"), ("long", "="), ("too-long", "!"), ("huge", "!"), ("other", "-")):
        answer = query.ask(f"{name}@example.com")
        assert answer.kind == kind, f"{name}: {answer!r:.300}"
        assert query.ask("good@example.com") == (tables.FOUND, b"secondary"), name
    assert len(query.ask("long@example.com").text) == 90000
    query.stop()
    assert "warning" not in query.log(), query.log()


def test_faults_of_a_query(r):
    """A query that fails for a key does not make the host fail; the next key is answered. A procedure may have one result set."""
    backend = Mysql(r)
    backend.fill({"load1@example.com": ["primary"], "two@example.com": ["a", "b"], "many@example.com": ["x"] * 20})
    for name, more, text in (
        ("syntax", {"query": "SELEC '%s'"}, b"syntax"),
        ("rows", {"query": "SELECT IF('%u' = 'load1', 'primary', (SELECT goto FROM alias))"}, b"more than 1 row"),
        ("sets", {"query": "CALL lookup_twice('%s')"}, b"several result sets"),
        ("none", {"query": "DO SLEEP(0) -- %s"}, b"require_result_set"),
        ("collation", {"query": "SELECT goto FROM alias WHERE address = '%s' COLLATE latin1_swedish_ci"}, b"COLLATION"),
    ):
        query = query_of(r, backend, more, name=name)
        for _ in range(3):
            answer = query.ask("two@example.com")
            assert answer.kind == tables.FAILED and text in answer.text, f"{name}: {answer!r}"
        if name == "rows":
            assert query.ask("load1@example.com") == (tables.FOUND, b"primary")
        query.stop()
        assert "warning" not in query.log(), f"{name}: {query.log()}"
    for name, statement in (("limit", PLAIN), ("limit of a procedure", "CALL lookup('%s')")):
        query = query_of(r, backend, {"query": statement, "expansion_limit": "1"}, name=name.replace(" ", "-"))
        assert query.ask("load1@example.com") == (tables.FOUND, b"primary")
        before = connections(backend)
        for _ in range(3):
            assert query.ask("many@example.com").kind in (tables.FAILED, tables.LIMIT)
            assert query.ask("load1@example.com") == (tables.FOUND, b"primary")
        assert connections(backend) == before != [], f"{name}: the connection was not used again"
        query.stop()


def test_double_quotes_without_backslash(r):
    """A query with "%s" cannot be quoted in the SQL mode NO_BACKSLASH_ESCAPES: a key with a double quote fails, and matches nothing."""
    backend = Mysql(r)
    backend.fill({'dq"uote@example.com': ["a"], "load1@example.com": ["primary"]})
    more = {**backend.cases["no-backslash-escapes"], "query": 'SELECT goto FROM alias WHERE address = "%s"'}
    query = query_of(r, backend, more)
    assert query.ask("load1@example.com") == (tables.FOUND, b"primary")
    for key in ('" or "1"="1', 'dq"uote@example.com', '" union select user() -- @example.com'):
        answer = query.ask(key)
        assert answer.kind == tables.FAILED and b"NO_BACKSLASH_ESCAPES" in answer.text, f"{key}: {answer!r}"
    assert query.ask("o'brien\\@example.com").kind == tables.NOT_FOUND
    query.stop()


def test_character_set(r):
    """The character set is utf8mb4, whatever the server prefers; or the one of the parameter."""
    backend = Mysql(r, settings={"character_set_server": "latin1", "collation_server": "latin1_swedish_ci", "skip_character_set_client_handshake": None})
    backend.fill({"jürgen@example.com": ["über"]})
    for name, more, expected in (
        ("default", {}, (tables.FOUND, "über".encode())), ("utf8", {"charset": "utf8mb3"}, (tables.FOUND, "über".encode())),
        ("latin1", {"charset": "latin1"}, (tables.NOT_FOUND, b"")),
    ):
        query = query_of(r, backend, {**backend.plain, **more}, name=name)
        assert query.ask("jürgen@example.com") == expected, name
        query.stop()
    query = query_of(r, backend, {**backend.plain, "charset": "klingon"}, name="unknown")
    answer = query.ask("jürgen@example.com")
    assert answer.kind == tables.FAILED and b"klingon" in answer.text, answer
    query.stop()


def test_connection_closed_by_the_server(r):
    """A connection that the server has closed while it was idle is replaced, and nothing is logged."""
    backend = Mysql(r)
    backend.fill({"load1@example.com": ["primary"]})
    query = query_of(r, backend)
    for _ in range(5):
        assert query.ask("load1@example.com") == (tables.FOUND, b"primary")
        for (number,) in connections(backend):
            backend.server.execute(f"KILL CONNECTION {number}")
        rig.wait_for(lambda: not connections(backend), 10, "connections to end")
    query.stop()
    assert "warning" not in query.log(), query.log()


def test_other_host(r):
    """While one of two servers is away or has no such table, the other one is asked."""
    backend = Mysql(r)
    backend.fill({"load1@example.com": ["primary"]})
    other = rig.MariaDb(r, "other")
    other.execute("CREATE DATABASE mail")
    other.add_user("split", backend.secret, "mail")
    hosts = f"inet:127.0.0.1:{backend.server.port}, unix:{other.socket}"  # the socket is tried first
    for name in ("no-table", "away"):
        query = query_of(r, backend, {**backend.plain, **backend.fast, "hosts": hosts}, name=name)
        for _ in range(10):
            assert query.ask("load1@example.com") == (tables.FOUND, b"primary")
        query.stop()
        assert other.socket in query.log(), query.log()
        other.kill()


def test_tls(r):
    """tls_verify_cert = yes: the server's certificate must be valid for its name, and a server without TLS is refused."""
    authority, other = rig.Authority(r, "ca"), rig.Authority(r, "other")
    certificate = authority.issue("db", "IP:127.0.0.1")
    backend = Mysql(r, certificate=certificate, authority=authority, settings={"bind_address": "127.0.0.1,127.0.0.2"})
    backend.fill({"load1@example.com": ["primary"]})
    backend.server.add_user("safe", backend.secret, "mail", "REQUIRE X509")
    good = {"tls_CAfile": authority.path, "tls_verify_cert": "yes"}
    client = authority.issue("client", "DNS:client.test")
    for name, more, is_good in (
        ("verified", good, True),
        ("encrypted", {"tls_CAfile": authority.path}, True),
        ("ciphers", {**good, "tls_ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"}, True),
        ("certificate", {**good, "user": "safe", "tls_cert_file": client.path, "tls_key_file": client.path}, True),
        ("no certificate", {**good, "user": "safe"}, False),
        ("other authority", {**good, "tls_CAfile": other.path}, False),
        ("missing authority", {**good, "tls_CAfile": r.path("missing.pem")}, False),
        ("other name", {**good, "hosts": f"inet:127.0.0.2:{backend.server.port}"}, False),
    ):
        query = query_of(r, backend, {**backend.plain, **more}, name=name.replace(" ", "-"))
        answer = query.ask("load1@example.com")
        assert answer == (tables.FOUND, b"primary") if is_good else answer.kind == tables.FAILED, f"{name}: {answer!r}\n{query.log()}"
        query.stop()
    query = query_of(r, backend, {**backend.plain, **backend.fast, **good}, seconds=2, name="frozen")
    assert query.ask("load1@example.com") == (tables.FOUND, b"primary")
    backend.server.freeze()
    begin = time.monotonic()
    assert query.ask("load1@example.com").kind == tables.FAILED
    assert time.monotonic() - begin < 2 + 1 * rig.TIME_FACTOR
    backend.server.thaw()
    rig.wait_for(lambda: query.ask("load1@example.com") == (tables.FOUND, b"primary"), 10, "recovery", query.log)
    query.stop()
    plain = rig.FakeMariaDb(r, mariadb.rows("primary"))
    query = query_of(r, backend, {**backend.plain, **good}, name="without-tls", address=plain.address)
    answer = query.ask("load1@example.com")
    assert answer.kind == tables.FAILED and not plain.queries, answer
    query.stop()


def test_deadline(r):
    """A look-up ends at its time limit, wherever the server hangs, and however slowly it sends."""
    limit = 2

    def hang(connection, *_):
        connection.hang()

    def trickle(connection, *_):
        for packet in mariadb.rows(*["x" * 100] * 50):
            connection.trickle(len(packet).to_bytes(3, "little") + bytes([connection.number]) + packet, 0.2)
            connection.number = (connection.number + 1) % 256

    def slow_greeting(connection):
        connection.trickle(b"\x40\x00\x00\x00" + b"\x0a5.5.5-10.11.0-MariaDB\x00", 0.2)
        connection.hang()

    def hang_in_handshake(connection):
        connection.greet()
        connection.read()  # the request for TLS
        connection.hang()

    def row_and_hang(connection, *_):
        for packet in mariadb.rows("x")[:-1]:
            connection.send(packet)
        connection.hang()

    backend = Mysql(r)
    authority = rig.Authority(r, "ca")
    for name, answer, greet, more in (
        ("query", hang, None, {}),
        ("trickle", trickle, None, {}),
        ("row", row_and_hang, None, {}),
        ("greeting", None, hang, {}),
        ("slow greeting", None, slow_greeting, {}),
        ("handshake", None, hang_in_handshake, {"tls_CAfile": authority.path, "tls_verify_cert": "yes"}),
    ):
        server = rig.FakeMariaDb(r, answer)
        if greet:
            server.greet = greet
        if more:
            server.capabilities |= mariadb.TLS
        query = query_of(r, backend, {**backend.plain, **more}, seconds=limit, name=name.replace(" ", "-"), address=server.address)
        begin = time.monotonic()
        answer = query.ask("load1@example.com")
        seconds = time.monotonic() - begin
        assert answer.kind == tables.FAILED and b"timed out" in answer.text, f"{name}: {answer!r}"
        assert limit * 0.9 < seconds < limit + 1 * rig.TIME_FACTOR, f"{name}: {seconds:.2f} s"
        before = query.descriptors()
        assert before < 12, f"{name}: {before} descriptors"
        query.stop()


def test_hostile_server(r):
    """A server gets no file of this machine, and no memory without limit; after an answer that is not valid, the next key is answered."""
    backend = Mysql(r)
    secret = r.write("secret.txt", "the content of a file")
    packets = {
        "file": [b"\xfb" + secret.encode()],
        "file in second result": [*mariadb.rows("x", more=True), b"\xfb" + secret.encode()],
        "garbage": [os.urandom(200)],
        "empty packet": [b""],
        "many columns": [mariadb.length(50000)],
        "short row": [*mariadb.rows()[:-1], b"\xfc\xff", mariadb.EOF],
        "long row": [*mariadb.rows()[:-1], mariadb.text("x" * 20000) * 100, mariadb.EOF],
        "many rows": mariadb.rows(*["x" * 1000] * 20000),
        "no end": mariadb.rows("x")[:-1],
        "error in rows": [*mariadb.rows("x")[:-1], mariadb.error(1317, "70100")],
        "error in second result": [*mariadb.rows("x", more=True), mariadb.error(1205)],
        "error of the client": [mariadb.error(2013)],
        "endless results": mariadb.rows("x", more=True) * 50,
    }
    for name, answer in packets.items():
        turn = []

        def reply(connection, query, answer=answer, turn=turn):
            turn.append(query)
            if len(turn) == 1:
                return answer
            return mariadb.rows(f"for {query[-3:-1]}")

        server = rig.FakeMariaDb(r, reply)
        query = query_of(r, backend, {"query": "SELECT '%s'", **backend.fast}, seconds=2, name=name.replace(" ", "-"), address=server.address)
        answer = query.ask("k1")
        assert answer.kind == tables.FAILED, f"{name}: {answer!r:.300}"
        rig.wait_for(lambda query=query: query.ask("k2").kind == tables.FOUND, 10, f"{name}: the next answer", query.log)
        for key in ("k3", "k4"):
            assert query.ask(key) == (tables.FOUND, f"for {key}".encode()), name
        assert b"content of a file" not in server.received, f"{name}: the server got a file"
        assert query.rss_kb() < 60000 * (10 if rig.instrumented() else 1), f"{name}: {query.rss_kb()} kB"
        query.stop()


def test_servers_that_cannot_answer(r):
    """A server that shuts down, is full, or is a node outside of its cluster's majority is left for the other one."""
    backend = Mysql(r)
    backend.fill({"load1@example.com": ["primary"]})
    for code, state in ((1047, "08S01"), (1053, "08S01"), (1040, "08004"), (1317, "70100"), (1205, "HY000"), (1146, "42S02"), (1290, "HY000"), (4031, "HY000")):
        bad = rig.FakeMariaDb(r, [mariadb.error(code, state)])
        hosts = f"127.0.0.1:{bad.address[1]} 127.0.0.1:{backend.server.port}"
        for turn in range(100):  # until chance has put the bad one first
            query = query_of(r, backend, {**backend.plain, "hosts": hosts}, name=f"error-{code}-{turn}")
            for _ in range(3):
                assert query.ask("load1@example.com") == (tables.FOUND, b"primary"), code
            query.stop()
            if bad.queries:
                break
        assert bad.queries, code


if __name__ == "__main__":
    rig.main(timeout=600)
