# SPDX-License-Identifier: ISC
"""A cluster of PostgreSQL servers under Patroni, with etcd: one of them is the primary, one its synchronous standby.

    cluster = rig.Patroni(r)
    uri = cluster.create_database("splitmilter")    # names all servers; target_session_attrs finds the primary
    lost = cluster.primary()
    cluster.lose(lost)                              # the machine and its disk
    cluster.replace(lost)                           # a new machine of the same name, with an empty disk
    cluster.wait_redundant()

A member is a "machine": Patroni and the server that it runs. etcd runs once, beside them, and is never lost.
"""

import http.client
import json
import os
import secrets
import shutil

from . import libpq
from .base import Failure, need_tools, wait_for
from .daemons import Daemon
from .postgres import DURABLE, Databases, account, kill_all, private_directory, programs


def need_patroni():
    """Skip unless Patroni, etcd and PostgreSQL are installed."""
    programs()
    need_tools("patroni", "etcd")


def get(port, path):
    """(status, parsed body) of Patroni's REST interface; (0, None) if there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    except (OSError, http.client.HTTPException, ValueError):
        return 0, None
    finally:
        connection.close()


class Etcd(Daemon):
    """One etcd, without replication."""

    def __init__(self, rig):
        self.port = rig.free_port()
        client, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{rig.free_port()}"
        argv = ["/usr/bin/etcd", "--name", "one", "--data-dir", private_directory(rig.path("etcd")), "--logger", "zap", "--log-level", "warn",
                "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}"]
        super().__init__(rig, "etcd", argv, user=account())
        self.start(lambda: get(self.port, "/health")[0] == 200, 20)

    def stop(self, seconds=20):
        self.kill()  # after SIGTERM it ends by that signal, with no status to check


class Member:
    """One machine of the cluster."""

    def __init__(self, cluster, number):
        rig = cluster.rig
        self.cluster = cluster
        self.name = f"db{number}"
        self.port, self.rest_port = rig.free_port(), rig.free_port()
        self.top = private_directory(rig.path(self.name))
        self.directory = os.path.join(self.top, "data")
        self.configuration = os.path.join(self.top, "patroni.yml")
        self.recorded = set()
        self.write_configuration()
        python = "/usr/bin/python3"  # Debian's, which has the modules
        self.daemon = Daemon(rig, f"patroni-{self.name}", [python, "/usr/bin/patroni", self.configuration],
                             env={"PYTHONPATH": "", "PYTHONHOME": "", "HOME": self.top, "LC_ALL": "C.UTF-8"}, user=account())

    def write_configuration(self):
        """Write the configuration as JSON, which is valid YAML."""
        cluster = self.cluster
        superuser, replicator = ({"username": n, "password": cluster.passwords[n]} for n in ("postgres", "replicator"))
        text = {
            "scope": "queue",
            "name": self.name,
            "restapi": {"listen": f"127.0.0.1:{self.rest_port}", "connect_address": f"127.0.0.1:{self.rest_port}"},
            "etcd3": {"hosts": [f"127.0.0.1:{cluster.etcd.port}"]},
            "bootstrap": {
                "dcs": {
                    **cluster.times,
                    "synchronous_mode": cluster.is_synchronous,
                    "synchronous_mode_strict": cluster.is_synchronous,
                    # As in the guide: a server that has more than the new primary gives it up.
                    "postgresql": {"use_pg_rewind": True, "remove_data_directory_on_rewind_failure": True, "remove_data_directory_on_diverged_timelines": True,
                                   "parameters": {**DURABLE, "wal_log_hints": "on"}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth-host": "scram-sha-256"}, {"auth-local": "trust"}],
                "pg_hba": ["local all all trust", "local replication all trust", "host all all 127.0.0.1/32 scram-sha-256",
                           "host replication replicator 127.0.0.1/32 scram-sha-256"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": self.directory,
                "bin_dir": programs(),
                "pgpass": os.path.join(self.top, "pgpass"),
                "parameters": {"unix_socket_directories": self.top},
                "authentication": {"superuser": superuser, "replication": replicator},
            },
        }
        with open(self.configuration, "w", encoding="ascii") as f:
            json.dump(text, f, indent=1)
        os.chmod(self.configuration, 0o644)

    def start(self):
        self.daemon.start()

    def role(self):
        """"primary", "sync_standby", "replica", or None if the server does not run."""
        status, said = get(self.rest_port, "/patroni")
        if status == 0 or said.get("state") != "running":
            return None
        self.record()
        if said["role"] in ("master", "primary"):
            return "primary"
        return "sync_standby" if said.get("sync_standby") else "replica"

    def postmaster(self):
        """The pid of the server, or None."""
        try:
            with open(os.path.join(self.directory, "postmaster.pid"), encoding="ascii") as f:
                pid = int(f.readline())
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                return pid if self.directory.encode() in f.read() else None
        except (OSError, ValueError):
            return None

    def record(self):
        """Tell the guardian of the server, which is no child of Patroni."""
        pid = self.postmaster()
        if pid and pid not in self.recorded:
            self.recorded.add(pid)
            self.cluster.rig.session.record_process(pid, f"postgresql-{self.name}")

    def kill(self):
        """Kill Patroni and all processes of the server at the same moment: the server does not end with Patroni."""
        kill_all(*filter(None, (self.daemon.pid, self.postmaster())))
        self.daemon.kill()

    def superuser_uri(self, database):
        return f"host={self.top} port={self.port} user=postgres dbname={database} connect_timeout=5"


class Patroni(Databases):
    """A cluster. ttl: the seconds after which a silent primary is replaced (Patroni's default is 30)."""

    def __init__(self, rig, count=3, ttl=20, is_synchronous=True):
        need_patroni()
        super().__init__(rig, "cluster")
        self.passwords.update({name: secrets.token_hex(12) for name in ("postgres", "replicator")})
        self.times = {"ttl": ttl, "loop_wait": 2, "retry_timeout": min(5, ttl // 4)}
        self.is_synchronous = is_synchronous
        self.etcd = Etcd(rig)
        self.members = [Member(self, number) for number in range(1, count + 1)]
        for member in self.members:
            rig.on_close(lambda member=member: self._end(member))
            member.start()
        self.wait_redundant(60)

    @staticmethod
    def _end(member):
        if member.daemon.popen is not None:
            member.kill()

    @property
    def hosts(self):
        return ",".join(f"127.0.0.1:{m.port}" for m in self.members)

    def uri(self, database, options=""):
        return super().uri(database, f"&target_session_attrs=read-write{options}")

    def superuser_uri(self, database="postgres"):
        return self.primary().superuser_uri(database)

    def roles(self):
        return {m.name: m.role() for m in self.members}

    def with_role(self, role):
        return [m for m in self.members if m.role() == role]

    def primary(self, seconds=60):
        """The member that is primary now; wait until there is one."""
        return wait_for(lambda: self.with_role("primary"), seconds, "a primary", self.describe)[0]

    def is_redundant(self):
        """Return true if all members are there, and one of them is a synchronous standby that streams."""
        roles = sorted(role or "" for role in self.roles().values())
        wanted = ["primary", *["replica"] * (len(self.members) - 2), "sync_standby" if self.is_synchronous else "replica"]
        if roles != wanted:
            return False
        try:
            found = self.execute("SELECT count(*), count(*) FILTER (WHERE sync_state = 'sync') FROM pg_stat_replication WHERE state = 'streaming'")
        except (libpq.SqlError, Failure):
            return False
        return found == [(len(self.members) - 1, int(self.is_synchronous))]

    def wait_redundant(self, seconds=90):
        wait_for(self.is_redundant, seconds, "all members of the cluster", self.describe)

    def lose(self, member):
        """Lose a machine with its disk."""
        member.kill()
        shutil.rmtree(member.directory)

    def replace(self, member):
        """Put a new machine in the place of one that was lost. Patroni copies the primary to it."""
        member.start()

    def describe(self):
        logs = "\n".join(f"--- {m.name}\n{m.daemon.log()[-1500:]}" for m in self.members if m.daemon.popen)
        return f"{self.roles()}\n{logs}"
