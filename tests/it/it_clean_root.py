#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""On a fresh Debian, mail is split after the package is installed, a configuration is written and one command is run. A purge
removes all of it. The guides are followed literally, on machines with systemd.

SPLIT_CLEAN_ROOT is a root that debootstrap made, with the archives of the packages that the guides install; SPLIT_DEB is the
package, built on that release. `./dev cleanroot' prepares both. The root is below an overlay, and not changed.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess

import rig
from rig.daemons import accepts
from rig.panels import BOX

CONFIGURATION = """\
log {{ target = "stderr" }}
milter {{
    socket      = "unix:/var/spool/postfix-in/splitmilter/milter.sock"
    filter_maps = {{ "texthash:/etc/splitmilter/filter" }}
    copy_maps   = {{ "texthash:/etc/splitmilter/copy" }}
}}
filter primary {{
    nexthop = "smtp:{primary}"
}}
filter secondary {{
    nexthop = "smtp:{secondary}"
}}
relay {{
    listen = {{ "inet:10030@127.0.0.1" }}
}}
destination archive {{
    relay_to = {{ "{archive}" }}
}}
recipient_delimiter = "+"
"""


# Paths that dpkg, apt, their triggers, Postfix and its users write.
OTHERS = re.compile(
    r"/var/lib/(dpkg|apt|postfix|systemd|ucf|sgml-base|xml-core)/|/var/(cache|log|mail|backups)/|/var/spool/postfix/(?!split)"
    r"|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|/etc/ld\.so\.cache$|/usr/lib/python3|/run/(?!split)|/root/splitmilter\.deb$"
)


class Root:
    """The fresh system, in which commands are run."""

    def __init__(self, r):
        base, self.deb = os.environ.get("SPLIT_CLEAN_ROOT"), os.environ.get("SPLIT_DEB")
        if not base or not self.deb:
            raise rig.Skip("no clean root: ./dev cleanroot makes one and runs this test")
        self.r = r
        self.jail = rig.Jail(r)
        self.path = self.jail.overlay(base, "root")
        self.jail.bind("/dev", f"{self.path}/dev")
        self.jail.bind("/proc", f"{self.path}/proc")
        self.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", mode=0o755)
        r.on_close(self.stop)

    def write(self, path, text, mode=0o644):
        with open(self.path + path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path + path, mode)

    def read(self, path):
        with open(self.path + path, "rb") as f:
            return f.read()

    def run(self, *argv, status=0):
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(["chroot", self.path, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=env, timeout=300, check=False)
        text = done.stdout.decode("utf-8", "replace")
        assert done.returncode == status, f"{argv}: exit {done.returncode}: {text}"
        return text

    def daemon(self, name):
        """Start a daemon as systemd does, as its own user."""
        argv = ["chroot", "--userspec=splitmilter:splitmilter", self.path, f"/usr/sbin/{name}"]
        daemon = rig.Daemon(self.r, name, argv)
        return daemon.start(lambda: "ready" in daemon.log())

    def stop(self):
        for name in ("postfix-in", "postfix-out", "postfix"):
            try:
                pid = int(self.read(f"/var/spool/{name}/pid/master.pid").split()[0])
            except (OSError, ValueError, IndexError):
                continue
            subprocess.run(["chroot", self.path, "postfix", "-c", f"/etc/{name}", "stop"], stderr=subprocess.DEVNULL, check=False)
            assert not os.path.exists(f"/proc/{pid}/exe") or not os.readlink(f"/proc/{pid}/exe").endswith("/master")

    def everything(self):
        """Every path of the system except OTHERS, and the users and groups of the package."""
        found = set()
        for top in ("/etc", "/home", "/opt", "/root", "/run", "/srv", "/usr", "/var"):
            for directory, directories, files in os.walk(self.path + top):
                found.update(os.path.join(directory, n)[len(self.path) :] for n in directories + files)
        accounts = self.read("/etc/passwd") + self.read("/etc/group") + self.read("/etc/shadow")
        return {p for p in found if not OTHERS.match(p)} | set(re.findall(r"(?m)^.*split.*$", accounts.decode()))

    def owned(self):
        """The paths that belong to packages. /lib is /usr/lib."""
        paths = self.run("sh", "-c", "cat /var/lib/dpkg/info/*.list").splitlines()
        return {re.sub("^/(s?bin|lib)", "/usr/\\1", p) for p in paths}


def test_from_a_bare_server_to_a_running_split(r):
    root = Root(r)
    filters = {n: rig.Filter(r, n, ("127.0.0.1", 10025)) for n in ("primary", "secondary")}
    archive = rig.Sink(r, "archive")
    root.run("apt-get", "install", "-y", "--no-download", "--no-install-recommends", "postfix", "systemd")
    root.run("useradd", "--create-home", "anna")
    root.run("useradd", "--create-home", "ben")
    before, files = root.everything(), [root.read(f"/etc/postfix/{n}") for n in ("main.cf", "master.cf")]
    shutil.copy(root.deb, f"{root.path}/root/splitmilter.deb")
    root.run("apt-get", "install", "-y", "--no-install-recommends", "/root/splitmilter.deb")

    host = root.run("postconf", "-h", "myhostname").strip()
    names = {n: f.bracketed for n, f in filters.items()}
    root.write("/etc/splitmilter/splitmilter.conf", CONFIGURATION.format(archive=archive.bracketed, **names))
    root.write("/etc/splitmilter/filter", f"anna@{host} primary\nben@{host} secondary\n")
    root.write("/etc/splitmilter/copy", f"anna@{host} archive\n")
    assert len(CONFIGURATION.splitlines()) <= 20
    root.run("splitctl", "setup-postfix", "--multi", "--apply")
    assert "Nothing to do" in root.run("splitctl", "setup-postfix", "--multi", "--apply")
    assert root.run("postfix", "check") == "" and root.run("postmulti", "-x", "postfix", "check") == ""
    daemons = [root.daemon(name) for name in ("splitrelay", "splitmilter")]
    root.run("postfix", "start")
    for name in ("postfix", "postfix-in", "postfix-out"):
        r.session.record_process(int(root.read(f"/var/spool/{name}/pid/master.pid").split()[0]), name)
    assert "0 errors, 0 warnings" in root.run("splitctl", "check")

    rig.send(("127.0.0.1", 25), "s@sender.test", [f"anna@{host}", f"ben@{host}"], b"Subject: both\r\n\r\ntext\r\n")
    for name, passed in (("anna", b"primary"), ("ben", b"secondary")):
        path = f"{root.path}/var/mail/{name}"
        rig.wait_for(lambda p=path: os.path.exists(p) and os.path.getsize(p) > 0, 30, f"mail of {name}")
        text = root.read(f"/var/mail/{name}")
        assert re.findall(rb"(?m)^X-Filtered-By: (\w+)", text) == [passed], text
    copy = archive.wait(1)[0]
    assert copy.addrs == [f"anna@{host}"] and not copy.headers("X-Filtered-By")
    assert '"running": true' in root.run("splitctl", "status", "--json")

    root.run("dpkg", "--purge", "splitmilter", status=1)  # refused while Postfix is set up for splitmilter
    root.run("splitctl", "setup-postfix", "--remove", "--apply")
    assert [root.read(f"/etc/postfix/{n}") for n in ("main.cf", "master.cf")] == files
    for daemon in daemons:
        daemon.stop()  # systemd does this on a system where it runs
    for table in ("filter", "copy"):
        os.unlink(f"{root.path}/etc/splitmilter/{table}")  # a file of the administrator, not of the package
    root.run("dpkg", "--purge", "splitmilter")
    after = root.everything()
    assert before <= after, sorted(before - after)
    assert not after - before - root.owned(), sorted(after - before - root.owned())


# The records of the name server in the machine's network. Without a name server Sendmail keeps mail in its queue.
NAMES = {
    ("mail.example.com", "A"): ["192.0.2.1"],
    ("example.com", "MX"): [(10, "mail.example.com")],
    ("archive.example.com", "A"): ["192.0.2.9"],
}


class Site:
    """A machine with the package in the reader's clone and with filters, and an archive in another network."""

    def __init__(self, r, filters=True):
        base, deb = os.environ.get("SPLIT_CLEAN_ROOT"), os.environ.get("SPLIT_DEB")
        if not base or not deb:
            raise rig.Skip("no clean root: ./dev cleanroot makes one and runs this test")
        jail = rig.Jail(r)
        self.elsewhere = rig.Elsewhere(jail)
        rig.Dns(r, NAMES, port=53)
        self.machine = rig.Machine(r, jail, base, hosts="192.0.2.9 archive.example.com\n")
        self.archive = self.elsewhere.make(lambda: rig.Sink(r, "archive", address=("192.0.2.9", 25)))
        if filters:
            self.filters = [rig.Filter(r, n, ("127.0.0.1", 10025), port=p) for n, p in (("primary", 10024), ("secondary", 10027))]
        self.guide = rig.MachineGuide(self.machine)
        os.makedirs(f"{self.machine.path}{self.guide.clone}/build/deb")
        for path in (deb, *(deb.replace("splitmilter_", f"splitmilter-{kind}_") for kind in ("mysql", "pgsql", "ldap", "sqlite"))):
            shutil.copy(path, f"{self.machine.path}{self.guide.clone}/build/deb/")
        self.machine.start()

    def chroot_no(self):
        """Switch the chroot of Debian's master.cf off."""
        self.machine.run("postconf -F '*/*/chroot = n'")

    def send(self, *recipients, subject="x"):
        """Send a message from the Internet."""
        content = f"From: s@sender.test\r\nSubject: {subject}\r\n\r\nText.\r\n".encode()
        self.elsewhere.make(lambda: rig.send(("192.0.2.1", 25), "s@sender.test", recipients, content))

    def mail(self, user, count=1):
        """Wait until the user's mailbox has `count' messages, and return them."""

        def there():
            try:
                text = self.machine.read(f"/var/mail/{user}")
            except FileNotFoundError:
                text = b""
            return re.split(rb"(?m)^From ", text)[1:]

        def why():
            return f"{there()}\n{self.machine.journal()}"

        return rig.wait_for(lambda: len(there()) >= count and there(), 60, f"{count} messages for {user}", why)

    def filters_of(self, user, count=1):
        return [re.findall(rb"(?m)^X-Filtered-By: (\w+)", m) for m in self.mail(user, count)]


