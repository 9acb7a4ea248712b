# SPDX-License-Identifier: ISC
"""Private LDAP servers (OpenLDAP's slapd). The system's own slapd is not touched.

    server = rig.Slapd(r, "ldap1")
    server.load([("ou=people,dc=example,dc=com", {"objectClass": ["organizationalUnit"], "ou": ["people"]})])
    server.url                  # "ldap://127.0.0.1:20389"; also ldapi_url, and ldaps_url if it has a certificate

The server listens at 127.0.0.1 and at a unix socket. Reading needs no authentication, except for passwords. READER may bind, with
`password`; over the unix socket the user who runs the test is READER by SASL EXTERNAL.

The schema has attributes of its own, which extensibleObject allows:

    splitKey, splitUser, splitDomain    compared byte by byte, several values
    splitAddress, maildrop, mailacceptinggeneralid, splitLeaf, splitTerminal    text, compared without case
    splitMember     DN
    splitUrl        text that is compared with case
"""

import base64
import os
import shutil
import signal
import socket
import subprocess

from .base import Failure, Skip, TIME_FACTOR
from .daemons import Daemon, accepts

SUFFIX = "dc=example,dc=com"
READER = f"cn=postfix,{SUFFIX}"
SCHEMA_DIRECTORIES = ("/etc/ldap/schema", "/etc/openldap/schema", "/usr/share/openldap/schema")
MODULE_DIRECTORIES = ("/usr/lib/ldap", "/usr/lib64/openldap", "/usr/lib/openldap")
OCTETS = "EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40"
TEXT = "EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15"
ATTRIBUTES = {
    "splitKey": OCTETS,
    "splitUser": OCTETS,
    "splitDomain": OCTETS,
    "splitAddress": TEXT,
    "maildrop": TEXT,
    "mailacceptinggeneralid": TEXT,
    "splitLeaf": TEXT,
    "splitTerminal": TEXT,
    "splitMember": "EQUALITY distinguishedNameMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.12",
    "splitUrl": "EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15",
}


def _first(paths, name):
    """The first of these directories that exists, or Skip."""
    for path in paths:
        if os.path.isdir(path):
            return path
    raise Skip(f"not installed: {name}")


def find_slapd():
    """The path of slapd, or Skip."""
    path = shutil.which("slapd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/libexec:/usr/lib/openldap")
    if path is None:
        raise Skip("not installed: slapd")
    return path


def escape_dn(value):
    """A value as part of a DN (RFC 4514): everything but letters and digits as hexadecimal pairs."""
    return "".join(chr(b) if chr(b).isalnum() and b < 0x80 else f"\\{b:02X}" for b in value.encode())


def ldif(entries):
    """Entries [(DN, {attribute: [value, ...]}), ...] as LDIF. Values are str or bytes."""

    def encode(value):
        return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()

    lines = []
    for dn, attributes in entries:
        lines.append(f"dn:: {encode(dn)}")
        lines += [f"{name}:: {encode(value)}" for name, values in attributes.items() for value in values]
        lines.append("")
    return "\n".join(lines) + "\n"


def answers(address):
    """Return true if a server answers an anonymous bind (RFC 4511 4.2)."""
    try:
        with socket.create_connection(address, 2) as s:
            s.sendall(bytes.fromhex("300c020101600702010304008000"))
            return s.recv(1) == b"0"
    except OSError:
        return False


