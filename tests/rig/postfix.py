# SPDX-License-Identifier: ISC
"""Private Postfix instances. Only the shared files of the system's own Postfix are read, and nothing of it is changed."""

import functools
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import time

from .base import Failure, Skip, wait_for
from .guardian import start_time

SERVICES = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

MAIN = {
    "compatibility_level": "3.6",
    "mydestination": "",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "mynetworks": "127.0.0.0/8",
    "smtp_host_lookup": "native",
    "smtp_dns_support_level": "disabled",
    "smtpd_peername_lookup": "no",
    "smtputf8_enable": "yes",
    "local_transport": "error:5.1.1 no local mail here",
    "alias_maps": "",
    "alias_database": "",
    "local_recipient_maps": "",
    "local_header_rewrite_clients": "",
    "biff": "no",
    "smtpd_banner": "$myhostname ESMTP",
    "smtpd_client_connection_count_limit": "0",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    "smtpd_tls_security_level": "none",
    "smtp_tls_security_level": "none",
    "message_size_limit": "104857600",
    "mailbox_size_limit": "0",
    "in_flow_delay": "0",
    # Short, because tests do not wait for minutes. With less than 2 s qmgr(8) may find a message that a delivery agent still has
    # locked ("skipped, still being delivered"), and then leaves it for minutes.
    "queue_run_delay": "1s",
    "minimal_backoff_time": "2s",
    "maximal_backoff_time": "3s",
    "transport_retry_time": "1s",
    "delay_warning_time": "0h",
    "smtp_connect_timeout": "5s",
    "max_idle": "20s",
}


def write_old(path, text):
    """Write a file and date it back, because Postfix waits for a second before it reads a file that has just changed."""
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    date_back(path)


def date_back(path):
    past = time.time() - 60
    os.utime(path, (past, past))


def environment():
    """The environment with the sbin directories in PATH, where Debian has postfix(1)."""
    env = dict(os.environ)
    env["PATH"] = env.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    env.pop("MAIL_CONFIG", None)
    return env


@functools.cache
def version():
    """The version of Postfix: (3, 7)."""
    done = subprocess.run(["postconf", "-d", "-h", "mail_version"], stdout=subprocess.PIPE, env=environment(), check=True, timeout=60)
    return tuple(int(n) for n in re.findall(r"\d+", done.stdout.decode())[:2])


def postfix_user():
    """The uid and gid of Postfix's own account, or Skip."""
    try:
        entry = pwd.getpwnam("postfix")
    except KeyError:
        raise Skip("there is no user postfix") from None
    return entry.pw_uid, entry.pw_gid


