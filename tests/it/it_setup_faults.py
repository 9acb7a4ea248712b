#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl setup-postfix is interrupted by a full disk, SIGKILL, or a command that fails. In each case --remove restores the files
from before, and a second --apply completes the set-up.

SPLIT_SETUP_FAULTS=all tests every place; without it only some are tested.
"""

import glob
import os
import re
import shutil
import subprocess

import rig
from rig.setup_system import HERE, System

QUEUE = {"--single": "/var/spool/postfix", "--multi": "/var/spool/postfix-in"}
FEW = {"--single": (1, 6), "--multi": (5, 14)}
COMMANDS = {"--single": (2,), "--multi": (2, 5)}  # the first command checks whether Postfix runs
WRAPPER = """\
#!/bin/sh
# The Nth of these commands fails, or the one with these arguments.
n=$(($(cat {directory}/count) + 1))
echo $n >{directory}/count
[ $n != "$(cat {directory}/fail)" ] && [ "$*" != "$(cat {directory}/fail)" ] || exit 1
exec {real} "$@"
"""


def setup(r):
    rig.need_tools("strace")
    system = System(r)
    os.mkdir(r.path("wrapped"))
    for name in ("postfix", "postmulti"):
        real = shutil.which(name, path=rig.environment()["PATH"])
        r.write(f"wrapped/{name}", WRAPPER.format(directory=r.path("wrapped"), real=real), mode=0o755)
    return system


def wanted(form, few):
    return range(min(few[form]), 200) if os.environ.get("SPLIT_SETUP_FAULTS") == "all" else few[form]


def listing():
    """Every path that setup-postfix may make or remove."""
    found = []
    for top in ("/etc", "/var/spool", "/var/lib"):
        for name in sorted(os.listdir(top)):
            if not name.startswith("postfix"):
                continue
            found.append(f"{top}/{name}")
            if top == "/etc":
                found += sorted(os.path.join(d, n) for d, ds, ns in os.walk(f"{top}/{name}") for n in ds + ns)
    return found


def interrupted(s, form, action, fault):
    """Run setup-postfix with a fault of strace, or with ("command", N or arguments). Returns (exit status, output); with exit
    status 0 the fault did not happen."""
    argv = [rig.program("splitctl"), "-c", s.conf, "setup-postfix", "--user=root", *((form, action) if form else (action, "--apply"))]
    env = rig.environment()
    env["TMPDIR"] = s.r.path("tmp")  # files that are left after SIGKILL are removed with the test's directory
    os.makedirs(env["TMPDIR"], exist_ok=True)
    # LeakSanitizer cannot work in a process that is traced.
    env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    if fault[0] == "command":
        s.r.write("wrapped/count", "0\n")
        s.r.write("wrapped/fail", f"{fault[1]}\n")
        env["PATH"] = f"{s.r.path('wrapped')}:{env['PATH']}"
    else:
        call, what, n = fault
        argv = ["strace", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{what}:when={n}", *argv]
    with rig.dated_back():
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                              timeout=60 * rig.TIME_FACTOR, check=False)
    return done.returncode, done.stdout.decode()


def is_as_before(s, before, where):
    assert s.texts() == s.before, where
    left = sorted(set(listing()) ^ set(before))
    assert left == [], f"{where}: {left}"


def way_on(s, form, where, before):
    """Check that a second --apply completes the set-up, and that --remove then restores everything."""
    s.ctl(form, "--apply")
    after = s.texts()
    assert "Nothing to do" in s.ctl(form, "--apply"), where
    assert s.texts() == after != s.before, where
    for name in ("postfix", "postfix-in", "postfix-out") if form == "--multi" else ("postfix",):
        assert s.run("postfix", "-c", f"/etc/{name}", "check") == "", where
    if form == "--multi":
        assert instances(s) == 3, where
    s.ctl("--remove", "--apply")
    is_as_before(s, before, where)


def try_all(s, form, fault_of, few, is_undone, mode=0o644):
    for n in wanted(form, few):
        s.fresh(QUEUE[form])
        os.chmod("/etc/postfix/main.cf", mode)
        before, where = listing(), (form, fault_of(n))
        code, said = interrupted(s, form, "--apply", fault_of(n))
        if code == 0:
            assert n > min(few[form]), f"{where}: nothing was interrupted\n{said}"
            return
        for path in glob.glob("/etc/postfix*/main.cf*"):
            with open(path, encoding="utf-8") as f:
                is_hidden = mode == 0o644 or path.endswith(".proto") or "My own" not in f.read()
            assert is_hidden or os.stat(path).st_mode & 0o077 == 0, f"{where}: {path} is open\n{said}"
        if is_undone:
            is_as_before(s, before, f"{where}\n{said}")
        if n % 2 == 0:
            s.ctl("--remove", "--apply")
            is_as_before(s, before, where)
        else:
            way_on(s, form, where, before)


def test_full_disk(s):
    """On a full disk setup-postfix undoes its changes at once."""
    for form in QUEUE:
        try_all(s, form, lambda n: ("rename", "error=ENOSPC", n), FEW, True)
    try_all(s, "--multi", lambda n: ("mkdirat", "error=ENOSPC", n), {"--multi": (3,)}, True)


def test_kill(s):
    """After SIGKILL at any step --remove restores everything, and a second --apply completes the set-up."""
    for form in QUEUE:
        try_all(s, form, lambda n: ("rename", "signal=KILL", n), FEW, False)
    # A main.cf that others may not read is copied into an instance only after postmulti(1) has made it.
    try_all(s, "--multi", lambda n: ("rename", "signal=KILL", n), {"--multi": (15, 20)}, False, mode=0o600)


def test_a_command_fails(s):
    """If a command fails, setup-postfix undoes its changes at once."""
    for form in QUEUE:
        try_all(s, form, lambda n: ("command", n), COMMANDS, True)


def test_instances_do_not_start(s):
    """If a new instance does not start, everything is undone, and the running Postfix accepts mail as before."""
    s.fresh(QUEUE["--multi"])
    before = listing()
    s.run("postfix", "start")
    s.jail.record_postfix()
    rig.wait_for(s.greets, 10, "Postfix to greet", s.log)
    code, said = interrupted(s, "--multi", "--apply", ("command", "-c /etc/postfix-in start"))
    s.jail.record_postfix()
    assert code != 0 and re.search(r"run: postfix -c /etc/postfix-in start\n(run: .* stop\n)+undone", said), said
    is_as_before(s, before, said)
    for name in ("postfix-in", "postfix-out"):
        assert not os.path.exists(f"/var/spool/{name}"), said
    rig.wait_for(s.greets, 10, "Postfix to greet", s.log)
    rig.send((HERE, 25), "s@sender.test", ["anna@example.com"], b"Subject: as ever\r\n\r\n")
    rig.wait_for(lambda: [t for t in s.mailbox.accepted if "as ever" in t.headers("Subject")], 20, "the mail", s.log)


def test_removal(s):
    """A removal that was interrupted is completed by another --remove."""
    faults = [("unlinkat", "error=EIO", 12), ("unlinkat", "signal=KILL", 60), ("rename", "signal=KILL", 4)]
    if os.environ.get("SPLIT_SETUP_FAULTS") == "all":
        faults += [(call, "signal=KILL", n) for call, last in (("unlinkat", 80), ("rename", 5)) for n in range(4, last)]
    for fault in faults:
        s.fresh(QUEUE["--multi"])
        before = listing()
        s.ctl("--multi", "--apply")
        code, said = interrupted(s, "", "--remove", fault)
        if fault in faults[:3]:
            assert code != 0, (fault, said)
        s.ctl("--remove", "--apply")
        is_as_before(s, before, (fault, said))
        assert "Nothing to do" in s.ctl("--remove", "--apply"), fault


def instances(s):
    return len(s.run("postmulti", "-l").splitlines())


def own_instance(s, name):
    for path in (f"/etc/{name}", f"/var/spool/{name}", f"/var/lib/{name}"):
        os.mkdir(path)
    s.write(f"/etc/{name}/main.cf", f"queue_directory = /var/spool/{name}\ndata_directory = /var/lib/{name}\n"
            f"multi_instance_name = {name}\nmaster_service_disable = inet\ncompatibility_level = 3.6\n")
    shutil.copy("/etc/postfix/master.cf", f"/etc/{name}/master.cf")
    shutil.chown(f"/var/lib/{name}", "postfix")
    s.run("postmulti", "-I", name, "-e", "import")


def test_other_instances(s):
    """Other instances of Postfix are not changed, and --remove refuses while an instance exists that was made later."""
    s.fresh(QUEUE["--multi"], main="biff = no")
    s.run("postmulti", "-e", "init")
    own_instance(s, "postfix-own")
    s.before = s.texts()
    s.ctl("--multi", "--apply")
    assert instances(s) == 4, s.run("postmulti", "-l")
    own_instance(s, "postfix-later")
    assert "Nothing to do" in s.ctl("--multi", "--apply")
    assert "/etc/postfix-later was added later" in s.ctl("--remove", "--apply", status=1)
    assert instances(s) == 5, s.run("postmulti", "-l")
    s.run("postmulti", "-i", "postfix-later", "-e", "deport")
    s.ctl("--remove", "--apply")
    # postmulti(1) records instances that were deported in this setting.
    s.before[0] += b"alternate_config_directories = /etc/postfix-later\n"
    assert s.texts() == s.before, s.texts()[0].decode()
    assert instances(s) == 2, s.run("postmulti", "-l")


def test_a_directory_of_somebody_else(s):
    s.fresh(QUEUE["--multi"])
    os.mkdir("/etc/postfix-in")
    s.write("/etc/postfix-in/notes", "mine\n")
    before = listing()
    assert "/etc/postfix-in: the directory exists, and is not ours" in s.ctl("--multi", "--apply", status=1)
    s.ctl("--remove", "--apply")
    is_as_before(s, before, "a directory of somebody else")


if __name__ == "__main__":
    rig.main(timeout=1200 if os.environ.get("SPLIT_SETUP_FAULTS") else 150)
