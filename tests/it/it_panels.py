#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""docs/panels.md, followed with servers that have the tables of each panel: every file is written, every command and statement is
run, and splitmilter decides as the page says. Each parameter file has the same results for postmap(1). For iRedMail with MariaDB,
mail goes through a Postfix with iRedMail's settings.

The tables here have the names of the panels, and the columns that the queries need."""

import json
import os
import shutil
import sqlite3
import subprocess

import rig
from rig.postfix import postfix_user
from rig.slapd import SCHEMA_DIRECTORIES

PAGE, IREDMAIL_SECTION = "panels.md", "iRedMail with MariaDB or PostgreSQL"
PASSWORD = "secret"

# --- iRedMail -------------------------------------------------------------------------------------------------------------------

IREDMAIL = """\
CREATE TABLE domain (domain VARCHAR(255) PRIMARY KEY, transport VARCHAR(255) NOT NULL DEFAULT 'dovecot', backupmx SMALLINT NOT NULL DEFAULT 0, active SMALLINT NOT NULL DEFAULT 1);
CREATE TABLE alias_domain (alias_domain VARCHAR(255) PRIMARY KEY, target_domain VARCHAR(255) NOT NULL, active SMALLINT NOT NULL DEFAULT 1);
CREATE TABLE forwardings (address VARCHAR(255) NOT NULL, forwarding VARCHAR(255) NOT NULL, domain VARCHAR(255) NOT NULL,
    is_list SMALLINT NOT NULL DEFAULT 0, is_forwarding SMALLINT NOT NULL DEFAULT 0, is_alias SMALLINT NOT NULL DEFAULT 0, active SMALLINT NOT NULL DEFAULT 1, UNIQUE (address, forwarding));
CREATE TABLE recipient_bcc_user (username VARCHAR(255) PRIMARY KEY, bcc_address VARCHAR(255) NOT NULL, domain VARCHAR(255) NOT NULL, active SMALLINT NOT NULL DEFAULT 1);
CREATE TABLE recipient_bcc_domain (domain VARCHAR(255) PRIMARY KEY, bcc_address VARCHAR(255) NOT NULL, active SMALLINT NOT NULL DEFAULT 1);
CREATE TABLE sender_bcc_user (username VARCHAR(255) PRIMARY KEY, bcc_address VARCHAR(255) NOT NULL, domain VARCHAR(255) NOT NULL, active SMALLINT NOT NULL DEFAULT 1);
CREATE TABLE sender_bcc_domain (domain VARCHAR(255) PRIMARY KEY, bcc_address VARCHAR(255) NOT NULL, active SMALLINT NOT NULL DEFAULT 1);
INSERT INTO domain (domain) VALUES ('example.com');
INSERT INTO alias_domain VALUES ('example.net', 'example.com', 1);
INSERT INTO forwardings (address, forwarding, domain, is_forwarding) VALUES ('anna@example.com', 'anna@example.com', 'example.com', 1), ('ben@example.com', 'ben@example.com', 'example.com', 1);
INSERT INTO forwardings (address, forwarding, domain, is_alias) VALUES ('a.smith@example.com', 'anna@example.com', 'example.com', 1);
INSERT INTO forwardings (address, forwarding, domain, is_list) VALUES ('staff@example.com', 'anna@example.com', 'example.com', 1), ('staff@example.com', 'ben@example.com', 'example.com', 1);
INSERT INTO recipient_bcc_domain VALUES ('example.com', 'archive@example.com', 1);
INSERT INTO recipient_bcc_user VALUES ('ben@example.com', 'none@example.com', 'example.com', 1);
INSERT INTO sender_bcc_user VALUES ('ben@example.com', 'archive@example.com', 'example.com', 1);
"""
LOGIN = "hosts       = 127.0.0.1:{port}\nuser        = vmail\npassword    = secret\ndbname      = vmail\n"
BCC = "query       = SELECT b.bcc_address FROM {table} b, domain d WHERE {condition} AND b.domain='%d' AND b.domain=d.domain AND d.active=1 AND b.active=1\n"
ALIAS = "query       = SELECT f.forwarding FROM forwardings f, domain d WHERE f.address='%s' AND f.domain=d.domain AND f.active=1 AND d.backupmx=0 AND d.active=1\n"
ALIAS_DOMAIN = (
    "query       = SELECT f.forwarding FROM forwardings f, alias_domain a WHERE a.alias_domain='%d' AND f.address=CONCAT('%u', '@', a.target_domain)"
    " AND f.active=1 AND a.active=1\n"
)
IREDMAIL_FILES = {
    "virtual_alias_maps.cf": ALIAS,
    "domain_alias_maps.cf": ALIAS_DOMAIN,
    **{f"{side}_bcc_maps_user.cf": BCC.format(table=f"{side}_bcc_user", condition="b.username='%s'") for side in ("recipient", "sender")},
    **{f"{side}_bcc_maps_domain.cf": BCC.format(table=f"{side}_bcc_domain", condition="b.active=1") for side in ("recipient", "sender")},
}
IREDMAIL_MAIN = """
relay_domains = example.com example.net
virtual_alias_maps =
    proxy:mysql:/etc/postfix/mysql/virtual_alias_maps.cf
    proxy:mysql:/etc/postfix/mysql/domain_alias_maps.cf
