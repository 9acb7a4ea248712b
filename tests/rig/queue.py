# SPDX-License-Identifier: ISC
"""splitrelay's queue as a test sees it: SPOOL/queue.db, read with Python's sqlite3 while splitrelay runs, or after it has stopped.

`copies(spool)` lists the copies. While splitrelay does not run, `put()` adds a copy by hand, and `fill()` very many.
"""

import contextlib
import dataclasses
import json
import os
import sqlite3
import subprocess
import tempfile
import time

from .daemons import program

COPIES_MAX = 511  # copies of one message; its id and their ids differ in these bits only
BUSY_SECONDS = 20


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


def select(spool, sql, *values):
    """The rows of a query; none if there is no database yet, or if it has no tables."""
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
    """Run a statement that changes rows, as an administrator with sqlite3(1) would. Returns the number of rows."""
    db = sqlite3.connect(path(spool), timeout=BUSY_SECONDS)
    try:
        with db:
            return db.execute(sql, values).rowcount
    finally:
        db.close()


def create(spool):
    """Have splitctl make an empty queue, if there is none."""
    if os.path.exists(path(spool)):
        return
    os.makedirs(spool, mode=0o700, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        f.write(f'relay {{ spool_directory = "{spool}" }}\n')
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
    db = sqlite3.connect(path(spool), timeout=BUSY_SECONDS)
    try:
        with db:
            db.execute(
                "INSERT OR IGNORE INTO message (id, arrival, size, sender, client_name, client_addr, helo, protocol, mta_queue_id, message_id,"
                " flags, body_at, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 'body', 'stored')",
                (message, arrival, len(content), sender, *client, mta_queue_id, message_id),
            )
            db.execute("INSERT OR IGNORE INTO body (message, part, data) VALUES (?, 0, ?)", (message, content))
            db.execute(
                "INSERT INTO copy (id, message, destination, state, due, attempts) VALUES (?, ?, ?, ?, ?, ?)",
                (number, message, destination, state, due, attempts),
            )
            db.executemany(
                "INSERT INTO recipient (copy, number, address, orcpt, state, reason) VALUES (?, ?, ?, ?, ?, ?)",
                [(number, i, *recipient) for i, recipient in enumerate(recipients)],
            )
    finally:
        db.close()
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
        "destinations": json.dumps(destinations),
    }
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
