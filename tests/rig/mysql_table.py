# SPDX-License-Identifier: ISC
"""mysql: tables on a private MariaDB server, for tests (tables.Backend)."""

import subprocess

from .daemons import program, sanitizer_environment
from .mariadb import MariaDb
from .tables import Backend, TableQuery

SCHEMA = """
CREATE DATABASE mail CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
USE mail;
CREATE TABLE alias (position INT AUTO_INCREMENT PRIMARY KEY, address VARCHAR(700) NOT NULL, local_part VARCHAR(700) NOT NULL, domain VARCHAR(700) NOT NULL, goto TEXT, KEY (address(100)));
CREATE TABLE old_alias (position INT PRIMARY KEY, address VARCHAR(700) CHARACTER SET latin1 NOT NULL, goto TEXT CHARACTER SET latin1);
CREATE TABLE odd (address VARCHAR(100) NOT NULL, goto LONGBLOB);
DELIMITER //
CREATE PROCEDURE lookup(IN parameter VARCHAR(2000) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci) READS SQL DATA SQL SECURITY INVOKER
BEGIN
    SELECT goto FROM alias WHERE address = parameter ORDER BY position;
END //
CREATE PROCEDURE lookup_existing(IN parameter VARCHAR(2000) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci) READS SQL DATA SQL SECURITY INVOKER
BEGIN
    IF EXISTS (SELECT 1 FROM alias WHERE address = parameter) THEN
        SELECT goto FROM alias WHERE address = parameter ORDER BY position;
    END IF;
END //
CREATE PROCEDURE lookup_twice(IN parameter VARCHAR(2000) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci) READS SQL DATA SQL SECURITY INVOKER
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


class Mysql(Backend):
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
        program("mysql.so")
        self.server = MariaDb(r, **options)
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
    return TableQuery(r, backend.write(name, more, **options), seconds=seconds, name=name)


def refused(r, backend, more):
    """The message with which a table with these parameters is refused."""
    spec = backend.write("refused", {**backend.plain, **more})
    done = subprocess.run([program("table_query"), spec], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=sanitizer_environment(r, "refused"), timeout=60, check=False)
    text = done.stderr.decode()
    assert done.returncode == 2, f"{more}: exit {done.returncode}\n{text}"
    assert backend.secret not in text, text
    return text


def connections(backend):
    """The ids of the connections that look-ups have open."""
    return backend.server.execute("SELECT id FROM information_schema.processlist WHERE user = 'split'")
