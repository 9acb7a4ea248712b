#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl on a terminal: colour, unless NO_COLOR is set, and columns that fit the width. In a pipe the output is plain."""

import fcntl
import os
import re
import struct
import subprocess
import termios

import rig
from rig.daemons import program, sanitizer_environment

CONFIGURATION = """\
log {{ target = "stderr" }}
milter {{ socket = "unix:{milter}" }}
relay {{ listen = {{ "inet:{port}@127.0.0.1" }} spool_directory = "{spool}" min_free_space = "1k" }}
destination archive {{ relay_to = {{ "{archive}" }} retry_min = "1h" retry_max = "1h" }}
destination down {{ relay_to = {{ "{down}" }} retry_min = "1h" retry_max = "1h" }}
"""
ESCAPE = re.compile("\x1b\\[[0-9]*m")
REASON = "450 4.2.0 http://example.com/" + "x" * 80 + "".join(f" word{i}" for i in range(40))
LONG = "a.very.long.local.part.of.an.address.that.does.not.fit@" + "sub." * 10 + "example.com"


def refuse(stage, _conn, arg):
    if stage != "rcpt":
        return None
    return "550 5.1.1 gone" if "<x@" in arg else REASON


def setup(r):
    """Copies that wait, are held and are dead, with long addresses and a long reason."""
    os.environ["MAIL_CONFIG"] = "/nonexistent"
    archive = rig.Sink(r, "archive", hook=refuse)
    down = rig.Sink(r, "down", start=False)
    address = ("127.0.0.1", r.free_port())
    text = CONFIGURATION.format(milter=r.path("m.sock"), port=address[1], spool=r.path("spool"), archive=archive.bracketed, down=down.bracketed)
    os.mkdir(r.path("spool"), 0o700)
    relay = rig.start_splitrelay(r, text, address)
    for recipients in (["x@dead.test"], ["later@x.test"], [LONG]):
        destination = "down" if recipients == [LONG] else "archive"
        tagged = [f"{a}.{destination}.copy.split.invalid" for a in recipients]
        assert rig.send(address, "sender@sender.test", tagged, b"Subject: x\r\n\r\nx\r\n").code == 250
    relay.wait_log("status=dead")
    relay.wait_log("status=deferred", count=2)
    rig.run_splitctl(r, relay.configuration_path, "hold", "--to", LONG)
    r.relay = relay
    return r


def on_terminal(r, columns, *args, **env):
    """The output of splitctl on a terminal of this width."""
    master, slave = os.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
        mode = termios.tcgetattr(slave)
        mode[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        environment = {**sanitizer_environment(r, "splitctl"), "TERM": "xterm", **env}
        environment = {k: v for k, v in environment.items() if v is not None}
        popen = subprocess.Popen(
            [program("splitctl"), "-c", r.relay.configuration_path, *args], stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.DEVNULL, env=environment
        )
        os.close(slave)
        slave = -1
        out = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the terminal has no process any more
                break
            if not part:
                break
            out += part
        popen.wait(timeout=60)
        return out.decode()
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)


def in_pipe(r, *args, **env):
    return rig.run_splitctl(r, r.relay.configuration_path, *args, check=False, env={"TERM": "xterm", **env})[1]


COMMANDS = (("status",), ("queue",), ("queue", "--summary"), ("stats",), ("check",))


def plain(text):
    return ESCAPE.sub("", text)


def words(text):
    """The words of an output, without ages and the like, which change between two runs."""
    return re.sub(r"\d+", "N", plain(text)).split()


def test_colour_on_a_terminal_alone(r):
    for command in COMMANDS:
        colored = on_terminal(r, 200, *command)
        assert "\x1b[3" in colored or "\x1b[1m" in colored, (command, colored)
        assert "\x1b" not in plain(colored), (command, colored)
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": None}):
            assert "\x1b" not in on_terminal(r, 200, *command, **env), (command, env)
        assert "\x1b[" in on_terminal(r, 200, *command, NO_COLOR=""), command
        assert "\x1b" not in in_pipe(r, *command), command
    assert "\x1b[31mCRITICAL\x1b[0m" in on_terminal(r, 80, "status") or "\x1b[32mOK\x1b[0m" in on_terminal(r, 80, "status")
    assert re.search("\x1b\\[31m[0-9A-F]+#", on_terminal(r, 80, "queue")) and re.search("\x1b\\[33m[0-9A-F]+!", on_terminal(r, 80, "queue"))
    for command in (("queue", "--json"), ("status", "--json"), ("stats", "--json")):
        assert "\x1b" not in on_terminal(r, 80, *command), command


def test_lines_fit_the_width(r):
    for columns in (80, 132):
        for command in COMMANDS:
            out = plain(on_terminal(r, columns, *command))
            for line in out.split("\n")[1 if command == ("status",) else 0 :]:
                # What has no blank, such as an address, is not broken.
                assert len(line) <= columns or " " not in line.strip(), (columns, command, line)


def test_nothing_is_lost(r):
    """On terminals of any width and in a pipe the words are the same, except in the table of the summary in a pipe."""
    for command in COMMANDS:
        wide = words(on_terminal(r, 400, *command))
        assert wide == words(on_terminal(r, 80, *command, NO_COLOR="1")), command
        assert "--summary" in command or wide == words(in_pipe(r, *command)), command
    assert re.search(r"(?m)^  host .* 450 .*\n(  \w.*\n)+ {30,}1 1 +0", plain(on_terminal(r, 80, "queue", "--summary")))
    assert "..." in in_pipe(r, "queue", "--summary")


def test_columns_in_a_pipe_do_not_move(r):
    """Programs find the columns at the same place, however wide a terminal would be."""
    assert re.match(r"destination                    due  deferred      held      dead           kB   oldest\n", in_pipe(r, "stats"))
    head, total = in_pipe(r, "queue", "--summary").split("\n")[:2]
    assert head == " " * 53 + "T      5     10     20     40     80    160    320    640   1280  1280+" and total.startswith("TOTAL" + " " * 41 + "       3"), (head, total)


if __name__ == "__main__":
    rig.main()
