# SPDX-License-Identifier: ISC
"""Private PostgreSQL servers, alone or with a standby that replicates synchronously. The system's own cluster is not touched.

    server = rig.Postgres(r, "db1")
    standby = server.add_standby("db2")
    server.replicate(standby)
    uri = server.create_database("splitmilter")     # for the option queue of splitrelay

A server runs as the user postgres. It listens at 127.0.0.1, with passwords, and at a unix socket in a directory of its own, without.

`python3 -m rig.postgres COMMAND...` (with PYTHONPATH=tests) runs a command with a server; the environment variable
SPLIT_POSTGRESQL has the URI of an empty database, for the unit tests.
"""

import glob
import os
import pwd
import secrets
import signal
import subprocess
import sys

from . import libpq
from .base import Failure, Rig, Session, Skip, TIME_FACTOR, wait_for
from .daemons import Daemon, program, stop_all, wait_ends

ROLE = "splitrelay"
DURABLE = {"wal_level": "replica", "wal_keep_size": "256MB", "max_wal_senders": "10", "max_connections": "100", "shared_buffers": "32MB", "log_line_prefix": "%m [%p] %a ", "log_checkpoints": "off", "dynamic_shared_memory_type": "mmap"}  # mmap: a killed server leaves nothing in /dev/shm
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on"}  # without fsync a killed process loses nothing; a machine would


def programs():
    """The directory of the newest server's programs, or Skip."""
    found = [d for d in glob.glob("/usr/lib/postgresql/*/bin") if os.access(f"{d}/initdb", os.X_OK)]
    if not found:
        raise Skip("not installed: postgresql")
    return max(found, key=lambda d: float(d.split("/")[4]))


def need_client():
    """Skip unless splitrelay is linked with libpq."""
    with open(program("splitrelay"), "rb") as f:
        if b"libpq.so" not in f.read():
            raise Skip("splitrelay is built without PostgreSQL")


def account():
    """The uid and gid that servers run as: PostgreSQL refuses to run as root."""
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise Skip("there is neither a user postgres nor a user nobody")


def private_directory(path):
    """Make a directory that only the servers' user, and root, can enter."""
    os.makedirs(path, mode=0o700)
    os.chown(path, *account())
    return path