def follow_quickstart(r, chroot):
    site = Site(r)
    machine = site.machine
    files = {}

    def between(line):
        if line == "./dev deb":
            # At this place the reader's Postfix is set up.
            if not chroot:
                site.chroot_no()
                machine.run("systemctl restart postfix")
            wanted = "y" if chroot else "n"
            assert set(machine.run("postconf -Fh smtp/inet/chroot").split()) == {wanted}
            files.update({n: machine.read(f"/etc/postfix/{n}") for n in ("main.cf", "master.cf")})
            site.send("anna@example.com", subject="before")
            assert site.filters_of("anna") == [[]]
        elif line == "splitctl status":  # the first command behind swaks
            # The messages of step 6, and one from the Internet.
            assert sorted(site.filters_of("anna", 2)) == [[], [b"secondary"]]
            assert site.filters_of("ben") == [[b"primary"]]
            site.send("anna+news@example.com", "info@example.com", "abuse@example.com", subject="more")
            assert sorted(site.filters_of("anna", 4)) == [[], [b"primary"], [b"secondary"], [b"secondary"]]  # info@ is another key
            assert site.filters_of("root") == [[]]
            site.archive.wait_recipients(5)
            assert "0 errors, 0 warnings" in machine.run("splitctl check")
        elif line == "splitctl reload" and line not in site.guide.ran:
            # All instances and daemons start again with the machine.
            machine.stop()
            machine.start()
            site.send("anna@example.com", subject="after the reboot")
            assert sorted(site.filters_of("anna", 5))[-1] == [b"secondary"]
            assert "0 errors, 0 warnings" in machine.run("splitctl check")
        elif line == "splitctl setup-postfix --remove":
            rig.wait_for(lambda: not queue(machine), 30, "empty queues", lambda: machine.run("postmulti -x mailq"))
        return False

    site.guide.follow("quickstart.md", between)
    assert {n: machine.read(f"/etc/postfix/{n}") for n in files} == files
    before = len(site.filters_of("anna"))
    site.send("anna@example.com", subject="after")
    assert site.filters_of("anna", before + 1)[-1] == []
    machine.run("apt purge splitmilter")
    assert "Mail system is down" not in machine.run("mailq")
    failed = machine.run("systemctl --failed --no-legend --plain")
    assert failed == "", f"{failed}\n{machine.journal(*[line.split()[0] for line in failed.splitlines()])}"


