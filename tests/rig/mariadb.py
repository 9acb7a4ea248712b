# SPDX-License-Identifier: ISC
"""Private MariaDB servers, and a server that speaks their protocol and misbehaves. The system's own server is not touched.

    server = rig.MariaDb(r, "db1")
    server.execute("CREATE DATABASE mail")
    server.add_user("split", "secret", "mail")

A server runs as the user mysql, or nobody. It listens at 127.0.0.1, and at a unix socket in a directory of its own.
"""

import contextlib
import os
import pwd
import shutil
import socketserver
import subprocess
import threading
import time

from .base import Failure, Skip, TIME_FACTOR, need_tools
from .daemons import Daemon

# Each commit is written, but not synced: a killed process loses nothing; a machine would.
SETTINGS = {
    "innodb_buffer_pool_size": "16M", "innodb_log_file_size": "8M", "innodb_flush_log_at_trx_commit": "2", "innodb_flush_method": "fsync", "key_buffer_size": "1M",
    "max_connections": "100", "performance_schema": "OFF", "skip_log_bin": None, "skip_name_resolve": None, "character_set_server": "utf8mb4", "collation_server": "utf8mb4_general_ci",
}


def account():
    """The uid and gid that servers run as: mariadbd refuses to run as root."""
    for name in ("mysql", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise Skip("there is neither a user mysql nor a user nobody")


def need_server():
    need_tools("mariadbd", "mariadb", "mariadb-install-db")


def _template(rig):
    """A data directory with the system tables alone, which is made once for all tests of a session.

    It is made in a TMPDIR of its own: mariadbd removes each #sql* file of its TMPDIR when it starts, also those of other servers."""
    path = os.path.join(rig.session.directory, "mariadb-template")
    if not os.path.exists(path):
        uid, gid = account()
        for directory in (path, f"{path}-tmp"):
            os.mkdir(directory, 0o700)
            os.chown(directory, uid, gid)
        done = subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={path}", "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb_log_file_size=8M"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", user=uid, group=gid, extra_groups=(),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TMPDIR": f"{path}-tmp"}, timeout=120 * TIME_FACTOR, check=False,
        )
        if done.returncode != 0:
            shutil.rmtree(path)
            shutil.rmtree(f"{path}-tmp")
            raise Failure(f"mariadb-install-db: exit {done.returncode}\n{done.stdout.decode('utf-8', 'replace')}")
    return path


