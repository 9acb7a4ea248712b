#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""docs/panels.md, followed with servers that have the tables of each panel: every file is written, every command and statement is
run, and splitmilter decides as the page says. Each parameter file has the same results for postmap(1). For iRedMail with MariaDB,
mail goes through a Postfix with iRedMail's settings.

The panels' tables and files are in rig/panels.py."""

import json
import os
import shutil
import sqlite3
import subprocess

import rig
from rig.panels import (
    BOX, BOX_DECISIONS, IREDMAIL, IREDMAIL_ATTRIBUTES, IREDMAIL_CLASSES, IREDMAIL_DECISIONS, IREDMAIL_FILES, IREDMAIL_LDAP_DECISIONS,
    IREDMAIL_LDAP_FILES, IREDMAIL_MAIN, IREDMAIL_MASTER, IREDMAIL_PEOPLE, LDAP_DECISIONS, LDAP_LOGIN, LOGIN, MAILCOW, MAILCOW_ALIAS_DOMAIN,
    MAILCOW_DECISIONS, PEOPLE, SUFFIX, TEXT,
)
from rig.postfix import postfix_user
from rig.slapd import SCHEMA_DIRECTORIES

PAGE, IREDMAIL_SECTION = "panels.md", "iRedMail with MariaDB or PostgreSQL"
PASSWORD = "secret"


class PanelGuide(rig.Guide):
    """A Guide for the sections of the page. replaced also holds for commands. execute: executes the SQL of the page; add: adds its
    LDIF."""

    execute = add = None

    def begin(self, mailbox, archive, replaced):
        self.fresh(mailbox, {"[archive.example.com]:25": archive.bracketed, **replaced})
        self.handlers = {"sql": lambda text: self.execute(text), "ldif": lambda text: self.add(text)}
        os.chmod("/etc/splitmilter", 0o755)  # as it is installed
        assert self.follow(PAGE, section="Before you begin") == 1

    def command(self, line):
        for old, new in self.replaced.items():
            line = line.replace(old, new)
        super().command(line)


class Surroundings:
    def __init__(self, r):
        rig.need_tools("postmap")
        self.r = r
        self.guide = PanelGuide(r)
        self.mailbox, self.archive = rig.Sink(r, "mailbox"), rig.Sink(r, "archive")
        for name, port in (("primary", 10024), ("secondary", 10027)):
            rig.Filter(r, name, ("127.0.0.1", 10025), port=port)
        self.number = 0

    def begin(self, replaced):
        for sink in (self.mailbox, self.archive):
            sink.transactions.clear()
        self.guide.begin(self.mailbox, self.archive, replaced)
        self.number += 1
        return self.guide

    def check(self, kind, decisions):
        """The decisions are these, and each parameter file of this type finds what it finds for postmap. No output has the password."""
        said = self.guide.run("splitctl explain --json " + " ".join(f'"{a}"' for a in decisions))
        answers = {a["recipient"]: a for a in map(json.loads, said.splitlines()) if "recipient" in a}
        found = {a: (answers[a]["final"], answers[a]["filter"], sorted(answers[a]["copies"])) for a in decisions}
        assert found == decisions, "\n".join(f"{a}: {found[a]} instead of {decisions[a]}" for a in decisions if found[a] != decisions[a])
        assert PASSWORD not in said, said
        keys = [k.encode() for a in decisions for k in (a, a.partition("@")[2], "@" + a.partition("@")[2])] + [b"*", b".com"]
        postmap = rig.tables.Postmap(self.r, kind)
        files = sorted(os.path.join("/etc/splitmilter", n) for n in os.listdir("/etc/splitmilter") if n.endswith(".cf"))
        assert files
        if kind == "ldap" and os.path.exists("/etc/postfix/ldap_aliases.cf"):
            files.append("/etc/postfix/ldap_aliases.cf")
        self.guide.run("setpriv --reuid=splitmilter --regid=splitmilter --init-groups cat " + " ".join(files))
        for path in files:
            spec = f"{kind}:{path}"
            query = rig.tables.TableQuery(self.r, spec, name=f"query-{self.number}-{os.path.basename(path)}")
            ours = query.ask_all(keys)
            query.stop()
            assert ours == postmap.ask_all(spec, keys), (spec, ours)


