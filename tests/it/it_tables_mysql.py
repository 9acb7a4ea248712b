#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""mysql: tables on a private MariaDB server: the same answers as postmap(1), injections, outages, parameters, values, character sets.

SPLIT_LOOKUPS, SPLIT_INJECTIONS, SPLIT_TABLE_MESSAGES, SPLIT_RECONNECTS make the run longer; SPLIT_SEED repeats a run."""

import rig
from rig import table_outages, tables
from rig.mysql_table import Mysql, ODD, query_of, refused


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


def test_refused_keys(r):
    """A sender that chooses a key for which the query fails does not bypass the filter."""
    backend = Mysql(r)
    query = "SELECT goto FROM alias WHERE address = '%s' AND '%u' REGEXP '%u'"
    table_outages.check_refused_key(backend, {"query": query}, "*x@example.com")


def test_refused_keys_that_cannot_be_quoted(r):
    backend = Mysql(r)
    more = {**backend.cases["no-backslash-escapes"], "query": 'SELECT goto FROM alias WHERE address = "%s"'}
    table_outages.check_refused_key(backend, more, '"dq\\"uote2"@example.com')


def test_refused_keys_with_many_values(r):
    table_outages.check_refused_key(Mysql(r), {"query": "SELECT goto FROM alias WHERE address LIKE '%s'", "expansion_limit": "2"}, "load_@example.com")


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
    for value in ("mysql://u:pa55-w0rd-not-to-be-seen@h/d", "u:pa55-w0rd-not-to-be-seen@h", "mysql://u:pa55-w0rd-not-to-be-seen,x@h/d"):
        assert "refused.cf:1: hosts: a URI" in (text := refused(r, backend, {"hosts": value})), text
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
    for name, kind in (("null", "-"), ("empty", "-"), ("nul", "#"), ("latin1", "#"), ("surrogate", "#"), ("long", "="), ("too-long", "#"), ("huge", "#"), ("other", "-")):
        answer = query.ask(f"{name}@example.com")
        assert answer.kind == kind, f"{name}: {answer!r:.300}"
        assert query.ask("good@example.com") == (tables.FOUND, b"secondary"), name
    assert len(query.ask("long@example.com").text) == 90000
    query.stop()
    assert "warning" not in query.log(), query.log()


def test_double_quotes_without_backslash(r):
    """A query with "%s" cannot be quoted in the SQL mode NO_BACKSLASH_ESCAPES: a key with a double quote fails, and matches nothing."""
    backend = Mysql(r)
    backend.fill({'dq"uote@example.com': ["a"], "load1@example.com": ["primary"]})
    more = {**backend.cases["no-backslash-escapes"], "query": 'SELECT goto FROM alias WHERE address = "%s"'}
    query = query_of(r, backend, more)
    assert query.ask("load1@example.com") == (tables.FOUND, b"primary")
    for key in ('" or "1"="1', 'dq"uote@example.com', '" union select user() -- @example.com'):
        answer = query.ask(key)
        assert answer.kind == tables.LIMIT and b"NO_BACKSLASH_ESCAPES" in answer.text, f"{key}: {answer!r}"
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


if __name__ == "__main__":
    rig.main(timeout=600)
