#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The examples in conf/ are valid for the programs that read them: Postfix, systemd."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.environ.get("SPLIT_SOURCE_DIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ, PATH=PATH))
    return done.returncode, done.stdout, done.stderr


class Postfix(unittest.TestCase):
    def setUp(self):
        if shutil.which("postmap", path=PATH) is None:
            self.skipTest("postmap is not installed")
        self.d = tempfile.mkdtemp(prefix="it_samples-")
        self.addCleanup(shutil.rmtree, self.d)
        for name in os.listdir(os.path.join(SOURCE, "conf", "postfix")):
            with open(os.path.join(SOURCE, "conf", "postfix", name), encoding="utf-8") as f:
                text = f.read().replace("/etc/postfix", self.d)
            with open(os.path.join(self.d, name), "w", encoding="utf-8") as f:
                f.write(text + ("compatibility_level = 3.6\n" if name == "main.cf" else ""))

    def look_up(self, table, key):
        status, out, err = run("postmap", "-c", self.d, "-q", key, f"{table.split(':')[0]}:{self.d}/{table.split(':')[1]}")
        self.assertEqual(err, "")
        return out.rstrip("\n") if status == 0 else None

    def test_postconf_accepts_every_parameter(self):
        for option in ("-n", "-M", "-P"):
            status, out, err = run("postconf", "-c", self.d, option)
            self.assertEqual((status, err), (0, ""))
            self.assertTrue(out)

    def test_the_suffix_is_taken_off(self):
        for address, plain in (
            ("user@example.com.primary.filter.split.invalid", "user@example.com"),
            ("user+ext@a.b.x-1.filter.split.invalid", "user+ext@a.b"),
            ("user@example.com.archive.copy.split.invalid", None),
            ("user@example.com", None),
        ):
            self.assertEqual(self.look_up("regexp:untag", address), plain)

    def test_suffixes_lead_to_services_of_master_cf(self):
        services = set(re.findall(r"(?m)^(\w+)", run("postconf", "-c", self.d, "-M")[1]))
        for key in (".primary.filter.split.invalid", ".secondary.filter.split.invalid", ".copy.split.invalid"):
            found = self.look_up("texthash:split_transport", key)
            self.assertIn(found.split(":")[0], services)

    def test_clients_are_kept_out(self):
        for key in ("split.invalid", ".split.invalid"):
            self.assertRegex(self.look_up("texthash:split_closed", key), "^REJECT 5.7.1 ")


class Systemd(unittest.TestCase):
    def test_units(self):
        if shutil.which("systemd-analyze", path=PATH) is None:
            self.skipTest("systemd-analyze is not installed")
        with tempfile.TemporaryDirectory(prefix="it_samples-") as d:
            units = []
            for name in ("splitmilter", "splitrelay"):
                with open(os.path.join(SOURCE, "conf", "systemd", f"{name}.service.in"), encoding="utf-8") as f:
                    text = f.read().replace("@SERVICE_TYPE@", "notify").replace("@sysconfdir@", "/etc")
                units.append(os.path.join(d, f"{name}.service"))
                with open(units[-1], "w", encoding="utf-8") as f:
                    f.write(re.sub(r"@sbindir@/\w+", "/bin/true", text))
            _, out, err = run("systemd-analyze", "verify", "--man=no", *units)
            said = [line for line in (out + err).splitlines() if re.search(r"split(milter|relay)\.service", line)]
            self.assertEqual(said, [])
            for unit in units:  # the threshold is 10 times the exposure that systemd-analyze prints
                status, out, err = run("systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", unit)
                self.assertEqual(status, 0, out + err)


if __name__ == "__main__":
    program = unittest.main(exit=False)
    result = program.result
    if result.skipped and len(result.skipped) == result.testsRun:
        print(f"SKIP: {result.skipped[0][1]}")
        sys.exit(77)
    sys.exit(0 if result.wasSuccessful() else 1)