def setup(r):
    return Surroundings(r)


def write_iredmail(guide, kind, port, files=None, login=LOGIN):
    """iRedMail's files, with its owners and modes."""
    for name, query in (files or IREDMAIL_FILES).items():
        path = f"/etc/postfix/{kind}/{name}"
        guide.write(path, login.format(port=port) + query)
        os.chmod(path, 0o640)
        os.chown(path, 0, postfix_user()[1])


def test_iredmail_mariadb(s):
    server = rig.MariaDb(s.r, "iredmail")
    guide = s.begin({"127.0.0.1:3306": f"127.0.0.1:{server.port}"})
    server.execute("CREATE DATABASE vmail")
    server.execute(IREDMAIL, "vmail")
    for host in ("localhost", "127.0.0.1"):
        server.execute(f"CREATE USER 'vmail'@'{host}' IDENTIFIED BY '{PASSWORD}'; GRANT SELECT ON vmail.* TO 'vmail'@'{host}'")
    guide.execute = lambda sql: server.execute(sql, "vmail")
    write_iredmail(guide, "mysql", server.port)
    for name, more in (("main.cf", IREDMAIL_MAIN), ("master.cf", IREDMAIL_MASTER)):
        with open(f"/etc/postfix/{name}", encoding="utf-8") as f:
            guide.write(f"/etc/postfix/{name}", f.read().replace("relay_domains = example.com\n", "") + more)
    guide.run("postfix start")
    assert guide.follow(PAGE, section=IREDMAIL_SECTION, until="postconf -X") > 5
    s.check("mysql", IREDMAIL_DECISIONS)
    refused = guide.run("splitctl setup-postfix --single --apply 2>&1 && exit 1 || true")
    assert "content_filter" in refused, refused
    guide.handlers = {}  # the table is there
    assert guide.follow(PAGE, only=("sh",), section=IREDMAIL_SECTION, since="postconf -X content_filter recipient_bcc_maps sender_bcc_maps") > 5
    send_through_iredmail(s)


def send_through_iredmail(s):
    """A list is expanded behind the filter, and an alias domain is resolved; copies go to the address in the main domain."""
    to = ["anna@example.com", "ben@example.com", "staff@example.com", "anna@example.net"]
    rig.send(("127.0.0.1", 25), "s@example.net", to, b"Subject: all\r\n\r\n")
    s.mailbox.wait_recipients(4)  # staff has two members, and each of them also gets the mail by name: Postfix joins equal ones
    passed = {(a, tuple(t.headers("X-Filtered-By"))) for t in s.mailbox.accepted for a in t.addrs}
    assert passed == {("anna@example.com", ("secondary",)), ("ben@example.com", ("primary",)), ("anna@example.com", ("primary",))}, passed
    s.archive.wait_recipients(2)
    copied = sorted(a for t in s.archive.accepted for a in t.addrs)
    assert copied == ["anna@example.com", "staff@example.com"], copied


def test_iredmail_postgresql(s):
    server = rig.Postgres(s.r, "iredmail-db")
    guide = s.begin({"127.0.0.1:3306": f"127.0.0.1:{server.port}", "mysql:": "pgsql:", "/etc/postfix/mysql/": "/etc/postfix/pgsql/"})

    def execute(sql):
        for statement in filter(str.strip, sql.split(";\n")):
            server.execute(statement, database="vmail")

    server.execute("CREATE DATABASE vmail")
    execute(IREDMAIL)
    server.execute(f"CREATE ROLE vmail LOGIN PASSWORD '{PASSWORD}'")
    execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO vmail")
    write_iredmail(guide, "pgsql", server.port)
    guide.execute = lambda sql: execute(sql + "GRANT SELECT ON split_filter TO vmail;\n")
    assert guide.follow(PAGE, section=IREDMAIL_SECTION, until="postconf -X") > 5
    s.check("pgsql", IREDMAIL_DECISIONS)


