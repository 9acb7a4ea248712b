# SPDX-License-Identifier: ISC
"""splitrelay's queue as a test sees it: SPOOL/queue.db, read with Python's sqlite3 while splitrelay runs, or after it has stopped.

`copies(spool)` lists the copies. While splitrelay does not run, `put()` adds a copy by hand, and `fill()` very many.

A queue in PostgreSQL is named by the spool directory of its splitrelay, too: `use(spool, uri)` tells the other functions where it is.
With SPLIT_QUEUE=postgresql in the environment, tests that write `options(r, spool)` into their configuration have such a queue.
"""

import contextlib
import dataclasses
import json
import os
import re
import sqlite3
import subprocess
import tempfile
import time

from . import libpq
from .base import Skip
from .daemons import program
from .postgres import Postgres

COPIES_MAX = 511  # copies of one message; its id and their ids differ in these bits only
BUSY_SECONDS = 20
ON_POSTGRESQL = os.environ.get("SPLIT_QUEUE") == "postgresql"
_uris = {}  # spool directory: the URI of its queue in PostgreSQL
_servers = {}  # session: the server that its tests share


@dataclasses.dataclass
class Copy:
    """A copy with its message. recipients: (address, orcpt, state, reason); states are those of the table."""

    id: str  # hexadecimal, as in the log
    destination: str
    state: str  # queued, held, dead
    due: int
    attempts: int
    sender: str
    size: int
    mta_queue_id: str
    message_id: str
    body_at: str  # body, file
    recipients: list


def use(spool, uri, more='queue_replicated = "no"'):
    """Tell the other functions that the queue of this spool directory is in PostgreSQL. Returns the options for it, and `more`."""
    _uris[spool] = uri
    return f'queue = "{uri}" {more}'


def options(r, spool):
    """The options spool_directory and queue of section relay, for a queue in the engine that the tests run with. The server for
    PostgreSQL is started once, without replication; each spool has a database of its own."""
    own = f'spool_directory = "{spool}"'
    if not ON_POSTGRESQL:
        return own
    if spool not in _uris:
        if r.session not in _servers:
            _servers[r.session] = Postgres(r.session.shared(), "queue")
        use(spool, _servers[r.session].create_database(f"q{len(_uris)}"))
    return f"{own} {use(spool, _uris[spool])}"


def need_sqlite():
    """Skip a test, or a part of one, that is about the files of SQLite."""
    if ON_POSTGRESQL:
        raise Skip("about the files of SQLite")


def connections(spool):
    """The sockets of all processes that are connected to the queue, as the links in /proc/PID/fd have them; none with SQLite."""
    if spool not in _uris:
        return set()
    ports = {int(port) for port in re.findall(r":(\d+)[,/]", _uris[spool])}
    with open("/proc/net/tcp", encoding="ascii") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if int(row[2].split(":")[1], 16) in ports}


def path(spool):
    return os.path.join(spool, "queue.db")


def large_files(spool):
    """Names of the contents that are files."""
    directory = os.path.join(spool, "large")
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


