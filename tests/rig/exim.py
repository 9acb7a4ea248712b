# SPDX-License-Identifier: ISC
"""A private Exim as a destination. ./dev unpacks it from its package, without an installation. Exim needs a user of its own:
in its mount namespace, files with that user cover /etc/passwd and /etc/group."""

import glob
import os
import shutil
import subprocess

from .base import Skip
from .daemons import TOP, Daemon, accepts

UID = 64990
_START = 'mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group && shift && exec "$@"'


def exim_program():
    """The program that ./dev has unpacked, in SPLIT_EXIM_ROOT or build/exim of the checkout; or Skip."""
    root = os.environ.get("SPLIT_EXIM_ROOT") or os.path.join(TOP, "build", "exim")
    path = os.path.join(root, "usr", "sbin", "exim4")
    if not os.access(path, os.X_OK):
        raise Skip(f"no Exim in {root}")
    return path


def by_port(values, otherwise):
    """A string that Exim expands to the value for the port of the connection, or to `otherwise` for other ports."""
    text = otherwise
    for port, value in values.items():
        text = f"${{if eq{{$received_port}}{{{port}}}{{{value}}}{{{text}}}}}"
    return text


class Exim:
    """Accepts mail at several ports, and passes all of it on to the sink. tls: port -> (certificate, addition to the priority
    string), for the ports that offer TLS."""

    def __init__(self, rig, name, sink, ports, tls):
        program = exim_program()
        if subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            raise Skip("unshare -m is not allowed")
        self.directory = rig.path(f"exim-{name}")
        self.ports = ports
        for path in ("", "spool", "certs"):
            os.makedirs(os.path.join(self.directory, path), mode=0o755, exist_ok=True)
        for file, line in (("passwd", f"Debian-exim:x:{UID}:{UID}::/:/bin/false\n"), ("group", f"Debian-exim:x:{UID}:\n")):
            with open(os.path.join(self.directory, file), "w", encoding="utf-8") as out, open(f"/etc/{file}", encoding="utf-8") as f:
                out.write("".join(ln for ln in f if not ln.startswith("Debian-exim:")) + line)
        certificates, priorities = {}, {}
        for port, (certificate, priority) in tls.items():
            certificates[port] = shutil.copy(certificate.path, os.path.join(self.directory, "certs", str(port)))
            os.chmod(certificates[port], 0o644)
            priorities[port] = f"NORMAL{priority}"
        for path in (self.directory, os.path.join(self.directory, "spool")):
            shutil.chown(path, UID, UID)
        configuration = os.path.join(self.directory, "exim.conf")
        with open(configuration, "w", encoding="utf-8") as f:
            f.write(self.text(program, sink, certificates, priorities))
        argv = ["unshare", "-m", "sh", "-c", _START, "sh", self.directory, program, "-bdf", "-C", configuration]
        libraries = glob.glob(os.path.join(program[: -len("usr/sbin/exim4")], "usr/lib/*-linux-gnu"))
        env = {"LD_LIBRARY_PATH": ":".join(libraries)}
        Daemon(rig, f"exim-{name}", argv, env).start(lambda: all(accepts(("127.0.0.1", p)) for p in ports))

    def text(self, program, sink, certificates, priorities):
        return f"""
exim_path = {program}
spool_directory = {self.directory}/spool
log_file_path = {self.directory}/spool/%slog
pid_file_path = {self.directory}/spool/pid
primary_hostname = exim.test
keep_environment =
local_interfaces = {' : '.join(f'127.0.0.1.{p}' for p in self.ports)}
daemon_smtp_ports = {self.ports[0]}
deliver_drop_privilege = true
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
tls_advertise_hosts = {by_port({port: '*' for port in certificates}, '')}
tls_certificate = {by_port(certificates, '')}
tls_require_ciphers = {by_port(priorities, 'NORMAL')}
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin acl
accept:
  accept
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = {sink.address[1]}
  hosts_try_auth =
  tls_try_verify_hosts =
  hosts_avoid_tls = *
begin retry
* * F,1h,1s
"""
