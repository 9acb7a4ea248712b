#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""tests/lint.py finds a violation of each of its rules, in a small tree."""

import os
import subprocess
import sys

import rig
from rig.daemons import TOP

LINT = os.path.join(TOP, "tests", "lint.py")


def lint(r, files):
    top = r.path("tree")
    for path, text in files.items():
        full = os.path.join(top, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as f:
            f.write(text)
    done = subprocess.run([sys.executable, LINT, top], capture_output=True, text=True, check=False)
    assert done.stderr == "", done.stderr
    assert (done.returncode == 0) == (done.stdout == ""), done
    return done.stdout.splitlines()


GOOD = {
    "src/base/err.h": "/* An error. */\nint err_a(void);\nint err_b(void);\n",
    "src/net/tls.h": '#include "base/err.h"\n\n#include <stdio.h>\n',
    "src/net/tls_private.h": '#include "net/tls.h"\n',
    "src/net/tls.c": '#include "net/tls_private.h"\n\nint a(void)\n{\n' + "    x();\n" * 60 + "}\n",
    "src/ctl/setup/steps.h": '#include "ctl/ctl.h"\n',
    "docs/a.md": "err_a() ends in pg_ls_waldir().\n",
    "configure.ac": "AC_INIT([splitmilter], [1.2])\n",
    "debian/changelog": "splitmilter (1.2) unstable\n\nsplitmilter (1.1) unstable\n",
    "packaging/rpm/splitmilter.spec": "Version:   1.2\n",
    "docs/operations.md": "splitmilter_1.2_amd64.deb\n",
    "docs/scaling.md": "splitmilter_1.2_amd64.deb\n",
    "milter/main.c": '#include "callbacks.h"\n#include "net/tls.h"\n#include <libmilter/mfapi.h>\n',
}


def test_good_tree(r):
    """A tree without violations has no finding."""
    assert lint(r, GOOD) == []


def test_each_rule(r):
    """A violation of each rule has a finding."""
    for path, text, where in (
        ("src/base/log.c", '#include "base/err.h"\n#include "net/tls.h"\n', "src/base/log.c:2: base may not include from net"),
        ("src/base/log.c", '#include "err.h"\n', 'src/base/log.c:1: "err.h": write the path'),
        ("src/smtp/client.c", '#include "net/tls_private.h"\n', "src/smtp/client.c:1: net/tls_private.h is private"),
        ("milter/main.c", '#include "net/tls_private.h"\n', "milter/main.c:1: net/tls_private.h is private"),
        ("src/base/log.c", "#include <libmilter/mfapi.h>\n", "src/base/log.c:1: only milter/"),
        ("src/util/log.c", "", "src/util/log.c:1: this folder is not in the order"),
        ("src/log.c", "", "src/log.c:1: this folder is not in the order"),
        ("src/base/log.c", "\n" * 451, "src/base/log.c:451: 451 lines"),
        ("src/relay/page.js", "\n" * 451, "src/relay/page.js:451: 451 lines"),
        ("src/base/log.c", "int a(void)\n{\n" + "    x();\n" * 61 + "}\n", "src/base/log.c:2: a function of 61 lines"),
        ("src/base/log.h", "/* One. */\nint a(void);\n\nint b(void);\n", "src/base/log.h:4: a function without a comment"),
        ("docs/scaling.md", "splitmilter_1.2_amd64.deb\nsplitmilter_1.3_amd64.deb\n", "docs/scaling.md:2: version 1.3, but configure.ac has 1.2"),
        ("debian/changelog", "splitmilter (1.1) unstable\n", "debian/changelog:1: version 1.1"),
        ("debian/changelog", "", "debian/changelog:1: no version is found"),
        ("docs/b.md", "One.\nSee err_c().\n", "docs/b.md:2: err_c() does not exist"),
        ("src/base/log.c", "/* One. */\n\n/* As\n * err_c(). */\n", "src/base/log.c:4: err_c() does not exist"),
    ):
        lines = lint(r, {**GOOD, path: text})
        assert len(lines) == 1 and lines[0].startswith(where), (where, lines)
        os.unlink(os.path.join(r.path("tree"), path))


if __name__ == "__main__":
    rig.main(timeout=60)
