# SPDX-License-Identifier: ISC
"""pgsql: tables on a private PostgreSQL server, for tests (tables.Backend)."""

from . import libpq, postfix
from .base import wait_for
from .postgres import Postgres
from .tables import Backend, TableQuery

USER, DATABASE = "splitmail", "mail"
# A database that stores bytes, and converts nothing: the answers do not depend on the encoding of the client.
BYTES = "bytes"
SCHEMA = """
CREATE TABLE alias (id SERIAL PRIMARY KEY, address TEXT NOT NULL, goto TEXT);
CREATE INDEX ON alias (address);
CREATE FUNCTION aliases(key TEXT) RETURNS SETOF TEXT LANGUAGE SQL STABLE AS $$ SELECT goto FROM alias WHERE address = key ORDER BY id $$;
"""
WHOLE = "SELECT goto FROM alias WHERE address = '%s' ORDER BY id"


class Pgsql(Backend):
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
        self.server = Postgres(r, "tables", settings)
        self.address = self.server.address
        self.is_old = postfix.version() < (3, 8)  # without the parameter `encoding'
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


def backend(r, settings=None):
    made = Pgsql(r, settings)
    made.rows = {"anna@example.com": ["primary"], "jürgen@example.com": ["ü@store.test"]}
    made.fill(made.rows)
    return made


def query(b, more=None, seconds=10, **parameters):
    """A table_query on a table with these parameters instead of the usual ones (None: without them)."""
    return TableQuery(b.rig, b.write("own", {"query": WHOLE, **(more or {}), **parameters}), seconds)


def connections(b):
    """{process: state} of the table's connections to the server."""
    return dict(b.server.execute("SELECT pid, state FROM pg_stat_activity WHERE usename = $1", USER))


def end_connections(b):
    """Let the server end the table's connections."""
    b.server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", USER)
    wait_for(lambda: not connections(b), 10, "connections to end")
