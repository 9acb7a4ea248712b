#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The guide to one queue for several splitrelays (docs/scaling.md), on seven machines: every command in it is run, and a database
server and a relay node are lost with their disks while mail flows."""

import concurrent.futures
import re
import time

import rig
from rig.guide import MAIN
from rig.postgres import need_client

ADDRESSES = {
    "front1": "192.0.2.2", "front2": "192.0.2.3", "relay1": "192.0.2.18", "relay2": "192.0.2.19",
    "db1": "192.0.2.34", "db2": "192.0.2.35", "db3": "192.0.2.36",
}  # fmt: skip
DATABASES = ("db1", "db2", "db3")
RELAYS = ("relay1", "relay2")
FRONTS = ("front1", "front2")
LIST = "patronictl -c /etc/patroni/config.yml list"
POWEROFF = "systemctl poweroff --force --force"


class Site:
    """The machines of the guide, and what lies around them: an archive, a mailbox, and a name server."""

    def __init__(self, r):
        need_client()
        rig.need_tools("patroni", "patronictl", "etcd", "etcdctl", "postconf", "swaks", "openssl", "setpriv", "nsenter")
        self.fleet = rig.Fleet(r, ADDRESSES)
        here = self.fleet.address
        self.archive = rig.Sink(r, "archive", address=(here, 25))
        self.mailbox = rig.Sink(r, "mailbox", address=(here, 2525))
        names = {(f"{name}.example.com", "A"): [address] for name, address in ADDRESSES.items()}
        rig.Dns(r, {**names, ("copies.example.com", "MX"): [(10, f"{name}.example.com") for name in RELAYS]}, port=53, host=here)
        self.count, self.began = 0, time.monotonic()
        self.ran = []

    # --- the database servers

    def roles(self):
        """{machine: "Leader" | "Sync Standby" | "Replica"} of those that run, as Patroni says."""
        for name in DATABASES:
            if "patroni" in self.fleet[name].services:
                status, said = self.fleet[name].run(LIST, check=None)
                found = re.findall(r"(?m)^\| *(db\d) *\|[^|]*\| *(Leader|Sync Standby|Replica) *\| *(running|streaming) *\|", said)
                if status == 0 and found:
                    return {name: role for name, role, _ in found}
        return {}

    def leader(self):
        return rig.wait_for(lambda: next((n for n, role in self.roles().items() if role == "Leader"), None), 90, "a leader", self.said)

    def wait_roles(self, count):
        def is_complete():
            roles = sorted(self.roles().values())
            return len(roles) == count and roles[0] == "Leader" and (count == 1 or "Sync Standby" in roles)

        rig.wait_for(is_complete, 120, f"{count} database servers", self.said)

    def said(self):
        return f"{self.roles()}\n" + "".join(self.fleet[name].logs() for name in ADDRESSES)

    # --- the guide

    def names(self, words):
        return [self.leader() if word == "leader" else word for word in words]

    def do(self, kind, text, only=None):
        """Do what a block says, one command after the other, each on all of its machines. only: these machines alone."""
        names = [n for n in self.names(kind.split()[1:]) if only is None or n in only]
        if kind.startswith("conf"):
            for name in names:
                self.fleet[name].write(re.match(r"# (/\S+)\n", text).group(1), text)
            return
        for line in rig.commands(text):
            for name in names:
                print(f"  {time.monotonic() - self.began:.0f} s, {name}: {line}", flush=True)
                if line == "splitctl status":  # it is critical until there is a primary again, and warns of a lost relay
                    rig.wait_for(lambda: self.fleet[name].run(line, check=None)[0] in (0, 1), 120, f"splitrelay at {name}", self.said)  # noqa: B023
                else:
                    self.fleet[name].command(line)
                self.ran.append(line)
                self.after(name, line)

    def after(self, name, line):
        if line == "systemctl enable --now patroni":
            self.wait_roles(sum("patroni" in self.fleet[n].services for n in DATABASES))
        elif line.startswith("etcdctl member add"):
            self.rebuild("db1", self.first_blocks)
        elif " switchover " in line:
            self.wait_roles(3)
        elif line == "systemctl start patroni":
            self.leader()

    def rebuild(self, name, blocks):
        """A new machine takes the place of one that was lost: the same commands, but the certificate is that of the others."""
        machine = self.fleet[name].start()
        for kind, text in blocks:
            if "openssl" in text:
                for file in ("server.key", "server.pem"):
                    self.fleet["db2"].command(f"scp /etc/patroni/{file} root@{name}.example.com:/etc/patroni/")
                continue
            if kind.startswith("sh") and "--no-block etcd" in text:
                machine.run("echo ETCD_INITIAL_CLUSTER_STATE=existing >>/etc/default/etcd")
            if "CREATE ROLE" not in text and not kind.startswith(("sh db2 db3", "conf relay")):
                self.do(kind, text, only=(name,))
        self.wait_roles(3)

    # --- the fronts

    def set_up_front(self, name):
        """Set a front up as the quickstart does, without filters."""
        machine = self.fleet[name]
        main = MAIN.format(mailbox=self.mailbox.bracketed).replace("smtp_dns_support_level = disabled\nsmtp_host_lookup = native\n", "")
        machine.write("/etc/postfix/main.cf", main.replace("mail.example.com", f"{name}.example.com"))
        with open("/usr/share/postfix/master.cf.dist", encoding="utf-8") as f:
            machine.write("/etc/postfix/master.cf", f.read())
        for kind, text in rig.blocks("quickstart.md"):
            if kind == "conf":
                path = re.match(r"# (/\S+)\n", text).group(1)
                machine.write(path, text if path != "/etc/splitmilter/filter" else "* none\n")
        machine.run("postfix start; splitctl setup-postfix --multi --apply")
        for service in ("splitmilter", "splitrelay", "postfix"):
            machine.service("restart", service)

    def send(self, front, count=1):
        for _ in range(count):
            self.count += 1
            line = f"swaks --silent --server 127.0.0.1 --from me@example.com --to anna@example.com --header 'Subject: number {self.count}'"
            self.fleet[front].run(line)

    def lose_relay2(self):
        """Lose relay2 while the fronts wait for its answer to some of these messages."""
        relay = self.fleet["relay2"]
        relay.run(f"kill -STOP {relay.services['splitrelay']}")
        is_connected = f"grep -q ':{10030:04X} [0-9A-F:]* 01 ' /proc/net/tcp"

        def is_asked():  # the choice between the relays is random
            self.send("front1")
            self.send("front2")
            return relay.run(is_connected, check=None)[0] == 0

        rig.wait_for(is_asked, 60, "a connection to relay2")
        relay.lose()

    def wait_archive(self):
        """All messages have arrived. Some may have arrived twice."""
        wanted = {f"number {i + 1}" for i in range(self.count)}

        def missing():
            return wanted - {s for t in self.archive.accepted for s in t.headers("Subject")}

        def are_there():
            for name in FRONTS:
                self.fleet[name].run("postqueue -c /etc/postfix-in -f")
            return not missing()

        rig.wait_for(are_there, 90, "all copies", lambda: f"missing: {sorted(missing())} of {self.count}\n{self.queue()}{self.mail_logs()}")

    def queue(self):
        """The copies that wait at the fronts and the relays, and those that are gone."""
        words = [(name, f"postqueue -c {c} -p") for name in FRONTS for c in ("/etc/postfix", "/etc/postfix-in")]
        words += [(name, f"splitctl {w}") for w in ("status", "queue", "history --limit 30") for name in RELAYS if self.fleet[name].services]
        return "".join(f"--- {name}: {w}\n{self.fleet[name].run(w, check=None)[1]}" for name, w in words)

    def mail_logs(self):
        return "".join(self.fleet[name].run("tail -n 15 /var/log/mail.log", check=None)[1] for name in FRONTS) + "".join(
            self.fleet[name].logs() for name in RELAYS)


def test_guide(r):
    """Follow the guide from the beginning to the end."""
    site = Site(r)
    everything = [(kind, text) for kind, text in rig.blocks("scaling.md") if len(kind.split()) > 1 and kind.split()[1] != "elsewhere"]
    first_relay = next(i for i, (kind, _) in enumerate(everything) if kind.startswith("conf relay"))
    site.first_blocks = everything[:first_relay]
    for kind, text in everything:
        if kind.startswith("sh front1 front2") and "setup-postfix" in text:
            with concurrent.futures.ThreadPoolExecutor() as pool:
                list(pool.map(site.set_up_front, FRONTS))
        if POWEROFF in text:  # a relay is lost at the same time, and may have some of these
            site.send("front1", 2)
            site.send("front2", 2)
            site.lose_relay2()
        site.do(kind, text)
        if kind.startswith("sh front1 front2") and "setup-postfix" in text:
            site.send("front1", 3)
            site.send("front2", 3)
            site.wait_archive()
        if "dropdb" in text:  # only the last server is left
            site.send("front2")
            site.wait_archive()
            for name in ("db1", "db2"):
                site.fleet[name].lose()
            site.send("front1")
        if POWEROFF in text:  # no primary at this moment
            site.send("front1", 3)
            site.send("front2", 3)
        if "member add" in text:
            site.wait_archive()
            replace_relay(site)
    assert len(site.ran) > 60, site.ran
    site.send("front2")
    site.wait_archive()


def replace_relay(site):
    """A new machine takes the place of relay2."""
    site.fleet["relay2"].start()
    site.fleet["db2"].command("scp /etc/patroni/server.pem root@relay2.example.com:/etc/ssl/certs/queue.pem")
    for kind, text in rig.blocks("scaling.md"):
        if kind == "conf relay1 relay2" or (kind == "sh relay1 relay2" and "queue.password" in text):
            site.do(kind, text, only=("relay2",))


if __name__ == "__main__":
    rig.main(timeout=900)