def test_mailcow(s):
    server = rig.MariaDb(s.r, "mailcow")
    directory = s.r.path("mailcow-dockerized")
    guide = s.begin({"127.0.0.1:13306": f"127.0.0.1:{server.port}", "/opt/mailcow-dockerized": directory})
    server.execute("CREATE DATABASE mailcow")
    server.execute(MAILCOW, "mailcow")
    guide.execute = lambda sql: server.execute(sql, "mailcow")
    guide.write(f"{directory}/data/conf/postfix/sql/mysql_virtual_alias_domain_maps.cf", MAILCOW_ALIAS_DOMAIN)
    assert guide.follow(PAGE, section="mailcow") > 4
    s.check("mysql", MAILCOW_DECISIONS)
    rows = server.execute("SHOW GRANTS FOR 'splitmilter'@'%'")
    assert all("SELECT ON" in row[0] or "USAGE ON" in row[0] for row in rows), rows


def test_mail_in_a_box(s):
    rig.need_tools("sqlite3")
    directory = s.r.path("user-data")
    guide = s.begin({"/home/user-data": directory})
    os.makedirs(f"{directory}/mail")
    with sqlite3.connect(f"{directory}/mail/users.sqlite") as database:
        database.executescript(BOX)
    database.close()
    shutil.rmtree("/var/lib/splitmilter", ignore_errors=True)
    os.makedirs("/var/spool/postfix/splitmilter", exist_ok=True)  # as systemd-tmpfiles makes it
    assert guide.follow(PAGE, section="Mail-in-a-Box") > 4
    guide.run("setpriv --reuid=splitmilter --regid=splitmilter --init-groups cat /var/lib/splitmilter/filter.sqlite")
    s.check("sqlite", BOX_DECISIONS)
    said = guide.run("splitctl check || true")  # which cannot see the results of a database
    assert said.count("no table names it, as far as can be seen without look-ups\n") == 3, said


class Directory(rig.Slapd):
    """slapd with the overlay memberof, and with an administrator who adds LDIF."""

    def _configuration(self, *arguments):
        text = super()._configuration(*arguments).replace("moduleload back_mdb\n", "moduleload back_mdb\nmoduleload memberof\n")
        return text + "rootpw admin\noverlay memberof\n"

    def add(self, text):
        argv = ["ldapadd", "-x", "-H", self.url, "-D", f"cn=admin,{SUFFIX}", "-w", "admin"]
        done = subprocess.run(argv, input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        assert done.returncode == 0, done.stdout.decode()


def directory(s, options, entries):
    rig.need_tools("ldapadd")
    server = Directory(s.r, f"ldap{s.number}", options=options)
    server.start()
    server.add(entries)
    return server


def test_ldap(s):
    schema = next((d for d in SCHEMA_DIRECTORIES if os.path.exists(f"{d}/misc.schema")), None)
    if schema is None:
        raise rig.Skip("not installed: misc.schema of OpenLDAP")
    server = directory(s, f"include {schema}/misc.schema", PEOPLE)
    guide = s.begin({"127.0.0.1:389": f"127.0.0.1:{server.port}"})
    guide.add = server.add
    assert guide.follow(PAGE, section="LDAP directory") > 2
    s.check("ldap", LDAP_DECISIONS)


def test_iredmail_openldap(s):
    arc = "1.3.6.1.4.1.4203.666.2"
    options = [f"attributetype ( {arc}.1.{i} NAME '{name}' {TEXT} )" for i, name in enumerate(IREDMAIL_ATTRIBUTES, 1)]
    may = " $ ".join(("mail", *IREDMAIL_ATTRIBUTES))
    options += [f"objectclass ( {arc}.2.{i} NAME '{name}' SUP top AUXILIARY MAY ( {may} ) )" for i, name in enumerate(IREDMAIL_CLASSES, 1)]
    server = directory(s, "\n".join(options), IREDMAIL_PEOPLE)
    guide = s.begin({"127.0.0.1:389": f"127.0.0.1:{server.port}"})
    write_iredmail(guide, "ldap", server.port, IREDMAIL_LDAP_FILES, LDAP_LOGIN)
    assert guide.follow(PAGE, section="iRedMail with OpenLDAP") > 4
    s.check("ldap", IREDMAIL_LDAP_DECISIONS)


if __name__ == "__main__":
    rig.main(timeout=300)
