#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""pgsql: tables on a private PostgreSQL: the same answers as postmap(1), injections, outages."""

import rig
from rig import table_outages, tables
from rig.pgsql_table import Pgsql, WHOLE


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


if __name__ == "__main__":
    rig.main(timeout=900)
