#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The rules of the tree that a program can check (docs/ARCHITECTURE.md, "Rules"):

- a file in src/FOLDER includes only from its own folder and from folders before it in ORDER, by its full path below src/;
- a *_private.h is included from its own folder alone, and mfapi.h from milter/ alone;
- a file in src/ or milter/ has at most 450 lines, a function at most 60;
- each function in a header has a comment above it, or above the group of declarations that it is in;
- a function_name() that a document or a comment names is there.

Usage: lint.py [TOP]. Prints FILE:LINE: what is wrong; exits 1 if there is anything.
"""

import os
import re
import sys

ORDER = (
    "base task net metrics mail config table policy queue format smtp deliver receive relay ctl"
).split()
FILE_LINES_MAX = 450
FUNCTION_LINES_MAX = 60
FOREIGN = {"pg_ls_waldir", "jump_fcontext", "to_regclass"}  # functions of other programs that are named, and not called

INCLUDE = re.compile(r'#include\s+["<]([^">]+)[">]')
DECLARATION = re.compile(r"^[a-z][\w \t*]*\b[a-z]\w*\(")  # in column 0: a function
COMMENT = re.compile(r"/\*.*?\*/", re.S)
NAMED = re.compile(r"\b([a-z][a-z0-9]*_[a-z0-9_]+)\(\)")


def files(top, *folders, kinds=(".c", ".h")):
    for folder in folders:
        for directory, _, names in sorted(os.walk(os.path.join(top, folder))):
            for name in sorted(names):
                if name.endswith(kinds):
                    yield os.path.relpath(os.path.join(directory, name), top)


def rank(folder):
    return ORDER.index(folder) if folder in ORDER else None


def check_include(path, header):
    """What is wrong with this include, or None. path: "src/FOLDER/..." or "milter/..."."""
    if header == "libmilter/mfapi.h":
        return None if path.startswith(("milter/", "tests/")) else "only milter/ may include it"
    folder = header.split("/")[0] if "/" in header else None
    if header.endswith("_private.h") and os.path.join("src", os.path.dirname(header)) != os.path.dirname(path):
        return f"{header} is private to its folder"
    if not path.startswith("src/") or (folder is not None and rank(folder) is None):
        return None
    own = path.split("/")[1]
    if folder is None:
        return f'"{header}": write the path below src/'
    if rank(folder) > rank(own):
        return f"{own} may not include from {folder} ({header}): the order is {' '.join(ORDER)}"
    return None


def check_includes(path, lines):
    if path.startswith("src/") and (path.count("/") < 2 or rank(path.split("/")[1]) is None):
        yield 1, "this folder is not in the order of includes"
        return
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match is None or ("<" in line and match.group(1) != "libmilter/mfapi.h"):
            continue
        wrong = check_include(path, match.group(1))
        if wrong is not None:
            yield number, wrong


def check_lengths(path, lines):
    if len(lines) > FILE_LINES_MAX:
        yield len(lines), f"{len(lines)} lines: at most {FILE_LINES_MAX}"
    begin = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            begin = number
        elif line == "}" and begin is not None:
            if number - begin - 1 > FUNCTION_LINES_MAX:
                yield begin, f"a function of {number - begin - 1} lines: at most {FUNCTION_LINES_MAX}"
            begin = None


def check_comments(path, lines):
    """A block of lines without a blank line between them has one comment, at its beginning or further down."""
    has_comment = in_block = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            has_comment = in_block = False
        elif line.startswith(("/*", " *")) or in_block:
            has_comment = True
            in_block = "*/" not in line and (in_block or line.startswith("/*"))
        elif DECLARATION.match(line) and not line.startswith(("static", "typedef", "struct {")) and not has_comment:
            yield number, "a function without a comment"
            has_comment = True  # once for a block


def read(top, path):
    with open(os.path.join(top, path), encoding="utf-8") as f:
        return f.read()


def documents(top):
    for folder in (".", "docs"):
        for name in sorted(os.listdir(os.path.join(top, folder))):
            if name.endswith((".md", ".5", ".7", ".8")) and name != "CHANGELOG.md":
                yield os.path.normpath(os.path.join(folder, name))


def check_names(top):
    """Yield (path, line, text) for each name of a function that is nowhere in the code."""
    sources = {path: read(top, path) for path in files(top, "src", "milter", "tests")}
    code = "".join(COMMENT.sub("", text) for text in sources.values())
    known = set(re.findall(r"\w+", code)) | FOREIGN
    texts = {path: [(0, read(top, path))] for path in documents(top)}
    for path, text in sources.items():
        texts[path] = [(m.start(), m.group()) for m in COMMENT.finditer(text)]
    for path, parts in texts.items():
        for start, part in parts:
            for match in NAMED.finditer(part):
                if match.group(1) not in known:
                    before = (sources[path][:start] if path in sources else "") + part[: match.start()]
                    yield path, before.count("\n") + 1, f"{match.group(1)}() does not exist"


VERSIONS = (  # where the version is written, with its pattern
    ("configure.ac", r"AC_INIT\(\[splitmilter\], \[([\d.]+)\]\)"), ("debian/changelog", r"splitmilter \(([\d.]+)\)"), ("packaging/rpm/splitmilter.spec", r"Version: +([\d.]+)"),
    ("docs/operations.md", r"splitmilter_([\d.]+)_amd64\.deb"), ("docs/scaling.md", r"splitmilter_([\d.]+)_amd64\.deb"),
)


def check_versions(top):
    """Yield (path, line, text) for each version that is not that of configure.ac; a pattern that matches nothing is a fault, too."""
    expected = None
    for path, pattern in VERSIONS:
        text = read(top, path)
        matches = list(re.finditer(pattern, text))
        if path == "debian/changelog":
            matches = matches[:1]
        if not matches:
            yield path, 1, f"no version is found: {pattern}"
        for match in matches:
            expected = expected or match.group(1)
            if match.group(1) != expected:
                yield path, text.count("\n", 0, match.start()) + 1, f"version {match.group(1)}, but configure.ac has {expected}"


def main():
    top = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    wrong = 0
    for path in files(top, "src", "milter"):
        lines = read(top, path).split("\n")[:-1]
        checks = [check_includes, check_lengths]
        if path.endswith(".h"):
            checks.append(check_comments)
        for check in checks:
            for number, text in check(path, lines):
                print(f"{path}:{number}: {text}")
                wrong += 1
    for path in files(top, "src", kinds=(".js", ".css")):  # of the page
        for number, text in check_lengths(path, read(top, path).split("\n")[:-1]):
            print(f"{path}:{number}: {text}")
            wrong += 1
    for path, number, text in [*check_names(top), *check_versions(top)]:
        print(f"{path}:{number}: {text}")
        wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
