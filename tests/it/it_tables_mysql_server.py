#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""mysql: tables: TLS and authentication, the time limit, servers that fail or misbehave."""

import os
import socket
import time

import rig
from rig import mariadb, tables
from rig.mysql_table import Mysql, PLAIN, connections, query_of


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
    # The cipher of the connection, as the server sees it.
    cipher = "SELECT variable_value FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher' AND '%s' <> ''"
    for name, more, has_tls in (("plain", {}, False), ("authority", {"tls_CAfile": authority.path}, True), ("verify", good, True), ("client", {**good, "tls_cert_file": client.path, "tls_key_file": client.path}, True)):
        query = query_of(r, backend, {"query": cipher, **more}, name=f"cipher-{name}")
        answer = query.ask("load1@example.com")
        assert answer.kind == (tables.FOUND if has_tls else tables.NOT_FOUND), f"{name}: {answer!r}"
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


def test_authentication_in_clear_text(r):
    """A server gets no password in clear text, whatever plugin it asks for."""
    backend = Mysql(r)
    for plugin, prompt in (("mysql_clear_password", b""), ("dialog", b"\x05Password: "), ("mysql_old_password", b"saltsalt\x00")):
        server = rig.FakeMariaDb(r, mariadb.rows("primary"))
        server.plugin, server.prompt = plugin, prompt
        query = query_of(r, backend, backend.plain, name=plugin, address=server.address)
        answer = query.ask("load1@example.com")
        assert answer.kind == tables.FAILED and not server.received, f"{plugin}: {answer!r}, received {server.received!r}"
        assert "restricted" in answer.text.decode(), answer
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

    def endless(*packets):
        def send(connection, *_):
            for packet in mariadb.rows("x")[:3]:
                connection.send(packet)
            connection.flood(packets, 20)

        return send

    def endless_results(connection, *_):
        connection.flood([b"\x00\x00\x00\x0a\x00\x00\x00"], 20)  # OK, and more results

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
        ("rows of NULL", endless(mariadb.text(None)), None, {}),
        ("empty rows", endless(mariadb.text("")), None, {}),
        ("empty results", endless_results, None, {"require_result_set": "no"}),
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


def test_slow_query(r):
    """A query that takes too long ends at the server, too. The connection is used again, and the host has not failed."""
    backend = Mysql(r)
    query = query_of(r, backend, {"query": "SELECT CASE '%u' WHEN 'slow' THEN SLEEP(60) ELSE 'primary' END"}, seconds=2)
    assert query.ask("load1@example.com") == (tables.FOUND, b"primary")
    before = connections(backend)
    for _ in range(2):
        begin = time.monotonic()
        answer = query.ask("slow@example.com")
        assert answer.kind in (tables.FAILED, tables.LIMIT) and b"max_statement_time" in answer.text, answer
        assert 1.5 < time.monotonic() - begin < 2 + 1 * rig.TIME_FACTOR
        assert query.ask("load1@example.com") == (tables.FOUND, b"primary")
    assert connections(backend) == before != [], "the connection was not used again"
    query.stop()
    assert "warning" not in query.log(), query.log()


def test_time_limit_for_the_server(r):
    """A server gets the time limit of a query once for each connection, and again when much less or more time is left."""
    backend = Mysql(r)
    for name, version, setting_answer, statement, limit in (
        ("mariadb", "5.5.5-10.11.0-MariaDB", mariadb.OK, "SET SESSION max_statement_time = ", 3.6), ("mysql", "8.0.36", mariadb.OK, "SET SESSION max_execution_time = ", 3600),
        ("old", "5.5.62", mariadb.error(1193), "SET SESSION max_execution_time = ", 3600),
    ):
        server = rig.FakeMariaDb(r, mariadb.rows("primary"))
        server.version, server.setting_answer = version, setting_answer
        query = query_of(r, backend, backend.plain, seconds=4, name=name, address=server.address)
        for _ in range(5):
            assert query.ask("load1@example.com") == (tables.FOUND, b"primary"), query.log()
        query.stop()
        assert len(server.settings) == 1 and server.settings[0].startswith(statement), server.settings
        assert limit * 0.5 < float(server.settings[0][len(statement) :]) <= limit, server.settings
    server = rig.FakeMariaDb(r, mariadb.rows("primary"))
    with socket.socket(socket.AF_UNIX) as hanging:  # accepts connections, and sends no greeting
        hanging.bind(r.path("hanging"))
        hanging.listen()
        hosts = f"unix:{r.path('hanging')}, 127.0.0.1:{server.address[1]}"
        query = query_of(r, backend, {**backend.plain, "hosts": hosts}, seconds=4, name="two")
        for _ in range(3):
            assert query.ask("load1@example.com") == (tables.FOUND, b"primary"), query.log()
        query.stop()
    limits = [float(text.rpartition(" ")[2]) for text in server.settings]
    assert len(limits) == 2 and limits[0] <= 1.8 < 2 < limits[1] <= 3.6, limits


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
            if len(turn) <= 2:  # a single server is asked twice in a look-up, when its connection breaks
                return answer
            return mariadb.rows(f"for {query[-3:-1]}")

        server = rig.FakeMariaDb(r, reply)
        query = query_of(r, backend, {"query": "SELECT '%s'", **backend.fast}, seconds=2, name=name.replace(" ", "-"), address=server.address)
        answer = query.ask("k1")
        assert answer.kind in (tables.FAILED, tables.LIMIT), f"{name}: {answer!r:.300}"
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
    for code, state in ((1142, "42000"), (1213, "40001"), (1047, "08S01"), (1053, "08S01"), (1040, "08004"), (1317, "70100"), (1205, "HY000"), (1146, "42S02"), (1290, "HY000"), (4031, "HY000")):
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


def test_errors_of_a_server(r):
    """An error that a query causes with any key makes the look-up fail, and not the host, because a key may cause it as well."""
    backend = Mysql(r)
    quoted, bare = "SELECT '%s'", "SELECT %u"
    for code, state, text in (
        (1139, "42000", quoted), (1267, "HY000", quoted), (1300, "HY000", quoted), (1366, "22007", quoted), (1406, "22001", quoted),
        (1690, "22003", quoted), (3688, "HY000", quoted), (1064, "42000", quoted), (1054, "42S22", quoted), (1242, "21000", quoted),
        (1969, "70100", quoted), (3024, "HY000", quoted), (1064, "42000", bare), (1054, "42S22", bare), (1146, "42S02", bare),
    ):
        server = rig.FakeMariaDb(r, [mariadb.error(code, state)])
        query = query_of(r, backend, {"query": text}, name=f"fault-{code}-{text == bare}", address=server.address)
        for _ in range(2):
            answer = query.ask("load1@example.com")
            assert answer.kind == tables.FAILED and b"as the test wants it" in answer.text and b"asked again" not in answer.text, f"{code}: {answer!r}"
        query.stop()
        assert sum("load1" in statement for statement in server.queries) == 2 and "warning" not in query.log(), f"{code}: {query.log()}"


if __name__ == "__main__":
    rig.main(timeout=600)
