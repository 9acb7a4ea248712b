# SPDX-License-Identifier: ISC
"""Postfix instances made with postmulti(1), as an administrator makes them, without touching /etc/postfix.

postmulti always uses the default configuration directory. So this process enters a mount namespace of its own, in which a
private directory covers /etc/postfix. This directory is that of the private primary instance, and all processes that this
process starts see it.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
import time

from .base import Failure, Skip
from .postfix import MAIN, Postfix, SERVICES, date_back, environment, postfix_user, write_old

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE, MS_BIND = 0x4000, 0x40000, 0x1000
SYSTEM = "/etc/postfix"
SHARED = "/usr/share/postfix"


def _check(result, what):
    if result != 0:
        raise Skip(f"{what} is not allowed here: {os.strerror(ctypes.get_errno())}")


class PostMulti:
    """The private primary instance, which is never started. Raises Skip where mount namespaces are not allowed."""

    def __init__(self, rig):
        self.directory = rig.path("primary")
        shutil.copytree(SYSTEM, self.directory, symlinks=True)
        for name in ("main.cf", "master.cf"):
            proto = os.path.join(self.directory, f"{name}.proto")
            if not os.path.exists(proto):
                shutil.copy(os.path.join(SHARED, f"{name}.dist"), proto)
        uid, gid = postfix_user()
        for name in ("primary-spool", "primary-data"):
            os.mkdir(rig.path(name), 0o755)
        os.chown(rig.path("primary-data"), uid, gid)
        settings = dict(
            MAIN,
            queue_directory=rig.path("primary-spool"),
            data_directory=rig.path("primary-data"),
            maillog_file=rig.path("primary-maillog"),
            maillog_file_prefixes=rig.directory,
            myhostname="primary.test",
            master_service_disable="inet",
        )
        write_old(os.path.join(self.directory, "main.cf"), "".join(f"{k} = {v}\n" for k, v in settings.items()))
        write_old(os.path.join(self.directory, "master.cf"), SERVICES)
        libc = ctypes.CDLL(None, use_errno=True)
        _check(libc.unshare(CLONE_NEWNS), "a mount namespace")
        _check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "a private mount")
        _check(libc.mount(self.directory.encode(), SYSTEM.encode(), None, MS_BIND, None), "a bind mount")
        rig.show_on_failure("maillog of the primary instance", rig.path("primary-maillog"))
        self.run("-e", "init", edits=[os.path.join(SYSTEM, "main.cf")])

    @staticmethod
    def run(*arguments, edits=()):
        """Run postmulti with these arguments. Returns its output. edits: main.cf files that postmulti changes and then
        reads several times. They are dated back all the time, because otherwise each reading would wait for a second."""
        with tempfile.TemporaryFile() as output:
            with subprocess.Popen(
                ["postmulti", *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment()
            ) as process:
                end = time.monotonic() + 60
                while process.poll() is None and time.monotonic() < end:
                    for path in filter(os.path.exists, edits):
                        date_back(path)
                    time.sleep(0.01)
                process.kill()
            output.seek(0)
            said = output.read().decode("utf-8", "replace")
        if process.returncode != 0:
            raise Failure(f"postmulti {' '.join(arguments)}: exit {process.returncode}: {said}")
        return said


class MultiPostfix(Postfix):
    """An instance that postmulti(1) manages. There must be a PostMulti."""

    def create(self):
        os.makedirs(self.directory, mode=0o755)
        PostMulti.run(
            *("-I", f"postfix-{self.name}", "-G", "split", "-e", "create"),
            f"config_directory={self.etc}",
            f"queue_directory={self.queue_directory}",
            f"data_directory={self.data_directory}",
            edits=[os.path.join(SYSTEM, "main.cf"), os.path.join(self.etc, "main.cf")],
        )
        self.settings.update(multi_instance_group="split", multi_instance_enable="yes")
        self.write_configuration()

    def start_command(self):
        PostMulti.run("-i", f"postfix-{self.name}", "-p", "start")
