# SPDX-License-Identifier: ISC
"""Runs a daemon as systemd does with its unit: as an ordinary user, behind a seccomp filter made from SystemCallFilter,
SystemCallErrorNumber and RestrictAddressFamilies, with its CPUSchedulingPolicy, and with PrivateUsers in a user namespace.

Also a script: sandbox.py UNIT GROUP PROGRAM ARGUMENT... executes the program, with GROUP as a supplementary group.
"""

import ctypes
import errno
import grp
import os
import platform
import re
import socket
import struct
import subprocess
import sys

if __name__ != "__main__":
    from .base import Skip, need_tools
    from .daemons import TOP, instrumented

UID = GID = 54321  # not in use on the machine, as far as the test can expect
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
RET_ALLOW, RET_ERRNO, RET_KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
CLONE_NEWUSER = 0x10000000


def settings(unit, name):
    """The values of all lines NAME=VALUE in the unit."""
    with open(unit, encoding="utf-8") as f:
        return re.findall(rf"(?m)^{name}=(.*)$", f.read())


def members(name, seen=None):
    """The system calls of a set ("@name"), as the installed systemd defines it; for the name of a call, that call."""
    if not name.startswith("@"):
        return {name}
    out = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    found = set()
    for word in re.findall(r"(?m)^    ([@\w-]+)$", out):
        if word not in (seen := seen if seen is not None else set()):
            seen.add(word)
            found |= members(word, seen)
    return found


def allowed_calls(unit):
    """The system calls that the unit allows. By systemd.exec(5) the first line lists allowed calls, and further lines add calls
    or remove them."""
    allowed = members("@default")
    for line in settings(unit, "SystemCallFilter"):
        for word in line.lstrip("~").split():
            allowed = allowed - members(word) if line.startswith("~") else allowed | members(word)
    return allowed


def numbers():
    """{name: number} of this machine's system calls."""
    out = subprocess.run(["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-xc", os.devnull], capture_output=True, text=True, check=True).stdout
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)\n", out)}


def program(unit):
    """The filter as an array of struct sock_filter."""
    number_of, steps = numbers(), []

    def add(code, value, if_not=0):
        steps.append(struct.pack("=HBBI", code, 0, if_not, value))

    refused = settings(unit, "SystemCallErrorNumber")
    refusal = RET_ERRNO | getattr(errno, refused[-1]) if refused else RET_KILL
    known, allowed = members("@known"), allowed_calls(unit)
    families = " ".join(settings(unit, "RestrictAddressFamilies")).split()
    add(LOAD, 4)  # struct seccomp_data: nr, arch, instruction_pointer, args[]
    add(EQUAL, AUDIT_ARCH[platform.machine()], 0)
    steps[-1] = struct.pack("=HBBI", EQUAL, 1, 0, AUDIT_ARCH[platform.machine()])
    add(RETURN, RET_KILL)
    add(LOAD, 0)
    if families:
        add(EQUAL, number_of["socket"], 2 * len(families) + 2)
        add(LOAD, 16)
        for family in families:
            add(EQUAL, getattr(socket, family), 1)
            add(RETURN, RET_ALLOW)
        add(RETURN, RET_ERRNO | errno.EAFNOSUPPORT)
    for name, number in sorted(number_of.items(), key=lambda item: item[1]):
        if name in allowed or name in known:
            add(EQUAL, number, 1)
            add(RETURN, RET_ALLOW if name in allowed else refusal)
    add(RETURN, RET_ERRNO | errno.ENOSYS)
    return b"".join(steps)


def become(unit, group, argv):
    """Execute argv with the restrictions of the unit. Does not return."""
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result):
        if result != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    code = program(unit)
    if settings(unit, "CPUSchedulingPolicy") == ["batch"]:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.setgroups([grp.getgrnam(group).gr_gid])
    os.setresgid(GID, GID, GID)
    if settings(unit, "PrivateUsers") == ["yes"]:
        map_users(libc, check)
    os.setresuid(UID, UID, UID)
    buffer = ctypes.create_string_buffer(code, len(code))
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0))
    os.execv(argv[0], argv)


def map_users(libc, check):
    """Enter a user namespace that maps only root and UID. A process outside of it writes the maps."""
    ready, go = os.pipe(), os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.read(ready[0], 1)
        for kind in ("uid", "gid"):
            with open(f"/proc/{parent}/{kind}_map", "w", encoding="ascii") as f:
                f.write(f"0 0 1\n{UID} {UID} 1\n")
        os.write(go[1], b"x")
        os._exit(0)
    check(libc.unshare(CLONE_NEWUSER))
    os.write(ready[1], b"x")
    os.close(go[1])
    if os.read(go[0], 1) != b"x":
        raise OSError("the maps of the user namespace could not be written")
    os.waitpid(child, 0)
    for fd in (*ready, go[0]):
        os.close(fd)


class Sandbox:
    """The restrictions of conf/systemd/NAME.service.in. `wrapper` is put before a command."""

    def __init__(self, name, group="mail"):
        need_tools("systemd-analyze", "gcc")
        if platform.machine() not in AUDIT_ARCH:
            raise Skip(f"no seccomp filter for {platform.machine()} here")
        if instrumented():
            raise Skip("sanitizers make system calls of their own")
        self.unit = os.path.join(TOP, "conf", "systemd", f"{name}.service.in")
        self.gid = grp.getgrnam(group).gr_gid
        self.wrapper = [sys.executable, os.path.abspath(__file__), self.unit, group]

    @staticmethod
    def give(path):
        """Make the daemon's user the owner of the path."""
        os.chown(path, UID, GID)
        return path


if __name__ == "__main__":
    become(sys.argv[1], sys.argv[2], sys.argv[3:])