def queue(machine):
    return machine.run("postmulti -x postqueue -j").strip()


def test_quickstart(r):
    follow_quickstart(r, chroot=True)


def test_quickstart_without_chroot(r):
    follow_quickstart(r, chroot=False)


def test_units_and_sandboxes(r):
    """check respects the sandboxes of the units, reload reports the daemons' results, and status expects a daemon only if its unit
    is enabled."""
    site = Site(r, filters=False)
    m = site.machine
    m.run(f"echo 'postfix postfix/main_mailer_type select Local only' | debconf-set-selections; apt-get install -y postfix {site.guide.clone}/build/deb/splitmilter_*.deb")
    m.run("mkdir -p /srv/mail /home/archive; chown splitmilter /srv/mail /home/archive")
    m.write(
        "/etc/splitmilter/splitmilter.conf",
        'recipient_delimiter = "+"\nmilter { filter_maps = { "static:one" } copy_maps = { "static:files, home" } }\nfilter one { nexthop = "smtp:[127.0.0.1]:10024" }\n'
        'destination files { relay_to = "maildir:/srv/mail/box" }\ndestination home { relay_to = "maildir:/home/archive/box" }\n',
    )
    said = m.run("splitctl reload")
    assert re.fullmatch(r"splitmilter has reloaded \(process \d+\)\nsplitrelay has reloaded \(process \d+\)\n", said), said
    # Both reach the journal itself, past syslog.
    for name in ("splitmilter", "splitrelay"):
        assert "configuration reloaded" in m.run(f"journalctl --sync; journalctl -o cat _TRANSPORT=journal SYSLOG_IDENTIFIER={name} _SYSTEMD_UNIT={name}.service")
    hidden = "warning  destination home: maildir:/home/archive/box: is not visible for splitrelay.service (ProtectHome=); systemctl edit splitrelay changes that\n"
    closed = "warning  destination files: maildir:/srv/mail/box: is read-only for splitrelay.service (ProtectSystem=strict, and no ReadWritePaths= names it); systemctl edit splitrelay changes that\n"
    for state in ("start", "stop"):
        m.run(f"systemctl {state} splitrelay")
        said = m.run("splitctl check")
        assert hidden in said and closed in said and ": files are opened as user splitmilter" in said, said
    m.run("mkdir -p /etc/systemd/system/splitrelay.service.d; printf '[Service]\\nReadWritePaths=/srv/mail\\n' >/etc/systemd/system/splitrelay.service.d/mail.conf; systemctl daemon-reload")
    assert "ok       destination files: maildir:/srv/mail/box answers\n" in m.run("splitctl check")
    m.run("systemctl start splitrelay")
    said = m.run("splitctl check")
    assert "ok       destination files: maildir:/srv/mail/box answers\n" in said and hidden in said, said
    m.run("chmod 600 /etc/splitmilter/splitmilter.conf")
    code, said = m.run("splitctl reload", check=None)
    assert code == 78 and said.count("its old configuration stays: /etc/splitmilter/splitmilter.conf: Permission denied") == 2, said
    code, said = m.run("splitctl check", check=None)
    assert code == 1 and "error    configuration: for splitrelay (user splitmilter): " in said, said
    code, said = m.run("splitctl status", check=None)
    assert code == 1 and said.startswith("WARNING: the last reload of splitmilter failed: "), said
    m.run("chmod 644 /etc/splitmilter/splitmilter.conf; splitctl reload")
    assert m.run("splitctl status").startswith("OK\n")
    m.run("systemctl stop splitrelay postfix")
    code, said = m.run("splitctl status", check=None)
    assert code == 2 and said.startswith("CRITICAL: splitrelay does not run; postfix does not run\n"), said
    m.run("systemctl disable splitrelay postfix")
    said = m.run("splitctl status")
    assert said.startswith("OK\n") and re.search("(?m)^splitrelay +off +not of this machine: its unit is not enabled$", said), said


