#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A plain `./configure && make' makes hardened programs. The test examines the programs, not the flags."""

import os
import platform
import re
import shutil
import subprocess
import sys
import unittest

BUILD = os.environ.get("SPLIT_BUILD_DIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "build"))
PROGRAMS = ("splitmilter", "splitrelay", "splitctl")


def readelf(option, name):
    return subprocess.run(["readelf", "-W", option, os.path.join(BUILD, name)], capture_output=True, text=True, check=True).stdout


def variable(name):
    with open(os.path.join(BUILD, "Makefile"), encoding="utf-8") as f:
        return re.search(rf"(?m)^{name} =(.*)$", f.read()).group(1).strip()


class Hardening(unittest.TestCase):
    def setUp(self):
        if shutil.which("readelf") is None:
            self.skipTest("readelf is not installed")
        if not variable("HARDENING_CFLAGS"):
            self.skipTest("built with --disable-hardening, or with sanitizers, fuzzers or coverage")

    def test_position_independent(self):
        for name in PROGRAMS:
            self.assertTrue(re.search(r"Type: +DYN", readelf("-h", name)), name)
            self.assertTrue(re.search(r"FLAGS_1\).*\bPIE\b", readelf("-d", name)), name)

    def test_relocations_are_read_only(self):
        for name in PROGRAMS:
            self.assertTrue("GNU_RELRO" in readelf("-l", name), name)
            self.assertTrue(re.search(r"FLAGS.*\b(BIND_NOW|NOW)\b", readelf("-d", name)), name)

    def test_stacks(self):
        for name in PROGRAMS:
            self.assertTrue("__stack_chk_fail" in readelf("--dyn-syms", name), name)
            self.assertTrue(re.search(r"GNU_STACK .* RW +0x", readelf("-l", name)), name)
        self.assertIn("-fstack-clash-protection", variable("HARDENING_CFLAGS"))  # cannot be seen in a program

    def test_functions_that_know_sizes(self):
        if "__GLIBC__" not in subprocess.run(["cc", "-E", "-dM", "-include", "stdio.h", "-xc", os.devnull], capture_output=True, text=True, check=True).stdout:
            self.skipTest("no glibc")
        for name in PROGRAMS:
            self.assertTrue(re.search(r"__v?snprintf_chk", readelf("--dyn-syms", name)), name)

    def test_control_flow(self):
        if platform.machine() != "x86_64":
            self.skipTest(f"-fcf-protection is not for {platform.machine()}")
        for name in PROGRAMS:
            begin = subprocess.run(["objdump", "-d", "--no-show-raw-insn", os.path.join(BUILD, name)], capture_output=True, text=True, check=True).stdout
            main = begin[begin.index("<main>:"):].split("\n")[1]
            self.assertIn("endbr64", main, name)


if __name__ == "__main__":
    program = unittest.main(exit=False)
    result = program.result
    if result.skipped and len(result.skipped) == result.testsRun:
        print(f"SKIP: {result.skipped[0][1]}")
        sys.exit(77)
    sys.exit(0 if result.wasSuccessful() else 1)