class MariaDb:
    """One server. settings: of mariadbd, in addition to those above; None as value: without value. certificate, authority: those of
    rig.certificates, for TLS."""

    def __init__(self, rig, name="mariadb", settings=None, certificate=None, authority=None, start=True):
        need_server()
        self.rig = rig
        self.name = name
        self.port = rig.free_port()
        self.address = ("127.0.0.1", self.port)
        self.directory = rig.path(name)
        self.socket = os.path.join(self.directory, "sock")
        uid, gid = account()
        os.mkdir(self.directory, 0o755)
        os.chown(self.directory, uid, gid)
        subprocess.run(["cp", "-a", _template(rig), os.path.join(self.directory, "data")], check=True, timeout=120 * TIME_FACTOR)
        all_settings = {
            **SETTINGS, "datadir": os.path.join(self.directory, "data"), "socket": self.socket, "port": str(self.port), "bind_address": "127.0.0.1",
            "pid_file": os.path.join(self.directory, "pid"), "tmpdir": self.directory, **self._tls(certificate, authority), **(settings or {}),
        }
        argv = [shutil.which("mariadbd", path=os.environ.get("PATH", "") + ":/usr/sbin"), "--no-defaults"]
        argv += [f"--{n}" if v is None else f"--{n}={v}" for n, v in all_settings.items()]
        self.daemon = Daemon(rig, f"mariadbd-{name}", argv, user=(uid, gid))
        if start:
            self.start()

    def _tls(self, certificate, authority):
        """Copies of the files, which the server may read. Without a certificate there is no TLS."""
        if certificate is None:
            return {"skip_ssl": None}
        settings = {"ssl_cert": certificate.path, "ssl_key": certificate.path, "ssl_ca": authority.path}
        for name, path in settings.items():
            settings[name] = shutil.copy(path, os.path.join(self.directory, name))
            os.chown(settings[name], *account())
        return settings

    def _client(self, *options):
        # From 11.4 on the client wants a certificate that it can verify, also at a unix socket.
        return ["mariadb", "--no-defaults", "--skip-ssl", "--batch", "--skip-column-names", "--default-character-set=utf8mb4", f"--socket={self.socket}", "--user=root", *options]

    def execute(self, sql, database=None):
        """Execute statements as root. Returns the rows, as tuples of str; values with line ends or tabs should be asked for as HEX()."""
        done = subprocess.run(self._client(*([database] if database else [])), input=sql.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60 * TIME_FACTOR, check=False)
        if done.returncode != 0:
            raise Failure(f"{sql[:300]}: {done.stderr.decode('utf-8', 'replace')}")
        return [tuple(line.split("\t")) for line in done.stdout.decode().splitlines()]

    def session(self, database):
        """A Session of the client, for many statements."""
        return Session(self.rig, self._client("--unbuffered", database))

    def add_user(self, name, password, database, requires=""):
        """Make a user with all rights on the database. requires: "REQUIRE SSL" or the like."""
        for host in ("localhost", "127.0.0.1"):
            self.execute(f"CREATE USER '{name}'@'{host}' IDENTIFIED BY '{password}' {requires}; GRANT ALL ON {database}.* TO '{name}'@'{host}'")

    def answers(self):
        try:
            return self.execute("SELECT 1") == [("1",)]
        except Failure:
            return False

    def start(self):
        """Start the server, and wait until it answers."""
        self.daemon.start(self.answers, 60)
        return self

    def stop(self):
        """Stop the server cleanly. Its clients are disconnected."""
        self.daemon.stop(60)

    def kill(self):
        self.daemon.kill()

    def freeze(self):
        """Stop the server with SIGSTOP: its clients wait, and no connection is closed."""
        self.daemon.freeze()

    def thaw(self):
        self.daemon.thaw()


class Session:
    """A running client, mariadb(1)."""

    def __init__(self, rig, argv):
        self._popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        rig.on_close(self.close)

    def value(self, sql):
        """Execute a statement that has one row with one column. Returns its text."""
        self._popen.stdin.write(sql.encode() + b";\n")
        self._popen.stdin.flush()
        line = self._popen.stdout.readline()
        if not line:
            raise Failure(f"{sql}: the client ended")
        return line[:-1].decode()

    def close(self):
        self._popen.kill()
        self._popen.wait()
        self._popen.stdin.close()
        self._popen.stdout.close()


# --- a server that misbehaves ---------------------------------------------------------------------------------------------------

OK = b"\x00\x00\x00\x02\x00\x00\x00"
EOF = b"\xfe\x00\x00\x02\x00"
CAPABILITIES = 0x0BA28F  # protocol 4.1, a database, several results, LOAD DATA LOCAL, plug-ins for authentication
TLS = 0x800


def length(number):
    """An integer as the protocol encodes it."""
    return bytes([number]) if number < 251 else b"\xfc" + number.to_bytes(2, "little") if number < 65536 else b"\xfd" + number.to_bytes(3, "little")


def text(value):
    """A string with its length; None: NULL."""
    if value is None:
        return b"\xfb"
    value = value.encode() if isinstance(value, str) else value
    return length(len(value)) + value


def error(code, state="HY000", message="as the test wants it"):
    """The packet of an error."""
    return b"\xff" + code.to_bytes(2, "little") + b"#" + state.encode() + message.encode()


def rows(*values, more=False):
    """The packets of a result with one column."""
    column = text("def") + text("d") + text("t") + text("t") + text("c") + text("c") + b"\x0c\x2d\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00"
    end = b"\xfe\x00\x00\x0a\x00" if more else EOF
    return [length(1), column, EOF, *(text(v) for v in values), end]