def test_a_module_starts_what_waits_for_it(r):
    """A daemon that did not start without the module of a table is started by the installation of the module."""
    site = Site(r, filters=False)
    m = site.machine
    m.run(f"apt-get install -y {site.guide.clone}/build/deb/splitmilter_*.deb")
    with sqlite3.connect(f"{m.path}/etc/splitmilter/filter.sqlite") as database:
        database.execute("CREATE TABLE filter (address TEXT PRIMARY KEY, name TEXT)")
    database.close()
    m.write("/etc/splitmilter/filter.cf", "dbpath = /etc/splitmilter/filter.sqlite\nquery = SELECT name FROM filter WHERE address = '%s'\n")
    m.write("/etc/splitmilter/splitmilter.conf", 'milter { filter_maps = { "sqlite:/etc/splitmilter/filter.cf" } }\n')
    m.run("systemctl restart splitmilter", check=None)
    assert m.run("systemctl is-active splitmilter", check=None)[1].strip() == "failed"
    assert "sqlite: tables need the package splitmilter-sqlite" in m.journal("splitmilter")
    m.run(f"apt-get install -y {site.guide.clone}/build/deb/splitmilter-sqlite_*.deb")
    rig.wait_for(lambda: m.run("systemctl is-active splitmilter", check=None)[1].strip() == "active", 30, "splitmilter", lambda: m.journal("splitmilter"))