recipient_bcc_maps =
    proxy:mysql:/etc/postfix/mysql/recipient_bcc_maps_user.cf
    proxy:mysql:/etc/postfix/mysql/recipient_bcc_maps_domain.cf
sender_bcc_maps =
    proxy:mysql:/etc/postfix/mysql/sender_bcc_maps_user.cf
    proxy:mysql:/etc/postfix/mysql/sender_bcc_maps_domain.cf
content_filter = smtp-amavis:[127.0.0.1]:10024
smtp-amavis_destination_recipient_limit = 1
recipient_delimiter = +
"""
IREDMAIL_MASTER = """
submission inet n - n - - smtpd
  -o syslog_name=postfix/submission
  -o content_filter=smtp-amavis:[127.0.0.1]:10026
465 inet n - n - - smtpd
  -o syslog_name=postfix/smtps
  -o content_filter=smtp-amavis:[127.0.0.1]:10026
smtp-amavis unix - - n - 2 smtp
  -o syslog_name=postfix/amavis
  -o smtp_send_xforward_command=yes
127.0.0.1:10025 inet n - n - - smtpd
  -o content_filter=
  -o mynetworks=127.0.0.0/8
  -o smtpd_recipient_restrictions=permit_mynetworks,reject
  -o receive_override_options=no_header_body_checks,no_unknown_recipient_checks,no_address_mappings
"""
# recipient -> (final address, filter, copies)
IREDMAIL_DECISIONS = {
    "anna@example.com": ("anna@example.com", "secondary", ["archive"]),
    "anna+news@example.com": ("anna+news@example.com", "secondary", ["archive"]),
    "a.smith@example.com": ("a.smith@example.com", "secondary", ["archive"]),
    "ben@example.com": ("ben@example.com", "primary", []),
    "staff@example.com": ("staff@example.com", "primary", ["archive"]),
    "anna@example.net": ("anna@example.com", "secondary", []),
    "o'neil@example.net": ("o'neil@example.com", "primary", []),
    "someone@example.org": ("someone@example.org", None, []),
}

# --- mailcow --------------------------------------------------------------------------------------------------------------------

MAILCOW = """\
CREATE TABLE alias (id INT AUTO_INCREMENT PRIMARY KEY, address VARCHAR(255) NOT NULL UNIQUE, goto TEXT NOT NULL, domain VARCHAR(255) NOT NULL, active TINYINT(1) NOT NULL DEFAULT '1');
CREATE TABLE alias_domain (alias_domain VARCHAR(255) PRIMARY KEY, target_domain VARCHAR(255) NOT NULL, active TINYINT(1) NOT NULL DEFAULT '1');
CREATE TABLE mailbox (username VARCHAR(255) PRIMARY KEY, domain VARCHAR(255) NOT NULL, active TINYINT(1) NOT NULL DEFAULT '1');
CREATE TABLE tags_domain (tag_name VARCHAR(255) NOT NULL, domain VARCHAR(255) NOT NULL, UNIQUE (tag_name, domain));
CREATE TABLE tags_mailbox (tag_name VARCHAR(255) NOT NULL, username VARCHAR(255) NOT NULL, UNIQUE (tag_name, username));
INSERT INTO mailbox (username, domain) VALUES ('anna@example.com', 'example.com'), ('ben@example.com', 'example.com');
INSERT INTO alias (address, goto, domain) VALUES ('anna@example.com', 'anna@example.com', 'example.com'), ('ben@example.com', 'ben@example.com', 'example.com'),
    ('info@example.com', 'anna@example.com', 'example.com'), ('staff@example.com', 'anna@example.com,ben@example.com', 'example.com');
