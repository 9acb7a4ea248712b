# SPDX-License-Identifier: ISC
"""Keys and certificates for a test, made by openssl(1)."""

import os
import subprocess

from .base import Failure, need_tools


class Certificate:
    """A certificate. path: a PEM file with its key and itself; fingerprint: SHA-256, with colons."""

    def __init__(self, path, fingerprint):
        self.path = path
        self.fingerprint = fingerprint


def _openssl(*argv, cwd=None):
    done = subprocess.run(["openssl", *argv], cwd=cwd, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=60)
    if done.returncode != 0:
        raise Failure(f"openssl {' '.join(argv)}: {done.stderr.decode()}")
    return done.stdout.decode()


class Authority:
    """A certificate authority for one test; path: the file of its certificate."""

    def __init__(self, rig, name="ca"):
        need_tools("openssl")
        self.rig = rig
        self.name = name
        self.path = rig.path(f"{name}.pem")
        self.key = rig.path(f"{name}.key")
        self._key(self.key)
        # Python 3.13 refuses an authority without keyUsage, and a certificate without authorityKeyIdentifier (in issue()).
        _openssl(
            "req", "-x509", "-new", "-key", self.key, "-subj", f"/CN={name}", "-days", "2", "-out", self.path,
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    @staticmethod
    def _key(path):
        _openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", path)

    def _finish(self, name, cert, key):
        path = self.rig.path(f"{name}.cert.pem")
        with open(path, "w", encoding="ascii") as out:
            for part in (key, cert):
                with open(part, encoding="ascii") as f:
                    out.write(f.read())
        os.chmod(path, 0o600)
        printed = _openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", cert)
        return Certificate(path, printed.strip().split("=", 1)[1])

    def issue(self, name, san, expired=False):
        """A certificate with these subject alternative names ("DNS:a.test,IP:127.0.0.1"), signed by this authority."""
        key, cert, request = (self.rig.path(f"{self.name}-{name}.{end}") for end in ("key", "crt", "csr"))
        self._key(key)
        config = self.rig.path(f"{self.name}-{name}.cnf")
        with open(config, "w", encoding="ascii") as f:
            f.write(
                "[ca]\ndefault_ca=c\n[c]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\n"
                f"policy=p\nx509_extensions=x\nrand_serial=yes\n[p]\ncommonName=supplied\n[x]\nsubjectAltName={san}\n"
                "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
            )
        directory = os.path.dirname(config)
        with open(os.path.join(directory, "index"), "w", encoding="ascii"):
            pass
        _openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        dates = ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"] if expired else ["-days", "2"]
        _openssl(
            "ca", "-batch", "-notext", "-config", config, "-cert", self.path, "-keyfile", self.key,
            "-in", request, "-out", cert, *dates, cwd=directory,
        )  # fmt: skip
        return self._finish(f"{self.name}-{name}", cert, key)

    def self_signed(self, name, san):
        """A certificate that is signed with its own key."""
        key, cert = (self.rig.path(f"{name}.{end}") for end in ("key", "crt"))
        self._key(key)
        _openssl(
            "req", "-x509", "-new", "-key", key, "-subj", f"/CN={name}", "-addext", f"subjectAltName={san}",
            "-days", "2", "-out", cert,
        )  # fmt: skip
        return self._finish(name, cert, key)