def test_a_panel_below_home(r):
    """The unit hides a database below /home, and check says so. The file of docs/panels.md opens this database, and nothing else."""
    site = Site(r, filters=False)
    m = site.machine
    m.run(f"apt-get install -y {site.guide.clone}/build/deb/splitmilter_*.deb {site.guide.clone}/build/deb/splitmilter-sqlite_*.deb")
    m.run("useradd --create-home anna; mkdir -p /home/user-data/mail/mailboxes; touch /home/user-data/mail/mailboxes/letter")
    with sqlite3.connect(f"{m.path}/home/user-data/mail/users.sqlite") as database:
        database.executescript(BOX)
    database.close()
    files = {re.match(r"# (/\S+)\n", text).group(1): text for kind, text in rig.blocks("panels.md", "Mail-in-a-Box") if kind == "conf"}
    drop_in = next(path for path in files if path.endswith("home.conf"))
    m.write("/etc/splitmilter/copy.cf", files["/etc/splitmilter/copy.cf"])
    m.write(
        "/etc/splitmilter/splitmilter.conf",
        'milter { socket = "inet:10023@127.0.0.1" trusted_mtas = { "127.0.0.1" } copy_maps = { "sqlite:/etc/splitmilter/copy.cf" } }\n'
        'destination archive { relay_to = { "[archive.example.com]:25" } }\n',
    )
    fault = "sqlite:/etc/splitmilter/copy.cf: host /home/user-data/mail/users.sqlite: cannot open the database"
    namespace = "nsenter --mount --target $(systemctl show -P MainPID splitmilter)"

    def copies(recipient):
        return json.loads(m.run(f"{namespace} splitctl explain --json {recipient}").splitlines()[0])["copies"]

    m.run("systemctl restart splitmilter")
    assert fault in m.run("splitctl check", check=None)[1]
    m.write(drop_in, files[drop_in])
    m.run("systemctl daemon-reload; systemctl restart splitmilter")
    said = m.run("splitctl check", check=None)[1]
    assert "users.sqlite" not in said and "ok       tables: 1" in said, said
    assert copies("anna@example.com") == ["archive"] and copies("carl@example.com") == []
    with sqlite3.connect(f"{m.path}/home/user-data/mail/users.sqlite") as database:
        database.execute("INSERT INTO users (email) VALUES ('carl@example.com')")
    database.close()
    assert copies("carl@example.com") == ["archive"]
    seen = m.run(f"{namespace} find /home /root /run/user").split()
    assert sorted(seen) == ["/home", "/home/user-data", "/home/user-data/mail", "/home/user-data/mail/users.sqlite", "/root", "/run/user"], seen
    assert m.run(f"{namespace} touch /home/user-data/mail/users.sqlite", check=None)[0] != 0