INSERT INTO alias_domain VALUES ('example.net', 'example.com', 1);
INSERT INTO tags_domain VALUES ('filter-primary', 'example.com'), ('copy-archive', 'example.com'), ('customer', 'example.com');
INSERT INTO tags_mailbox VALUES ('filter-secondary', 'anna@example.com'), ('copy-archive', 'anna@example.com'), ('copy-newmail', 'anna@example.com'), ('board', 'anna@example.com'),
    ('copy-none', 'ben@example.com');
"""
# As mailcow writes it, in words of our own.
MAILCOW_ALIAS_DOMAIN = """\
# Autogenerated by mailcow
user = mailcow
password = not the one of splitmilter
hosts = unix:/var/run/mysqld/mysqld.sock
dbname = mailcow
query = SELECT m.username FROM mailbox m, alias_domain a
  WHERE a.alias_domain = '%d'
    AND m.username = CONCAT('%u', '@', a.target_domain)
    AND (m.active = '1' OR m.active = '2')
    AND a.active='1'
"""
MAILCOW_DECISIONS = {
    "anna@example.com": ("anna@example.com", "secondary", ["archive", "newmail"]),
    "info@example.com": ("info@example.com", "secondary", ["archive", "newmail"]),
    "anna@example.net": ("anna@example.com", "secondary", ["archive", "newmail"]),
    "ben@example.com": ("ben@example.com", "primary", []),
    "staff@example.com": ("staff@example.com", "primary", ["archive"]),
    "nobody@example.net": ("nobody@example.net", "primary", ["archive"]),
    "someone@example.org": ("someone@example.org", None, []),
}

# --- Mail-in-a-Box --------------------------------------------------------------------------------------------------------------

BOX = """\
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE);
CREATE TABLE aliases (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL UNIQUE, destination TEXT NOT NULL);
INSERT INTO users (email) VALUES ('anna@example.com'), ('ben@example.com');
INSERT INTO aliases (source, destination) VALUES ('info@example.com', 'anna@example.com');
"""
BOX_DECISIONS = {
    "anna@example.com": ("anna@example.com", "secondary", ["archive"]),
    "ben@example.com": ("ben@example.com", "primary", ["archive"]),
    "info@example.com": ("info@example.com", "primary", ["archive"]),
    "someone@example.com": ("someone@example.com", "primary", []),
    "someone@example.org": ("someone@example.org", None, []),
}

# --- LDAP -----------------------------------------------------------------------------------------------------------------------

SUFFIX = "dc=example,dc=com"
TEXT = "EQUALITY caseIgnoreIA5Match SYNTAX 1.3.6.1.4.1.1466.115.121.1.26"
# The attributes of iRedMail's schema that its files and ours need, and its classes.
IREDMAIL_ATTRIBUTES = (
    "domainName", "domainAliasName", "domainStatus", "accountStatus", "enabledService", "shadowAddress", "memberOfGroup", "domainRecipientBccAddress", "userRecipientBccAddress",
)
IREDMAIL_CLASSES = ("mailDomain", "mailUser")
PEOPLE = """\
dn: cn=splitmilter,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: splitmilter
userPassword: secret

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: uid=anna,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
uid: anna
cn: Anna Smith
sn: Smith
mail: anna@example.com
mailLocalAddress: anna@example.com
mailLocalAddress: a.smith@example.com

