#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A real systemd-journald gets the lines of the daemons with fields, so that journalctl finds a copy by its id. The daemons, the
journal and the test have a mount namespace of their own."""

import ctypes
import json
import os
import signal
import subprocess

import rig
from rig.daemons import Daemon

JOURNALD = "/lib/systemd/systemd-journald"
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 0x4000, 0x40000
COVER = """
set -e
mkdir "$1/dev"
for name in null zero random urandom; do cp -a "/dev/$name" "$1/dev/"; done
ln -s /run/systemd/journal/dev-log "$1/dev/log"
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
mount --rbind "$1/dev" /dev
if ! test -s /etc/machine-id; then
    echo 0123456789abcdef0123456789abcdef >"$1/machine-id"
    mount --bind "$1/machine-id" /etc/machine-id
fi
"""
CONFIGURATION = """\
log {{ target = "syslog" facility = "local3" style = "{style}" }}
relay {{ listen = {{ "unix:{socket}" }} spool_directory = "{spool}" min_free_space = "1k" }}
destination archive {{ relay_to = {{ "{archive}" }} }}
"""


def start_journal(r):
    rig.need_root()
    rig.need_tools("journalctl", "mount")
    if not os.access(JOURNALD, os.X_OK):
        raise rig.Skip("systemd-journald is not installed")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise rig.Skip("a mount namespace is not allowed here")
    done = subprocess.run(["sh", "-c", COVER, "sh", r.directory], stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise rig.Skip(f"/run and /dev cannot be covered here: {done.stderr.decode()}")
    Daemon(r, "journald", [JOURNALD]).start(lambda: os.path.exists("/run/systemd/journal/socket"))


def entries(*match):
    """What journalctl finds, as objects."""
    done = subprocess.run(["journalctl", "-D", "/run/log/journal", "-o", "json", *match], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def test_fields(r):
    start_journal(r)
    archive = rig.Sink(r, "archive")
    socket = r.path("r.sock")
    os.mkdir(r.path("spool"), 0o700)
    text = CONFIGURATION.format(style="json", socket=socket, spool=r.path("spool"), archive=archive.bracketed)
    relay = rig.start_splitrelay(r, text, socket)
    assert rig.send(socket, "s@x.test", ["anna@x.test.archive.copy.split.invalid"], b"Subject: x\r\n\r\nx\r\n").code == 250
    rig.wait_for(lambda: entries("SPLIT_STATUS=sent"), 20, "the line in the journal")
    (sent,) = entries("SPLIT_STATUS=sent")
    assert (sent["SPLIT_TO"], sent["SPLIT_DEST"], sent["SPLIT_DSN"]) == ("anna@x.test", "archive", "2.0.0"), sent
    assert (sent["PRIORITY"], sent["SYSLOG_FACILITY"], sent["SYSLOG_IDENTIFIER"], sent["SYSLOG_PID"]) == ("6", "19", "splitrelay", str(relay.pid)), sent
    assert sent["MESSAGE"].startswith(f"{sent['SPLIT_COPY_ID']}: to=<anna@x.test>, dest=archive, relay=") and "status=sent (250 " in sent["MESSAGE"], sent
    assert sent["_TRANSPORT"] == "journal"
    life = entries(f"SPLIT_COPY_ID={sent['SPLIT_COPY_ID']}")
    assert [e["SPLIT_STATUS"] for e in life] == ["queued", "sent"], life
    # In Postfix's style the text is that of Postfix, with the same fields.
    r.write("splitrelay.conf", text.replace("json", "postfix"))
    relay.signal(signal.SIGUSR1)
    rig.wait_for(lambda: entries("MESSAGE=configuration reloaded"), 20, "the reload")
    assert rig.send(socket, "s@x.test", ["bert@x.test.archive.copy.split.invalid"], b"Subject: x\r\n\r\nx\r\n").code == 250
    rig.wait_for(lambda: entries("SPLIT_TO=bert@x.test"), 20, "the line in the journal")
    (sent,) = entries("SPLIT_TO=bert@x.test")
    assert sent["SYSLOG_IDENTIFIER"] == "splitrelay/archive/smtp" and "dest=" not in sent["MESSAGE"], sent
    assert {e["SYSLOG_IDENTIFIER"].rpartition("/")[2] for e in entries(f"SPLIT_COPY_ID={sent['SPLIT_COPY_ID']}")} == {"smtpd", "cleanup", "qmgr", "smtp"}
    # The journal is gone: mail goes on.
    os.unlink("/run/systemd/journal/socket")
    assert rig.send(socket, "s@x.test", ["carl@x.test.archive.copy.split.invalid"], b"Subject: x\r\n\r\nx\r\n").code == 250
    archive.wait(3)


if __name__ == "__main__":
    rig.main()