def wait_empty(site):
    rig.wait_for(lambda: not queue(site.machine), 60, "empty queues", lambda: site.machine.run("postmulti -x mailq"))


def follow(site, name, hook=None):
    """Follow a guide. Before --remove the queues have to be empty."""

    def between(line):
        if "--remove" in line:
            wait_empty(site)
        return hook(line) if hook else False

    return site.guide.follow(name, between)


def test_readme(r):
    site = Site(r)
    site.guide.follow("quickstart.md", until="splitctl explain")
    follow(site, "README.md")
    site.send("anna@example.com")
    assert site.filters_of("anna") == [[b"secondary"]]
    site.archive.wait_recipients(1)


def test_filters(r):
    site = Site(r, filters=False)
    m = site.machine
    site.guide.follow("quickstart.md", until="splitctl explain")
    m.run("useradd --create-home carl")
    files = {n: m.read(f"/etc/postfix/{n}") for n in ("main.cf", "master.cf")}
    marks = (b", port 10024)", b"X-Spam-Checker-Version: ", b"X-Spamd-Result: ")  # from amavis, SpamAssassin and rspamd

    def hook(line):
        if line.startswith("sed -i /rspamd/d"):
            rig.wait_for(lambda: accepts(("127.0.0.1", 11332)), 60, "rspamd", lambda: m.journal("rspamd") + m.run("tail -n 40 /var/log/rspamd/rspamd.log", check=None)[1])
            site.send("anna@example.com", "ben@example.com", "carl@example.com", "abuse@example.com")
            for user, mark in (("anna", marks[0]), ("ben", marks[1]), ("carl", marks[2]), ("root", None)):
                (text,) = site.mail(user)
                assert [k for k in marks if k in text] == ([mark] if mark else []), (user, text)
            said = m.read("/var/log/rspamd/rspamd.log").decode()
            assert re.search(r"rspamd_task_write_log: .*ip: 192\.0\.2\.9,", said), said  # the client's address, not this machine's
            assert "0 errors" in m.run("splitctl check")
            wait_empty(site)

    follow(site, "filters.md", hook)
    m.run("splitctl setup-postfix --remove --apply")
    assert {n: m.read(f"/etc/postfix/{n}") for n in files} == files
    assert m.run("postmulti -l").split()[0] == "-" and "rspamd" not in m.run("postmulti -l")


