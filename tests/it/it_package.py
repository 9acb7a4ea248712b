#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The Debian packages beside each mail server, upgraded, and purged. `./dev cleanroot' prepares and runs it, as it_clean_root.py.

SPLIT_CLEAN_ROOT, SPLIT_DEB: as in it_clean_root.py. The root has the archives of the mail servers, too.
"""

import os
import re
import shutil
import sqlite3
import subprocess

import rig
from it_clean_root import Root

PACKAGE = "/root/splitmilter.deb"
CONF = "/etc/splitmilter/splitmilter.conf"
SPOOL = "/var/spool/splitmilter"


def root(r):
    fresh = Root(r)
    shutil.copy(fresh.deb, fresh.path + PACKAGE)
    return fresh


def install(fresh, package=PACKAGE):
    return fresh.run("apt-get", "install", "-y", "--no-install-recommends", package)


def repacked(fresh, name, version, change):
    """Make a package with another version and the changes of change(directory). Returns its path in the root."""
    directory = f"{fresh.path}/root/{name}"
    subprocess.run(["dpkg-deb", "-R", fresh.deb, directory], check=True)
    control = f"{directory}/DEBIAN/control"
    with open(control, encoding="utf-8") as f:
        text = f.read()
    with open(control, "w", encoding="utf-8") as f:
        f.write(re.sub(r"(?m)^Version: .*$", f"Version: {version}", text))
    change(directory)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", directory, f"{directory}.deb"], check=True, stdout=subprocess.DEVNULL)
    return f"/root/{name}.deb"


def stays(r, server):
    """Check that the package neither removes this mail server, nor installs another one."""
    fresh = root(r)
    fresh.run("apt-get", "install", "-y", "--no-download", "--no-install-recommends", server)
    plan = fresh.run("apt-get", "-s", "install", PACKAGE)
    assert "Inst splitmilter " in plan and not re.search("(?m)^Remv ", plan), plan
    assert not re.search(r"(?m)^Inst (postfix|sendmail\S*|exim4\S*) ", plan), plan


def test_postfix_stays(r):
    stays(r, "postfix")


def test_sendmail_stays(r):
    stays(r, "sendmail-bin")


def test_exim_stays(r):
    stays(r, "exim4-daemon-light")


def test_postfix_comes_where_there_is_none(r):
    plan = root(r).run("apt-get", "-s", "install", PACKAGE)
    assert re.search("(?m)^Inst postfix ", plan), plan


def test_an_upgrade_asks_nothing(r):
    """An upgrade keeps the administrator's configuration and asks nothing, from version 0.1 with its conffile, and when the
    installed default changes."""
    fresh = root(r)

    def as_it_was(directory):
        os.makedirs(f"{directory}/etc/splitmilter", exist_ok=True)
        shutil.copy(f"{directory}/usr/share/doc/splitmilter/examples/splitmilter.conf", directory + CONF)
        with open(f"{directory}/DEBIAN/conffiles", "a", encoding="ascii") as f:
            f.write(f"{CONF}\n")

    def changed(directory):
        with open(f"{directory}/usr/share/splitmilter/splitmilter.conf", "a", encoding="ascii") as f:
            f.write("# new\n")

    install(fresh, repacked(fresh, "old", "0.1.0~before", as_it_was))
    edited = fresh.read(CONF) + b'recipient_delimiter = "+"\n'
    fresh.write(CONF, edited.decode())
    install(fresh)
    assert fresh.read(CONF) == edited
    install(fresh, repacked(fresh, "new", "99", changed))
    assert fresh.read(CONF) == edited
    assert [n for n in os.listdir(f"{fresh.path}/etc/splitmilter") if "dpkg" in n or n.endswith(".new")] == []
    fresh.run("dpkg", "--purge", "splitmilter")
    assert not os.path.exists(f"{fresh.path}/etc/splitmilter")


def test_the_installed_file_reads_conf_d(r):
    fresh = root(r)
    install(fresh)
    fresh.run("splitrelay", "-t")
    fresh.write("/etc/splitmilter/conf.d/10-archive.conf", "destination archive {\n relay_to = { }\n}\n")
    said = fresh.run("splitrelay", "-t", status=78)
    assert "/etc/splitmilter/conf.d/10-archive.conf:2: destination archive: relay_to is missing" in said, said
    os.unlink(f"{fresh.path}/etc/splitmilter/conf.d/10-archive.conf")
    fresh.run("dpkg", "--purge", "splitmilter")
    assert not os.path.exists(f"{fresh.path}/etc/splitmilter")


# Parameter files, of servers that are away.
TABLES = {
    "mysql": "hosts = 127.0.0.1:1\nuser = u\npassword = p\ndbname = d\nquery = SELECT 'none' FROM t WHERE k = '%s'\n",
    "pgsql": "hosts = 127.0.0.1:1\nuser = u\npassword = p\ndbname = d\nquery = SELECT 'none' FROM t WHERE k = '%s'\n",
    "ldap": "server_host = ldap://127.0.0.1:1\nsearch_base = dc=x\nquery_filter = (mail=%s)\nresult_attribute = cn\nbind = no\n",
    "sqlite": "dbpath = /etc/splitmilter/table.sqlite\nquery = SELECT 'none' FROM t WHERE k = '%s'\n",
}

# Every program has to open the table.
MODULES = """\
milter {{ filter_maps = {{ "{0}" }} }}
destination archive {{ relay_to = {{ "[127.0.0.1]:1" }} }}
listener copies {{ listen = {{ "inet:2525@127.0.0.1" }} primary = {{ "[127.0.0.1]:1" }} copy_maps = {{ "{0}" }} }}
"""


def test_modules(r):
    """A table in a database needs the package of its module, and splitmilter names it. With the package it starts, although the
    server is away. A purge leaves nothing."""
    fresh = root(r)
    before = fresh.everything()
    install(fresh)
    fresh.write("/etc/splitmilter/table.sqlite", "")
    with sqlite3.connect(f"{fresh.path}/etc/splitmilter/table.sqlite") as database:
        database.execute("CREATE TABLE t (k TEXT)")
    database.close()
    for kind, text in TABLES.items():
        wanted = f"{kind}: tables need the package splitmilter-{kind}"
        fresh.write("/etc/splitmilter/table.cf", text, mode=0o640)
        fresh.run("chgrp", "splitmilter", "/etc/splitmilter/table.cf")
        fresh.write(CONF, MODULES.format(f"proxy:{kind}:/etc/splitmilter/table.cf"))
        for daemon in ("splitmilter", "splitrelay"):
            assert wanted in fresh.run(daemon, "-t", status=78)
        package = f"/root/splitmilter-{kind}.deb"
        shutil.copy(fresh.deb.replace("splitmilter_", f"splitmilter-{kind}_"), fresh.path + package)
        said = install(fresh, package)
        assert f"Setting up splitmilter-{kind} " in said and not re.search(r"(?m)^Setting up (mariadb-server|postgresql|slapd)", said), said
        for daemon in ("splitmilter", "splitrelay"):
            fresh.run(daemon, "-t")
        said = fresh.run("splitctl", "check")
        assert bool(re.search(rf"warning +tables: {kind}:/etc/splitmilter/table.cf: host ", said)) == (kind != "sqlite"), said
        fresh.run("dpkg", "--purge", f"splitmilter-{kind}")
        assert wanted in fresh.run("splitmilter", "-t", status=78)
        os.unlink(fresh.path + package)
    for name in ("table.cf", "table.sqlite"):
        os.unlink(f"{fresh.path}/etc/splitmilter/{name}")
    fresh.run("dpkg", "--purge", "splitmilter")
    left = {p for p in fresh.everything() - before - fresh.owned() if "split" in p}
    assert left == set(), left


def test_copies_outlive_a_purge(r):
    """A purge keeps copies that were not delivered. A new installation delivers them."""
    fresh = root(r)
    install(fresh)
    archive = rig.Sink(r, "archive")
    configuration = (
        'log {{ target = "stderr" }} relay {{ min_free_space = "1k" }}'
        ' destination archive {{ relay_to = {{ "{}" }} retry_min = "1s" retry_max = "1s" }}\n'
    )
    fresh.write(CONF, configuration.format("[127.0.0.1]:1"))
    relay = fresh.daemon("splitrelay")
    rig.send(("127.0.0.1", 10030), "s@sender.test", ["a@example.com.archive.copy.split.invalid"], b"Subject: kept\r\n\r\nx\r\n")
    relay.stop()
    said = fresh.run("dpkg", "--purge", "splitmilter")
    assert f"{SPOOL} stays, with copies of mail that were not delivered: 1." in said, said
    owner = os.stat(fresh.path + SPOOL).st_uid
    assert f"splitmilter:x:{owner}:" in fresh.read("/etc/passwd").decode()

    install(fresh)
    fresh.write(CONF, configuration.format(archive.bracketed))
    again = fresh.daemon("splitrelay")
    assert archive.wait(1)[0].headers("Subject") == ["kept"]
    again.wait_log("status=sent")
    again.stop()
    said = fresh.run("dpkg", "--purge", "splitmilter")
    assert "stays" not in said and not os.path.exists(fresh.path + SPOOL), said
    assert b"splitmilter" not in fresh.read("/etc/passwd")


if __name__ == "__main__":
    rig.main(timeout=240)