@contextlib.contextmanager
def reading(spool):
    """A connection that sees all tables as they are at one moment."""
    db = sqlite3.connect(f"file:{path(spool)}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        db.execute("BEGIN")
        yield db
    finally:
        db.close()


def _numbered(sql):
    """A statement with parameters as PostgreSQL has them."""
    parts = sql.split("?")
    return parts[0] + "".join(f"${n}{part}" for n, part in enumerate(parts[1:], 1))


def select(spool, sql, *values):
    """Rows of a query; none where there is no database yet, or no tables in it. Parameters are written as `?`."""
    if spool in _uris:
        with libpq.Connection(_uris[spool]) as db:
            if not db.execute("SELECT 1 FROM pg_tables WHERE tablename = 'schema'"):
                return []
            return db.execute(_numbered(sql), *values)
    if not os.path.exists(path(spool)):
        return []
    with reading(spool) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema'").fetchall():
            return []
        return db.execute(sql, values).fetchall()


def copies(spool, state=None, destination=None):
    """All copies, or those in this state, for this destination; oldest first."""
    rows = select(
        spool,
        "SELECT c.id, c.destination, c.state, c.due, c.attempts, m.sender, m.size, m.mta_queue_id, m.message_id, m.body_at,"
        " r.address, r.orcpt, r.state, r.reason"
        " FROM copy AS c LEFT JOIN message AS m ON m.id = c.message LEFT JOIN recipient AS r ON r.copy = c.id ORDER BY c.id, r.number",
    )
    found = {}
    for number, *columns in rows:
        copy = found.setdefault(number, Copy(f"{number:X}", *columns[:9], []))
        if columns[9] is not None:
            copy.recipients.append(tuple(columns[9:]))
    return [c for c in found.values() if state in (None, c.state) and destination in (None, c.destination)]


def ids(spool, state=None, destination=None):
    return [c.id for c in copies(spool, state, destination)]


def count(spool, state=None, destination=None):
    """As len(copies()), but fast for very many copies."""
    rows = select(
        spool, "SELECT count(*) FROM copy WHERE state = coalesce(?, state) AND destination = coalesce(?, destination)", state, destination
    )
    return rows[0][0] if rows else 0


def prepared(spool):
    """Ids of messages that are being received, or were when splitrelay crashed."""
    return [f"{number:X}" for (number,) in select(spool, "SELECT id FROM message WHERE state = 'prepared'")]


def leftovers(spool):
    """What no copy needs: rows that belong to no copy, and files without a row. To be called while no message is being received."""
    queries = {
        "message": "SELECT id FROM message WHERE id NOT IN (SELECT message FROM copy)",
        "body": "SELECT message FROM body WHERE message NOT IN (SELECT id FROM message WHERE body_at = 'body')",
        "recipient": "SELECT copy FROM recipient WHERE copy NOT IN (SELECT id FROM copy)",
        "copy": "SELECT id FROM copy WHERE message NOT IN (SELECT id FROM message)",
    }
    found = [f"{table} {number:X}" for table, sql in queries.items() for (number,) in select(spool, sql)]
    named = {f"{number:X}" for (number,) in select(spool, "SELECT id FROM message WHERE body_at = 'file'")}
    return found + [f"large/{name}" for name in large_files(spool) if name not in named]


def content(spool, copy_id):
    """The content of a copy as it was received."""
    message = int(copy_id, 16) & ~COPIES_MAX
    ((body_at,),) = select(spool, "SELECT body_at FROM message WHERE id = ?", message)
    if body_at == "file":
        with open(os.path.join(spool, "large", f"{message:X}"), "rb") as f:
            return f.read()
    return b"".join(data for (data,) in select(spool, "SELECT data FROM body WHERE message = ? ORDER BY part", message))


def history(spool):
    """(id, destination, sender, recipients, result, relay, reply), oldest first."""
    rows = select(spool, "SELECT copy, destination, sender, recipients, result, relay, reply FROM history ORDER BY number")
    return [(f"{number:X}", *columns) for number, *columns in rows]


def change(spool, sql, *values):
    """Run a statement that changes rows, as an administrator with a shell would. The number of rows."""
    if spool in _uris:
        with libpq.Connection(_uris[spool]) as db:
            db.execute(_numbered(sql), *values)
            return db.count
    db = sqlite3.connect(path(spool), timeout=BUSY_SECONDS)
    try:
        with db:
            return db.execute(sql, values).rowcount
    finally:
        db.close()


@contextlib.contextmanager
def _writing(spool):
    """A transaction: execute(sql, values)."""
    if spool in _uris:
        with libpq.Connection(_uris[spool]) as db:
            db.execute("BEGIN")
            yield lambda sql, values: db.execute(_numbered(sql), *values)
            db.execute("COMMIT")
        return
    db = sqlite3.connect(path(spool), timeout=BUSY_SECONDS)
    try:
        with db:
            yield db.execute
    finally:
        db.close()


def create(spool):
    """Make an empty queue, unless there is a queue already."""
    if select(spool, "SELECT version FROM schema"):
        return
    os.makedirs(spool, mode=0o700, exist_ok=True)
    more = use(spool, _uris[spool]) if spool in _uris else ""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        f.write(f'relay {{ spool_directory = "{spool}" {more} }}\n')
        f.flush()
        subprocess.run([program("splitctl"), "-c", f.name, "release", "--all"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)


def put(
    spool,
    destination,
    recipients=(("anna@example.com", "", "pending", ""),),
    state="queued",
    copy_id=None,
    due=0,
    attempts=0,
    sender="s@sender.test",
    content=b"Subject: x\r\n\r\nx\r\n",  # pylint: disable=redefined-outer-name
    arrival=None,
    message_id="",
    mta_queue_id="",
    client=("client.test", "192.0.2.1", "helo.test", "ESMTP"),
):
    """Add a copy and its message, while splitrelay does not run. Returns the id of the copy."""
    create(spool)
    if copy_id is None:
        highest = select(spool, "SELECT coalesce(max(id), 0) FROM copy")[0][0]
        number = (max(highest, time.time_ns() // 16000 << 15) | COPIES_MAX) + 2  # the first copy of the next message
    else:
        number = int(copy_id, 16)
    message = number & ~COPIES_MAX
    arrival = time.time() if arrival is None else arrival
    with _writing(spool) as execute:
        execute(
            "INSERT INTO message (id, arrival, size, sender, client_name, client_addr, helo, protocol, mta_queue_id, message_id,"
            " flags, body_at, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 'body', 'stored') ON CONFLICT DO NOTHING",
            (message, arrival, len(content), sender, *client, mta_queue_id, message_id),
        )
        execute("INSERT INTO body (message, part, data) VALUES (?, 0, ?) ON CONFLICT DO NOTHING", (message, content))
        execute(
            "INSERT INTO copy (id, message, destination, state, due, attempts) VALUES (?, ?, ?, ?, ?, ?)",
            (number, message, destination, state, due, attempts),
        )
        for i, recipient in enumerate(recipients):
            execute("INSERT INTO recipient (copy, number, address, orcpt, state, reason) VALUES (?, ?, ?, ?, ?, ?)", (number, i, *recipient))
    return f"{number:X}"


FILL = """
CREATE TEMP TABLE fresh AS
    WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count)
    SELECT i, (:first + i * 8) << 15 AS id, :now - (:count - i) / 170 AS time FROM n;
INSERT INTO message (id, arrival, size, sender, client_name, client_addr, helo, protocol, mta_queue_id, message_id, flags, body_at, state)
    SELECT id, time, :size, 's' || i || '@sender.test', 'client.test', '192.0.2.1', 'helo.test', 'ESMTP', printf('Q%d', i),
        printf('<%d@sender.test>', i), '', 'body', 'stored' FROM fresh ORDER BY id;
INSERT INTO body (message, part, data) SELECT id, 0, :content FROM fresh ORDER BY id;
INSERT INTO copy (id, message, destination, state, due, attempts)
    SELECT id + 1, id, (SELECT value FROM json_each(:destinations) WHERE key = i % json_array_length(:destinations)), 'queued', time, 0
    FROM fresh ORDER BY id;
INSERT INTO recipient (copy, number, address, orcpt, state, reason)
    SELECT id + 1, 0, printf('r%d@example.com', i), '', 'pending', '' FROM fresh ORDER BY id
"""


FILL_POSTGRESQL = """
CREATE TEMP TABLE fresh AS SELECT i, ({first} + i * 8) << 15 AS id, {now} - ({count} - i) / 170 AS time FROM generate_series(0::bigint, {count} - 1) AS i;
INSERT INTO message (id, arrival, size, sender, client_name, client_addr, helo, protocol, mta_queue_id, message_id, flags, body_at, state)
    SELECT id, time, {size}, 's' || i || '@sender.test', 'client.test', '192.0.2.1', 'helo.test', 'ESMTP', 'Q' || i,
        '<' || i || '@sender.test>', '', 'body', 'stored' FROM fresh;
INSERT INTO body (message, part, data) SELECT id, 0, '{content}'::bytea FROM fresh;
INSERT INTO copy (id, message, destination, state, due, attempts)
    SELECT id + 1, id, (ARRAY[{destinations}])[i % {destination_count} + 1], 'queued', time, 0 FROM fresh;
INSERT INTO recipient (copy, number, address, orcpt, state, reason)
    SELECT id + 1, 0, 'r' || i || '@example.com', '', 'pending', '' FROM fresh;
ANALYZE message, body, copy, recipient
"""


def _fill_postgresql(spool, destinations, content, **values):
    names = ", ".join(f"'{name}'" for name in destinations)
    text = FILL_POSTGRESQL.format(content=f"\\x{content.hex()}", destinations=names, destination_count=len(destinations), **values)
    with libpq.Connection(_uris[spool]) as db:
        db.execute("SET synchronous_commit = off")
        for statement in text.split(";"):
            db.execute(statement)


def fill(spool, count, size, destinations=("archive",)):
    """Add very many messages of so many bytes, for one destination each, as a long outage leaves them: about 170 for each second up to
    now, from s0@sender.test to r0@example.com and so on. None of it is synced to disk."""
    create(spool)
    content = (b"Subject: x\r\n\r\n" + (b"x" * 76 + b"\r\n") * (size // 78 + 1))[: size - 2] + b"\r\n"
    values = {
        "count": count,
        "size": size,
        "content": content,
        "now": int(time.time()),
        "first": time.time_ns() // 16000 - 8 * count,  # ids as of 7,800 messages a second
    }
    if spool in _uris:
        _fill_postgresql(spool, destinations, **values)
        return
    values["destinations"] = json.dumps(destinations)
    db = sqlite3.connect(path(spool), timeout=BUSY_SECONDS, isolation_level=None)
    try:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA journal_mode = DELETE")  # otherwise all of it would also be written to the write-ahead log
        db.execute("PRAGMA journal_mode = MEMORY")
        db.execute("BEGIN")
        for statement in FILL.split(";"):
            db.execute(statement, values)
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")
    finally:
        db.close()