def test_postfix(r):
    site = Site(r)
    site.guide.replaced = {"/var/spool/postfix-in/": "/var/spool/postfix/"}
    site.guide.follow("quickstart.md", until="splitctl setup-postfix")
    site.machine.run("systemctl restart splitmilter splitrelay", check=None)

    def hook(line):
        if line.startswith("postmap"):
            site.machine.run("systemctl restart splitmilter")
            site.send("anna@example.com")
            assert site.filters_of("anna") == [[b"secondary"]]

    follow(site, "postfix.md", hook)


def test_operations(r):
    site = Site(r)
    site.guide.follow("quickstart.md", until="splitctl status")
    follow(site, "operations.md")
    assert "splitmilter" not in site.machine.run("dpkg-query -W -f '${db:Status-Status} ${Package}\n' | grep '^installed'")


def test_scaling(r):
    site = Site(r)
    site.guide.follow("quickstart.md", until="splitctl status")
    follow(site, "scaling.md")


def listener(site, page):
    """Write the first configuration of a page about listeners, and the names of its hosts."""
    text = next(text for kind, text in rig.blocks(page) if kind == "splitmilter.conf")
    site.machine.write("/etc/splitmilter/splitmilter.conf", text)
    site.machine.run("echo '192.0.2.9 oldmail.example.com newmail.example.com' >> /etc/hosts")


def send_to_listener(site, count):
    rig.send(("127.0.0.1", 2525), "s@sender.test", ["a@test.example.com"], b"Subject: x\r\n\r\n")
    site.archive.wait(count)


def test_migration(r):
    site = Site(r)
    site.guide.follow("quickstart.md", until="splitctl explain")
    listener(site, "migration.md")
    site.machine.run("systemctl restart splitrelay")
    follow(site, "migration.md")
    assert site.machine.run("systemctl is-active splitrelay.socket splitrelay.service").split() == ["active", "active"]
    send_to_listener(site, 2)
    site.machine.run("systemctl restart splitrelay")
    send_to_listener(site, 4)


def test_from_gosmtp_dup(r):
    site = Site(r)
    site.guide.follow("quickstart.md", until="splitctl explain")
    listener(site, "from-gosmtp-dup.md")
    follow(site, "from-gosmtp-dup.md")
    send_to_listener(site, 3)


def test_sendmail(r):
    """The guide for Sendmail, followed on Debian's own Sendmail, leads to a working split."""
    site = Site(r, filters=False)
    machine = site.machine
    for name, port in (("primary", 10024), ("secondary", 10026)):
        rig.Filter(r, name, ("127.0.0.1", 10025), port=port)
    machine.run("apt install sendmail swaks", seconds=600)
    machine.run("useradd --create-home anna && useradd --create-home carl")
    machine.run("apt install ./build/deb/splitmilter_*.deb", directory=site.guide.clone)
    machine.run("echo example.com >> /etc/mail/local-host-names")
    machine.run("touch /etc/mail/mailertable")

    def hook(line):
        if line == "cd /etc/mail":
            lines = next(text for kind, text in rig.blocks("sendmail.md") if kind == "m4")
            mc = machine.read("/etc/mail/sendmail.mc").decode()
            assert "MAILER_DEFINITIONS" in mc
            machine.write("/etc/mail/sendmail.mc", mc.replace("MAILER_DEFINITIONS", f"{lines}MAILER_DEFINITIONS", 1))

    site.guide.follow("sendmail.md", hook)
    rig.send(("127.0.0.1", 25), "", ["anna@example.com", "carl@example.com"], b"Subject: both\r\n\r\nx\r\n")
    assert site.filters_of("anna") == [[b"secondary"]]
    assert site.filters_of("carl") == [[b"primary"]]
    site.archive.wait_recipients(2)


if __name__ == "__main__":
    rig.main(timeout=400)
