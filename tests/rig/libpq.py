# SPDX-License-Identifier: ISC
"""Statements on PostgreSQL, with the system's libpq through ctypes, so that no Python package is needed."""

import ctypes

from .base import Failure, Skip

CONNECTION_OK = 0
COMMAND_OK, TUPLES_OK = 1, 2
INTEGERS, FLOATS, BOOL, BYTEA, NUMERIC = (20, 21, 23, 26), (700, 701), 16, 17, 1700  # types by their oid

_FUNCTIONS = {
    "PQconnectdb": (ctypes.c_void_p, [ctypes.c_char_p]),
    "PQstatus": (ctypes.c_int, [ctypes.c_void_p]),
    "PQerrorMessage": (ctypes.c_char_p, [ctypes.c_void_p]),
    "PQfinish": (None, [ctypes.c_void_p]),
    "PQexec": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
    "PQexecParams": (
        ctypes.c_void_p,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int],
    ),
    "PQresultStatus": (ctypes.c_int, [ctypes.c_void_p]),
    "PQresultErrorMessage": (ctypes.c_char_p, [ctypes.c_void_p]),
    "PQntuples": (ctypes.c_int, [ctypes.c_void_p]),
    "PQnfields": (ctypes.c_int, [ctypes.c_void_p]),
    "PQftype": (ctypes.c_uint, [ctypes.c_void_p, ctypes.c_int]),
    "PQgetisnull": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]),
    "PQgetvalue": (ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]),
    "PQcmdTuples": (ctypes.c_char_p, [ctypes.c_void_p]),
    "PQclear": (None, [ctypes.c_void_p]),
}
_library = None


class SqlError(Failure):
    """The connection or a statement failed; the text is that of the server."""


def library():
    """libpq with the types of its functions, or Skip."""
    global _library
    if _library is None:
        try:
            _library = ctypes.CDLL("libpq.so.5")
        except OSError as e:
            raise Skip(f"not installed: libpq ({e})") from None
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(_library, name)
            function.restype, function.argtypes = result, arguments
    return _library


def _to_text(value):
    """The text format of a parameter; None: NULL."""
    if value is None:
        return None
    if isinstance(value, (bytes, bytearray)):
        return b"\\x" + value.hex().encode()
    return str(value).encode()


def _from_text(oid, text):
    if oid in INTEGERS:
        return int(text)
    if oid == NUMERIC and b"." not in text:
        return int(text)
    if oid in FLOATS or oid == NUMERIC:
        return float(text)
    if oid == BOOL:
        return text == b"t"
    return bytes.fromhex(text[2:].decode()) if oid == BYTEA else text.decode()


class Connection:
    """One connection; close() it, or use it as a context. Each statement is a transaction, unless BEGIN was executed."""

    def __init__(self, uri):
        self.pq = library()
        self.handle = self.pq.PQconnectdb(uri.encode())
        self.count = 0  # number of rows that the last statement changed or returned
        if self.pq.PQstatus(self.handle) != CONNECTION_OK:
            text = self.pq.PQerrorMessage(self.handle).decode("utf-8", "replace").strip()
            self.close()
            raise SqlError(text)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        handle, self.handle = self.handle, None
        if handle:
            self.pq.PQfinish(handle)

    def execute(self, sql, *values):
        """Execute a statement; a text without values may have several. Parameters are $1, $2, ... Returns the rows as tuples."""
        if values:
            texts = (ctypes.c_char_p * len(values))(*map(_to_text, values))
            result = self.pq.PQexecParams(self.handle, sql.encode(), len(values), None, texts, None, None, 0)
        else:
            result = self.pq.PQexec(self.handle, sql.encode())
        try:
            if self.pq.PQresultStatus(result) not in (COMMAND_OK, TUPLES_OK):
                text = self.pq.PQresultErrorMessage(result) or self.pq.PQerrorMessage(self.handle)
                raise SqlError(f"{text.decode('utf-8', 'replace').strip()}: {sql}")
            self.count = int(self.pq.PQcmdTuples(result) or 0)
            types = [self.pq.PQftype(result, column) for column in range(self.pq.PQnfields(result))]
            return [
                tuple(
                    None if self.pq.PQgetisnull(result, row, column) else _from_text(oid, self.pq.PQgetvalue(result, row, column))
                    for column, oid in enumerate(types)
                )
                for row in range(self.pq.PQntuples(result))
            ]
        finally:
            self.pq.PQclear(result)


def execute(uri, sql, *values):
    """Execute a statement with a connection of its own. Returns the rows."""
    with Connection(uri) as connection:
        return connection.execute(sql, *values)