dn: uid=ben,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
uid: ben
cn: Ben
sn: Ben
mail: ben@example.com
mailLocalAddress: ben@example.com

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit
ou: groups

dn: cn=everybody,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: everybody
member: uid=anna,ou=people,dc=example,dc=com
member: uid=ben,ou=people,dc=example,dc=com

"""
LDAP_DECISIONS = {
    "anna@example.com": ("anna@example.com", "secondary", ["archive", "newmail"]),
    "a.smith@example.com": ("anna@example.com", "secondary", ["archive", "newmail"]),
    "ben@example.com": ("ben@example.com", "primary", ["archive"]),
    "someone@example.com": ("someone@example.com", "primary", []),
    "an*@example.com": ("an*@example.com", "primary", []),
    "someone@example.org": ("someone@example.org", None, []),
}
IREDMAIL_PEOPLE = """\
dn: cn=vmail,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: vmail
userPassword: secret

dn: o=domains,dc=example,dc=com
objectClass: organization
o: domains

dn: domainName=example.com,o=domains,dc=example,dc=com
objectClass: organization
objectClass: mailDomain
o: example.com
domainName: example.com
domainAliasName: example.net
accountStatus: active
enabledService: mail
enabledService: recipientbcc
domainRecipientBccAddress: archive@example.com

dn: ou=Users,domainName=example.com,o=domains,dc=example,dc=com
objectClass: organizationalUnit
ou: Users

dn: mail=anna@example.com,ou=Users,domainName=example.com,o=domains,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: mailUser
uid: anna
cn: Anna
sn: Anna
mail: anna@example.com
shadowAddress: a.smith@example.com
memberOfGroup: staff@example.com
memberOfGroup: filter-secondary@example.com
accountStatus: active
enabledService: mail

dn: mail=ben@example.com,ou=Users,domainName=example.com,o=domains,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: mailUser
uid: ben
cn: Ben
sn: Ben
mail: ben@example.com
memberOfGroup: staff@example.com
accountStatus: active
enabledService: mail
enabledService: recipientbcc
userRecipientBccAddress: none@example.com

"""
LDAP_LOGIN = """\
server_host     = 127.0.0.1:{port}
version         = 3
bind            = yes
start_tls       = no
bind_dn         = cn=vmail,dc=example,dc=com
bind_pw         = secret
"""
IREDMAIL_LDAP_FILES = {
    "recipient_bcc_maps_user.cf": """\
search_base     = ou=Users,domainName=%d,o=domains,dc=example,dc=com
scope           = one
query_filter    = (&(objectClass=mailUser)(|(mail=%s)(shadowAddress=%s))(accountStatus=active)(!(domainStatus=disabled))(enabledService=recipientbcc))
result_attribute= userRecipientBccAddress
debuglevel      = 0
""",
    "recipient_bcc_maps_domain.cf": """\
search_base     = o=domains,dc=example,dc=com
scope           = one
query_filter    = (&(objectClass=mailDomain)(accountStatus=active)(enabledService=recipientbcc)(|(domainName=%d)(domainAliasName=%d)))
result_attribute= domainRecipientBccAddress
debuglevel      = 0
""",
}
IREDMAIL_LDAP_DECISIONS = {
    "anna@example.com": ("anna@example.com", "secondary", ["archive"]),
    "a.smith@example.com": ("a.smith@example.com", "secondary", ["archive"]),
    "ben@example.com": ("ben@example.com", "primary", []),
    "anna@example.net": ("anna@example.net", "primary", ["archive"]),
    "someone@example.org": ("someone@example.org", "primary", []),
}


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