class Postfix:
    """One instance. main: settings of main.cf in addition to MAIN; services: further lines of master.cf (with chroot n);
    listen: the ports of smtpd(8), by default one free port; smtpd_options: text that is put behind each of their lines."""

    def __init__(self, rig, name, main=None, services="", listen=None, smtpd_options="", directory=None):
        self.rig = rig
        self.name = name
        self.directory = directory or rig.path(f"pf-{name}")
        self.etc = os.path.join(self.directory, "etc")
        self.queue_directory = os.path.join(self.directory, "spool")
        self.data_directory = os.path.join(self.directory, "data")
        self.maillog = os.path.join(self.directory, "maillog")
        self.ports = list(listen or [rig.free_port()])
        self.address = ("127.0.0.1", self.ports[0])
        self.settings = dict(MAIN)
        self.settings.update(
            {
                "queue_directory": self.queue_directory,
                "data_directory": self.data_directory,
                "multi_instance_name": f"postfix-{name}",
                "maillog_file": self.maillog,
                "maillog_file_prefixes": self.directory,
                "myhostname": f"{name}.test",
                "myorigin": f"{name}.test",
                "syslog_name": f"postfix-{name}",
            }
        )
        self.settings.update(main or {})
        self.services = services
        self.smtpd_options = smtpd_options
        self.master = None
        self.create()
        rig.show_on_failure(f"maillog of {name}", self.maillog)
        rig.on_close(self.stop)

    @property
    def bracketed(self):
        return f"[127.0.0.1]:{self.address[1]}"

    def create(self):
        """Make the directories and both configuration files."""
        uid, gid = postfix_user()
        for path in (self.directory, self.etc, self.queue_directory, self.data_directory):
            os.makedirs(path, mode=0o755)
        os.chown(self.data_directory, uid, gid)
        self.write_configuration()

    def write_configuration(self):
        inet = "".join(f"127.0.0.1:{p} inet n - n - - smtpd{self.smtpd_options}\n" for p in self.ports)
        write_old(os.path.join(self.etc, "master.cf"), inet + SERVICES + self.services)
        write_old(os.path.join(self.etc, "main.cf"), "".join(f"{k} = {v}\n" for k, v in self.settings.items()))

    def write(self, name, text):
        """Write a table in config_directory. Returns its path."""
        path = os.path.join(self.etc, name)
        write_old(path, text)
        return path

    def run(self, *argv, check=True):
        """Run a Postfix command with this instance's configuration. Returns its standard output."""
        done = subprocess.run(
            [argv[0], "-c", self.etc, *argv[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=environment(),
            check=False,
            timeout=60,
        )
        if check and done.returncode != 0:
            raise Failure(
                f"{' '.join(argv)} for {self.name}: exit {done.returncode}: {done.stderr.decode()}\n{self.log()[-3000:]}"
            )
        return done.stdout.decode("utf-8", "replace")

    def set(self, **settings):
        """Change settings in main.cf; reload() makes a running instance take them."""
        self.settings.update(settings)
        self.write_configuration()

    def start_command(self):
        self.run("postfix", "start")

    def start(self):
        """Start, and wait until it takes connections."""
        self.start_command()
        with open(os.path.join(self.queue_directory, "pid", "master.pid"), encoding="ascii") as f:
            self.master = int(f.read().split()[0])
        self.rig.session.record_process(self.master, f"master-{self.name}")

    def reload(self):
        self.run("postfix", "reload")

    def flush(self):
        """Attempt all deliveries in the queue now."""
        self.run("postqueue", "-f")

    def stop(self):
        """Stop master and its children; with force after 5 s."""
        master, self.master = self.master, None
        if master is None or start_time(master) is None:
            return
        os.kill(master, signal.SIGTERM)
        end = time.monotonic() + 5
        while start_time(master) is not None:
            if time.monotonic() > end:
                os.killpg(master, signal.SIGKILL)
            time.sleep(0.02)
        try:
            os.killpg(master, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def log(self):
        try:
            with open(self.maillog, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log_lines(self, pattern):
        """The log lines in which the regular expression is found."""
        found = re.compile(pattern)
        return [ln for ln in self.log().split("\n") if found.search(ln)]

    def wait_log(self, pattern, seconds=15, count=1):
        def there():
            lines = self.log_lines(pattern)
            return lines if len(lines) >= count else None

        return wait_for(there, seconds, f"{count} lines /{pattern}/ in the log of {self.name}")

    def queue_files(self):
        """The paths of all messages in the queue, in any state."""
        found = []
        for state in ("maildrop", "incoming", "active", "deferred", "hold"):
            for directory, _, files in os.walk(os.path.join(self.queue_directory, state)):
                found += [os.path.join(directory, f) for f in files]
        return found

    def queue(self):
        """The parsed output of postqueue -j."""
        return [json.loads(ln) for ln in self.run("postqueue", "-j").split("\n") if ln]

    def wait_empty(self, seconds=20):
        wait_for(lambda: not self.queue_files(), seconds, f"an empty queue of {self.name}", lambda: self.run("postqueue", "-p"))

    def remove(self):
        """Stop the instance and delete its directory, for benchmarks that make many instances."""
        self.stop()
        shutil.rmtree(self.directory)