def run_tool(rig, name, *arguments):
    """Run a program of PostgreSQL as the servers' user. Its exit status has to be 0."""
    uid, gid = account()
    done = subprocess.run(
        [os.path.join(programs(), name), *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=rig.directory, user=uid, group=gid, extra_groups=(),
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, timeout=60 * TIME_FACTOR, check=False,
    )
    if done.returncode != 0:
        raise Failure(f"{name} {' '.join(arguments)}: exit {done.returncode}\n{done.stdout.decode('utf-8', 'replace')}")


def kill_all(*pids):
    """Send SIGKILL to these processes and all below them, as when a machine loses power: none of them does anything after the
    others are gone. Waits until they have ended: a server does not start while a process of the old one has its shared memory."""
    found = stop_all(*pids)
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_ends(found)


class Databases:
    """What a server and a cluster share: passwords, and databases for splitrelay."""

    def __init__(self, rig, name):
        self.rig = rig
        self.passwords = {ROLE: secrets.token_hex(12)}
        self.passfile = rig.write(f"{name}.passwords", f"*:*:*:{ROLE}:{self.passwords[ROLE]}\n", 0o600)

    def execute(self, sql, *values, database="postgres"):
        """Execute a statement as the superuser, at the primary. Returns the rows."""
        return libpq.execute(self.superuser_uri(database), sql, *values)

    def set(self, **settings):
        """Change settings of the server while it runs; None: back to the default."""
        with libpq.Connection(self.superuser_uri()) as connection:
            for name, value in settings.items():
                connection.execute(f"ALTER SYSTEM RESET {name}" if value is None else f"ALTER SYSTEM SET {name} = '{value}'")
            connection.execute("SELECT pg_reload_conf()")
            for name, value in settings.items():
                if value is not None:
                    wait_for(lambda name=name, value=value: connection.execute(f"SHOW {name}") == [(value,)], 10, f"{name} = {value}")

    def create_database(self, name, options=""):
        """Make a database for splitrelay, and its role. Returns its URI, with further options of the URI ("&sslmode=disable").
        Skips unless splitrelay is built with PostgreSQL."""
        need_client()
        if not self.execute("SELECT 1 FROM pg_roles WHERE rolname = $1", ROLE):
            self.execute(f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{self.passwords[ROLE]}' IN ROLE pg_monitor")
        self.execute(f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE template0 ENCODING 'UTF8'")
        return self.uri(name, options)

    def uri(self, database, options=""):
        return f"postgresql://{ROLE}@{self.hosts}/{database}?passfile={self.passfile}{options}"


class Postgres(Databases):
    """One server. settings: of postgresql.conf, in addition to those above; is_durable: with fsync; copy_of: the primary whose
    standby it is; cable: a Cable, at whose far end it runs."""

    def __init__(self, rig, name, settings=None, is_durable=False, start=True, copy_of=None, cable=None):
        super().__init__(rig, name)
        self.name = name
        self.port = rig.free_port()
        self.cable = cable
        self.address = (cable.host if cable else "127.0.0.1", self.port)
        self.hosts = f"{self.address[0]}:{self.port}"
        self.directory = private_directory(rig.path(f"{name}-data"))
        self.socket_directory = private_directory(rig.path(f"{name}-socket"))
        self.settings = {**DURABLE, **({} if is_durable else FAST), **(settings or {})}
        if copy_of is None:
            self._create()
        else:
            self.settings, self.passwords, self.passfile = copy_of.settings, copy_of.passwords, copy_of.passfile
            self._copy(copy_of)
        argv = [os.path.join(programs(), "postgres"), "-D", self.directory, "-p", str(self.port), "-k", self.socket_directory,
                "-h", self.address[0]]
        uid, gid = account()
        if cable:  # only root may go to another network
            argv = [*cable.wrapper, "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *argv]
        self.daemon = Daemon(rig, f"postgresql-{name}", argv, user=None if cable else (uid, gid), stop_signal=signal.SIGINT)
        if start:
            self.start()

    def _create(self):
        run_tool(self.rig, "initdb", "-D", self.directory, "-U", "postgres", "-A", "trust", "--auth-host=scram-sha-256", "-E", "UTF8",
                 "--locale=C", "--no-sync", "--no-instructions")
        with open(os.path.join(self.directory, "postgresql.conf"), "a", encoding="ascii") as f:
            f.writelines(f"{name} = '{value}'\n" for name, value in self.settings.items())
        with open(os.path.join(self.directory, "pg_hba.conf"), "a", encoding="ascii") as f:
            f.write("host all all samenet scram-sha-256\n")

    def _copy(self, primary):
        source = f"{primary.superuser_uri('replication')} application_name={self.name}"
        run_tool(self.rig, "pg_basebackup", "-D", self.directory, "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync")

    def superuser_uri(self, database="postgres"):
        return f"host={self.socket_directory} port={self.port} user=postgres dbname={database} connect_timeout=5"

    def answers(self):
        try:
            return self.execute("SELECT 1") == [(1,)]
        except libpq.SqlError:
            return False

    def start(self):
        """Start the server, and wait until it answers."""
        self.daemon.start(self.answers, 30)
        return self

    def stop(self):
        """Stop the server cleanly. Its clients are disconnected."""
        self.daemon.stop()

    def kill(self):
        """Send SIGKILL to all processes of the server."""
        kill_all(self.daemon.pid)
        self.daemon.kill()

    def freeze(self):
        """Stop all processes of the server with SIGSTOP: its clients wait, and no connection is closed."""
        self.daemon.freeze()

    def thaw(self):
        self.daemon.thaw()

    def add_standby(self, name):
        """Make and start another server that replicates this one; replicate() makes it synchronous."""
        return Postgres(self.rig, name, copy_of=self, cable=self.cable)

    def replicate(self, *standbys):
        """Let commits wait for one of the standbys, and wait until one is there. Without standbys: replication is asynchronous."""
        names = ", ".join(s.name for s in standbys)
        self.set(synchronous_standby_names=f"ANY 1 ({names})" if names else "")
        if standbys:
            wait_for(self.is_replicating, 20, f"synchronous replication from {self.name}", self.daemon.log)

    def is_replicating(self):
        return bool(self.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming'"))


def pair(rig, **options):
    """A primary and its synchronous standby. options: of Postgres."""
    primary = Postgres(rig, "db1", **options)
    standby = primary.add_standby("db2")
    primary.replicate(standby)
    return primary, standby


def main():
    """Run a command with a server."""
    session = Session("postgresql")
    status = 1
    rig = Rig(session, "postgresql")
    try:
        server = Postgres(rig, "db")
        environment = {**os.environ, "SPLIT_POSTGRESQL": server.create_database("splitmilter")}
        status = subprocess.run(sys.argv[1:], env=environment, check=False).returncode
    except Skip as e:
        print(f"SKIP: {e}")
        status = 77
    finally:
        for text in rig.close():
            print(text)
        session.close()
    sys.exit(status)


if __name__ == "__main__":
    main()