class FakeMariaDb:
    """Listens at `address`, and accepts each client and each SET statement.

    answer: the answer to a query: a list of packets (bytes), or a function that is called with the connection (a FakeConnection)
    and the query, and may return such a list.
    greet: is called with the connection before anything else; by default it sends a greeting.
    capabilities: what the greeting offers. version: of the server.
    setting_answer: the packet that answers SET SESSION. settings: the texts of all SET SESSION.
    plugin: the client is asked to authenticate with this plugin ("": it is accepted), prompt: with these data.
    queries: the texts of all queries. received: the client's reply to the plugin, and all bytes that came after it was accepted.
    """

    def __init__(self, rig, answer):
        self.answer = answer
        self.greet = FakeConnection.greet
        self.capabilities = CAPABILITIES
        self.version = "5.5.5-10.11.0-MariaDB"
        self.setting_answer = OK
        self.settings = []
        self.plugin, self.prompt = "", b""
        self.queries = []
        self.received = b""
        self.released = threading.Event()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError, EOFError):
                    outer._serve(FakeConnection(self.request, outer))

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", rig.free_port()), Handler)
        self.address = self._server.server_address
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        rig.on_close(self.stop)

    def stop(self):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, connection):
        self.greet(connection)
        connection.read()  # the client's reply to the greeting
        if self.plugin:
            connection.send(b"\xfe" + self.plugin.encode() + b"\x00" + self.prompt)
            self.received += connection.read()
        connection.send(OK)
        while True:
            command = connection.read(first=True)
            self.received += command
            if command[:1] != b"\x03":
                return
            query = command[1:].decode("utf-8", "surrogateescape")
            if query.startswith("SET NAMES"):
                connection.send(OK)
                continue
            if query.startswith("SET SESSION"):
                self.settings.append(query)
                connection.send(self.setting_answer)
                continue
            self.queries.append(query)
            packets = self.answer(connection, query) if callable(self.answer) else self.answer
            for packet in packets or ():
                connection.send(packet)


class FakeConnection:
    def __init__(self, sock, server):
        self.sock = sock
        self.server = server
        self.number = 0

    def greet(self):
        low, high = self.server.capabilities & 0xFFFF, self.server.capabilities >> 16
        self.send(
            b"\x0a" + self.server.version.encode() + b"\x00" + (1).to_bytes(4, "little") + b"saltsalt\x00" + low.to_bytes(2, "little") + b"\x2d\x02\x00" + high.to_bytes(2, "little")
            + b"\x15" + b"\x00" * 10 + b"saltsaltsalt\x00" + b"mysql_native_password\x00"
        )

    def send(self, packet):
        """Send a packet, which may be longer than the 16 MB that fit into one."""
        while True:
            part, packet = packet[:0xFFFFFF], packet[0xFFFFFF:]
            self.sock.sendall(len(part).to_bytes(3, "little") + bytes([self.number]) + part)
            self.number = (self.number + 1) % 256
            if len(part) < 0xFFFFFF:
                return

    def _read_bytes(self, count):
        data = b""
        while len(data) < count:
            chunk = self.sock.recv(count - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def read(self, first=False):
        """The next packet of the client. first: it begins a command."""
        head = self._read_bytes(4)
        if not first:
            assert head[3] == self.number, f"packet {head[3]} instead of {self.number}"
        self.number = head[3] + 1
        return self._read_bytes(int.from_bytes(head[:3], "little"))

    def hang(self):
        """Send nothing until the server is stopped."""
        self.server.released.wait(120)
        raise EOFError

    def trickle(self, data, seconds):
        """Send data byte by byte, with a pause after each."""
        for i in range(len(data)):
            self.sock.sendall(data[i : i + 1])
            if self.server.released.wait(seconds):
                raise EOFError

    def flood(self, packets, seconds):
        """Send the packets again and again, as fast as the client reads them."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.server.released.is_set():
            data = b""
            for packet in packets * 5000:
                data += len(packet).to_bytes(3, "little") + bytes([self.number]) + packet
                self.number = (self.number + 1) % 256
            self.sock.sendall(data)
        raise EOFError
