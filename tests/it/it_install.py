#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""make install, and what a user finds afterwards: the commands that are left to run, and the index of pages and guides."""

import glob
import os
import re
import shutil
import subprocess

import rig
from rig.daemons import TOP, build_directory

SCRIPT = os.path.join(TOP, "conf", "left-to-do.sh")


def make(*arguments):
    """Run make in the build directory, without the variables of a make(1) that runs this test. Returns its output."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "TESTS"))}
    done = subprocess.run(["make", "-s", "-C", build_directory(), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env,
                          timeout=90 * rig.TIME_FACTOR, check=False)
    assert done.returncode == 0, done
    return done.stdout


def commands(text):
    return [line.split() for line in text.splitlines() if line.startswith("    ")]


def test_make_install(r):
    """Without DESTDIR the output ends with what is left to do, and the files that it names are there."""
    top = r.path("usr")
    places = [f"prefix={top}", f"sysconfdir={r.path('etc')}"]
    said = make(*places, "install")
    last = said[said.index("splitmilter is installed."):]
    words = [word for command in commands(last) for word in command if word.startswith(r.directory)]
    assert {os.path.relpath(w, r.directory) for w in words} >= {"usr/sbin/splitctl"}, last
    for path in (*words, re.search(r"tables in (\S+);", last).group(1)):
        assert os.path.exists(path), (path, last)
    assert last.endswith("splitmilter(7) lists manual pages and guides.\n"), last
    assert os.path.exists(os.path.join(top, "share/man/man7/splitmilter.7"))


def test_packages_say_nothing(r):
    """With DESTDIR a package is made, which does by itself what is left."""
    assert "left to do" in make("install-data-hook") and make(f"DESTDIR={r.path('root')}", "install-data-hook") == ""


def left(r, *programs):
    """The commands that left-to-do.sh prints on a machine with these programs, without the user and the directories of splitmilter."""
    path = r.path("bin-" + "-".join(programs))
    os.mkdir(path)
    for name, body in (("getent", "exit 2"), *((p, "exit 0") for p in programs)):
        with open(os.path.join(path, name), "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\n{body}\n")
        os.chmod(os.path.join(path, name), 0o755)
    argv = [shutil.which("sh"), SCRIPT, "/s", "/c", "/sysusers", "/tmpfiles", "/units"]
    done = subprocess.run(argv, env={"PATH": path}, capture_output=True, text=True, check=True)
    assert not done.stderr, done.stderr
    return [" ".join(c) for c in commands(done.stdout)]


def test_with_and_without_systemd(r):
    end = ["/s/splitctl check", "/s/splitctl setup-postfix --multi", "/s/splitctl setup-postfix --multi --apply"]
    jail = rig.Jail(r)
    jail.fresh()
    shutil.rmtree("/var/spool/splitmilter", ignore_errors=True)
    shutil.rmtree("/run/splitmilter", ignore_errors=True)
    assert left(r, "systemctl", "systemd-sysusers", "systemd-tmpfiles") == [
        "systemd-sysusers /sysusers/splitmilter.conf",
        "systemd-tmpfiles --create /tmpfiles/splitmilter.conf",
        "systemctl daemon-reload",
        *end,
        "systemctl enable --now splitmilter splitrelay",
    ]
    plain = left(r)
    assert not [c for c in plain if "system" in c and not c.startswith("useradd --system ")], plain
    assert [c for c in left(r, "systemctl") if c.startswith("install -d ")] == plain[1:3]
    assert plain[3:6] == end and [c.split()[-1] for c in plain[6:]] == ["/s/splitmilter", "/s/splitrelay"]
    # These make a user and directories with which splitrelay starts.
    for command in plain[:3]:
        subprocess.run(command, shell=True, check=True)
    path = r.write("splitmilter.conf", f'log {{ target = "stderr" }} relay {{ listen = {{ "inet:{r.free_port()}" }} }}')
    user = plain[7].split()[:-1]
    done = subprocess.run([*user, rig.program("splitctl"), "-c", path, "release", "--all"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and os.path.exists("/var/spool/splitmilter/queue.db"), done
    assert not [c for c in left(r, "systemctl", "systemd-tmpfiles") if "tmpfiles" in c]


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


def test_index(_):
    """splitmilter(7) lists all manual pages and all guides that are installed, and man -k finds all pages by one word."""
    index, makefile = read("docs/splitmilter.7"), read("docs/local.mk")
    pages = re.findall(r"%D%/(\S+\.[578]) ?", makefile)
    assert sorted(pages) == sorted(os.path.basename(p) for p in glob.glob(os.path.join(TOP, "docs", "*.[578]")))
    for page in pages:
        name, section = page.rsplit(".", 1)
        assert page == "splitmilter.7" or f".It Xr {name} {section}\n" in index, page
        assert page == "splitmilter.7" or ".Xr splitmilter 7" in read(f"docs/{page}"), page
        assert "splitmilter" in "".join(re.findall(r"^\.N[md] (.*)$", read(f"docs/{page}"), re.M)), page
    installed = re.findall(r"%D%/(\S+\.md)", makefile[makefile.index("dist_doc_DATA"):makefile.index("EXTRA_DIST")])
    assert sorted(installed) == sorted(re.findall(r"\S+\.md", " ".join(re.findall(r"^\.It Pa (.*)$", index, re.M))))
    for guide in installed:
        assert f"(docs/{guide})" in read("README.md"), guide


if __name__ == "__main__":
    rig.main()