class Slapd:
    """One server. certificate: a Certificate for ldaps: and StartTLS, with the Authority that client certificates must be of
    (verify: "demand": each client must have one); referral: the URL that it gives for what is outside of SUFFIX; options:
    further lines of slapd.conf, before the database; password: of READER."""

    def __init__(self, rig, name, certificate=None, authority=None, referral=None, options="", password="reader", port=None, verify="try"):
        self.rig = rig
        self.name = name
        self.program = find_slapd()
        self.password = password
        self.port = port or rig.free_port()
        self.address = ("127.0.0.1", self.port)
        self.url = f"ldap://127.0.0.1:{self.port}"
        self.ldapi_path = rig.path(f"{name}.ldapi")
        self.ldapi_url = f"ldapi://{self.ldapi_path.replace('/', '%2F')}"
        self.urls = [self.url, self.ldapi_url]
        self.tls_port = None
        self.ldaps_url = None
        if certificate:
            self.tls_port = rig.free_port()
            self.ldaps_url = f"ldaps://127.0.0.1:{self.tls_port}"
            self.urls.append(self.ldaps_url)
        self.database = rig.path(f"{name}-data")
        os.makedirs(self.database, mode=0o700)
        self.configuration = rig.write(f"{name}.slapd.conf", self._configuration(certificate, authority, verify, referral, options), 0o600)
        self.daemon = Daemon(
            rig, f"slapd-{name}", [self.program, "-d", "0", "-h", " ".join(f"{u}/" for u in self.urls), "-f", self.configuration],
            stop_signal=signal.SIGTERM,
        )
        rig.on_close(self._end)
        self.load([])

    def _end(self):
        """Kill the server at the end: if it has just started, it may end with status 1 after SIGTERM, although it answers."""
        if self.daemon.popen is not None:
            self.daemon.kill()

    def _configuration(self, certificate, authority, verify, referral, options):
        schema = _first(SCHEMA_DIRECTORIES, "slapd's schema")
        modules = _first(MODULE_DIRECTORIES, "slapd's modules")
        lines = [f"include {schema}/{n}.schema" for n in ("core", "cosine", "inetorgperson")]
        for i, (name, definition) in enumerate(ATTRIBUTES.items()):
            lines.append(f"attributetype ( 1.3.6.1.4.1.4203.666.1.999.{i + 1} NAME '{name}' {definition} )")
        lines += [
            f"pidfile {self.rig.path(self.name)}.pid",
            f"modulepath {modules}",
            "moduleload back_mdb",
            "sizelimit unlimited",
            "threads 4",
            # The names of users of the system who bind with SASL EXTERNAL over the unix socket.
            f'authz-regexp "gidNumber=[0-9]+[+]uidNumber={os.getuid()},cn=peercred,cn=external,cn=auth" "{READER}"',
            f'authz-regexp "uid=postfix,(cn=[^,]+,)+cn=auth" "{READER}"',
        ]
        if certificate:
            lines += [f"TLSCertificateFile {certificate.path}", f"TLSCertificateKeyFile {certificate.path}"]
        if authority:
            lines += [f"TLSCACertificateFile {authority.path}", f"TLSVerifyClient {verify}"]
        if referral:
            lines.append(f"referral {referral}")
        lines += [
            options,
            "database mdb",
            f'suffix "{SUFFIX}"',
            f'rootdn "cn=admin,{SUFFIX}"',
            f"directory {self.database}",
            "maxsize 268435456",
            "dbnosync",
            "index splitKey,splitUser,splitDomain,splitAddress,maildrop eq",
            "access to attrs=userPassword by anonymous auth by * none",
            "access to * by * read",
        ]
        return "\n".join(lines) + "\n"

    def load(self, entries):
        """Replace everything below SUFFIX by these entries, parents first, and by SUFFIX and READER themselves. The server must not
        run."""
        shutil.rmtree(self.database)
        os.makedirs(self.database, mode=0o700)
        own = [
            (SUFFIX, {"objectClass": ["dcObject", "organization"], "dc": ["example"], "o": ["example"]}),
            (READER, {"objectClass": ["person"], "cn": ["postfix"], "sn": ["postfix"], "userPassword": [self.password]}),
        ]
        path = self.rig.write(f"{self.name}.ldif", ldif(own + list(entries)))
        self._run("slapadd", "-q", "-f", self.configuration, "-l", path)

    def dump(self):
        """All entries, with their operational attributes, as LDIF."""
        return self._run("slapcat", "-f", self.configuration)

    def _run(self, tool, *arguments):
        done = subprocess.run(
            [self.program, "-T", tool[4:], *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=60 * TIME_FACTOR, check=False,
        )
        if done.returncode != 0:
            raise Failure(f"{tool} {' '.join(arguments)}: exit {done.returncode}\n{done.stderr.decode('utf-8', 'replace')[-3000:]}")
        return done.stdout.decode()

    @property
    def pid(self):
        return self.daemon.pid

    def start(self):
        """Start the server, and wait until it answers: one that is stopped before that fails."""
        self.daemon.start(lambda: answers(self.address) and accepts(self.ldapi_path), 30)
        return self

    def stop(self):
        self.daemon.stop()

    def kill(self):
        self.daemon.kill()

    def freeze(self):
        """Stop the server with SIGSTOP, all its threads: its clients wait, and no connection is closed."""
        self.daemon.freeze()

    def thaw(self):
        self.daemon.thaw()
