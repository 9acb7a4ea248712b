#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Random tables of every type: table_query and Postfix's own postmap give the same answers, warn about the same lines, and refuse
the same tables.

SPLIT_LOOKUPS: the number of look-ups to compare for each type (100000 for a release; less by default).
Arguments: the types, if not all."""

import functools
import os
import random
import re
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading

SEED = 20261120
KEYS = 60  # looked up in each table
TABLES = max(40, int(os.environ.get("SPLIT_LOOKUPS", "3000")) // KEYS)  # of each type

LOCAL = ["a", "b", "ab", "A", "aB", "x+y", '"a b"', '"a\\"b"', "a\\ b", "ä", "a.b", "owner-a", "'", "a:"]
DOMAIN = ["", "@x", "@X.y", "@a.b.c", "@[1.2.3.4]", "@ä.de"]


def run(argv, text):
    done = subprocess.run(argv, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def random_key(rnd):
    return rnd.choice(LOCAL) + rnd.choice(DOMAIN)


@functools.cache
def fails_for_other_text():
    """Does Postfix read lines that are not UTF-8, and fail for their keys? Before version 3.11 it ignores them, as we do."""
    with tempfile.TemporaryDirectory(prefix="split-postmap-") as directory:
        for name, text in (("main.cf", b"compatibility_level = 3.6\nsmtputf8_enable = yes\n"), ("table", b"key \xff\n")):
            with open(os.path.join(directory, name), "wb") as f:
                f.write(text)
            os.utime(os.path.join(directory, name), (1600000000, 1600000000))
        return run(["postmap", "-c", directory, "-q", "key", f"texthash:{directory}/table"], b"")[2].startswith("postmap: warning: texthash:")


def texthash_text(rnd):
    """Mostly normal lines, and all kinds of odd ones between them."""
    odd = ["# comment", "  # indented comment", "", "  ", "\t", "\r", " continued", "\tcontinued, more", "key", "key  ", '"open key value',
           "a\\", 'a" b" c', "key: value", "\f", "key\rvalue", '"" empty', "a\\", '"a\\', "latin x" if fails_for_other_text() else "latin \udcff", "#", "key\vvalue x \v"]
    lines = []
    for _ in range(rnd.randrange(40)):
        if rnd.random() < 0.35:
            lines.append(rnd.choice(odd))
        else:
            lines.append(random_key(rnd) + rnd.choice([" ", "\t", "  \t ", " \f"]) + rnd.choice(["v", "v w", "ü", "x # y", '"q', "{a}"]) + str(rnd.randrange(9)) + rnd.choice(["", " ", "\r"]))
    return rnd.choice(["\n", "\n", "\n", "\n\n", "\r\n"]).join(lines) + rnd.choice(["", "\n"])


def regexp_text(rnd):
    atoms = ["a", "b", "x", "@", "\\.", ".", ".*", "(a|b)", "(.*)", "(x)?", "([ab]+)", "^", "$", "\\/", " ", "ä", "[[:alpha:]]", "a{1,2}", "\\+", "(a)(b)?"]
    # Without "/a\\": postmap takes a backslash at the end of a line for the closing delimiter of a regexp, splitmilter refuses it.
    odd = ["# comment", "", "  ", "/a", "!", "junk", "if", "iffy /a/ b", "/(/ x", "/a/q x", "/a/", "x/a/ b", "/a/i", " continued", "endif x", "if /a/ x",
           "/[/ x", "if /(/", "/a/  ", "!/(a)/ $1", "/a/!/b/ both", "/(a)/!/b/ $1", "/a/! /b/ sp", "/a/!", "/a/!!/b/i c", "if /a/!/b/", "/a/!/(/ x", "/a\\/b/ c"]
    return rules_text(rnd, atoms, odd, "iiimx", True)


def pcre_text(rnd):
    atoms = ["a", "b", "x", "@", "\\.", ".", ".*", "(a|b)", "(.*)", "(x)?", "([ab]+)", "^", "$", "\\/", " ", "ä", "(?:b)", "\\+", "(a)(b)?"]
    odd = ["# comment", "", "  ", "/a", "/a\\", "!", "junk", "if", "iffy /a/ b", "/(/ x", "/a/q x", "/a/", "x/a/ b", "/a/i", " continued", "endif x", "if /a/ x",
           "/[/ x", "if /(/", "/a/  ", "!/(a)/ $1", "ifx", "if!/a/", "/a\\/b/ c", "\\a\\ b"]
    return rules_text(rnd, atoms, odd, "iiimsxAEUX", False)


def rules_text(rnd, atoms, odd, flag_letters, has_second):
    subst = ["v", "w ", "$1", "${1}", "$(2)", "$2", "$$", "ü", " ", "$3"]
    odd_subst = ["$", "${1", "$1a", "$99", "$0", "${x}", "$((1))", "$1_", "${}", "$01", "$(1}"]

    def one_pattern():
        delimiter = rnd.choice(["/", "/", "/", "|", "%", "'"])
        body = rnd.choice(["", "", "^"]) + "".join(rnd.choice(atoms) for _ in range(rnd.randrange(1, 5)))
        flags = "".join(rnd.choice(flag_letters) for _ in range(rnd.choice([0, 0, 0, 1, 2])))
        return rnd.choice(["", "", "", "!", "!!", "! "]) + delimiter + body + delimiter + flags

    def pattern():
        return one_pattern() + (one_pattern() if has_second and rnd.random() < 0.1 else "")

    lines = []
    for _ in range(rnd.randrange(25)):
        kind = rnd.random()
        if kind < 0.15:
            lines.append(rnd.choice(odd))
        elif kind < 0.3:
            lines.append(rnd.choice(["if ", "IF ", "if", "If\t"]) + pattern())
        elif kind < 0.45:
            lines.append(rnd.choice(["endif", "ENDIF", "endif "]))
        else:
            pieces = subst if rnd.random() < 0.85 else subst + odd_subst
            lines.append(pattern() + rnd.choice([" ", "\t", "  "]) + "".join(rnd.choice(pieces) for _ in range(rnd.randrange(1, 5))))
    return "\n".join(lines) + rnd.choice(["", "\n"])


def inline_argument(rnd):
    def pair():
        return random_key(rnd) + rnd.choice(["=", "=", " = ", "= ", " ", ""]) + rnd.choice(["v", "w=", "{a b}", "ü", "", "{", "v w"])

    def good():
        return rnd.choice(["a", "b", "ab@x", "A@X.y", "ä", "x+y"]) + "=" + rnd.choice(["v", "w", "{a b}", "ü", "a=b"]) + str(rnd.randrange(9))

    items = []
    wild = rnd.random() < 0.15  # few, because postmap sleeps for a second when it refuses a table
    for _ in range(rnd.randrange(1, 8)):
        item = pair() if wild and rnd.random() < 0.3 else good()
        items.append(rnd.choice(["%s", "%s", "{%s}", "{ %s }", "{ %s x}"]) % item)
    text = "{" + rnd.choice(["", " "]) + rnd.choice([",", " ", ", ", " ,\t"]).join(items) + rnd.choice(["", " "]) + "}"
    if wild and rnd.random() < 0.2:
        text += rnd.choice([" ", "x", "}", "{"])
    return text


def static_argument(rnd):
    """Mostly valid arguments, because postmap sleeps when it refuses one."""
    return rnd.choice(["x", "x y", "{x}", "{ x y }", "}", "{{a}}", "{ {a} b }", "ü", "a:b", " x ", "{a\tb}", rnd.choice(["{x", "{x} ", "{x}y", "v"])])


def compiled_text(rnd):
    """Sources that postmap can compile."""
    lines = []
    for _ in range(rnd.randrange(1, 60)):
        lines.append(random_key(rnd) + str(rnd.randrange(3)) + rnd.choice([" ", "\t", "  \t "]) + rnd.choice(["v", "v w", "ü", "x # y", "{a}"]) + str(rnd.randrange(9)))
    return "\n".join(lines) + "\n"


class Socketmap(socketserver.ThreadingTCPServer):
    """A server with random answers, which are always the same for the same key."""

    allow_reuse_address = True
    daemon_threads = True

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while True:
                digits = b""
                while not digits.endswith(b":"):
                    digit = self.rfile.read(1)
                    if not digit:
                        return
                    digits += digit
                request = self.rfile.read(int(digits[:-1]) + 1)[:-1]
                reply = self.server.answer(request)
                self.wfile.write(b"%d:%s," % (len(reply), reply))
                if request[-1:] in (b"b", b"y"):  # the connection ends between two requests
                    return

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @staticmethod
    def answer(request):
        rnd = random.Random(request)
        if rnd.random() < 0.5:
            return rnd.choice([b"NOTFOUND ", b"NOTFOUND", b"NOTFOUND x", b"OK"])
        return rnd.choice([b"OK v", b"OK v w", "OK ü".encode(), b"OK %d" % rnd.randrange(1000), b"OK " + b"long " * 10000, b"OK  x", b"OK cut\0 off"])


def warned_lines(log):
    """The numbers of the lines with a warning in a log, of postmap or of table_query."""
    ours = {int(n) for n in re.findall(r"warning: [^:\n]*/table:(\d+): (?!logical line must not|ignoring obsolete)", log)}
    theirs = {int(n) for n in re.findall(r"warning: .*?/table, line (\d+): (?!ignoring obsolete)", log)}
    return ours | theirs


def compare(kind, argument, source, keys, config, driver):
    """Compare the two programs for one table. Returns (the number of keys found, the table was refused)."""
    spec = f"{kind}:{argument}"
    text = ("\n".join(keys) + "\n").encode()
    their_code, theirs, their_log = run(["postmap", "-c", config, "-q", "-", spec], text)
    our_code, ours, our_log = run([driver, spec], text)
    shown = f"{spec!r}\n{source!r}\n--- postmap {their_code}\n{theirs!r}\n{their_log}\n--- table_query {our_code}\n{ours!r}\n{our_log}"
    refused = "fatal:" in their_log or "error:" in their_log
    assert refused == (our_code == 2), "only one refuses the table: " + shown
    if kind == "socketmap":  # newer ones take "OK" without a value for an empty result, and warn
        theirs = re.sub(rb"(?m)^[^\t\n]*\t\n", b"", theirs)
    if not refused:
        assert ours == theirs, "answers differ: " + shown
        assert warned_lines(our_log) == warned_lines(their_log), "warnings differ: " + shown
    return theirs.count(b"\n"), refused


def put(kind, source, path):
    """Make the table. Returns the argument behind "kind:"."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as f:
        f.write(source)
    os.utime(path, (1600000000, 1600000000))  # postmap waits until a file is no longer hot
    if kind in ("lmdb", "cdb"):
        run(["postmap", "-c", os.path.dirname(path), f"{kind}:{path}"], b"")
    return path


def check_kind(kind, make, in_file, directory, driver):
    rnd = random.Random(f"{SEED} {kind}")
    path = os.path.join(directory, "table")
    found = refused = 0
    suffixes = ("0", "1", "2") if kind in ("lmdb", "cdb") else ("",)
    for _ in range(TABLES):
        source = make(rnd)
        keys = [random_key(rnd) + rnd.choice(suffixes) for _ in range(KEYS)]
        if kind != "lmdb":  # for which postmap fails with an empty key
            keys[0] = ""
        argument = put(kind, source, path) if in_file else source
        n, was_refused = compare(kind, argument, source, keys, directory, driver)
        found += n
        refused += was_refused
    print(f"{kind}: {TABLES} tables, {refused} refused by both; {TABLES * KEYS} keys, {found} found", flush=True)
    assert found > TABLES, "hardly anything was found: the test is worth nothing"
    assert refused < TABLES / 2, "most tables are refused: the test is worth nothing"


def main():
    driver = os.path.join(os.environ.get("SPLIT_BUILD_DIR", "."), "tests", "it", "table_query")
    if shutil.which("postmap") is None:
        print("SKIP: postmap is not installed")
        return 77
    skipped = False
    wanted = sys.argv[1:] or ("texthash", "inline", "static", "regexp", "socketmap", "lmdb", "cdb", "pcre")
    with tempfile.TemporaryDirectory(prefix="split-postmap-") as directory:
        with open(os.path.join(directory, "main.cf"), "w", encoding="ascii") as f:
            f.write("compatibility_level = 3.6\nsmtputf8_enable = yes\nmyhostname = host.invalid\n")
        # With a main.cf of the test, because the system may have none.
        types = subprocess.run(["postconf", "-c", directory, "-m"], stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode().split()
        simple = (("texthash", texthash_text, True), ("inline", inline_argument, False), ("static", static_argument, False), ("regexp", regexp_text, True))
        for kind, make, in_file in simple:
            if kind in wanted:
                check_kind(kind, make, in_file, directory, driver)
        if "socketmap" in wanted:
            with Socketmap() as server:
                port = server.server_address[1]
                check_kind("socketmap", lambda rnd: f"inet:127.0.0.1:{port}:map{rnd.randrange(100)}", False, directory, driver)
                server.shutdown()
        known = run([driver, "nosuchtype:x"], b"")[2]
        for kind, make in (("lmdb", compiled_text), ("cdb", compiled_text), ("pcre", pcre_text)):
            if kind in wanted and kind in types and kind in known:
                check_kind(kind, make, True, directory, driver)
            elif kind in wanted:
                print(f"SKIP: no {kind} in {'splitmilter' if kind in types else f'postmap (postfix-{kind})'}")
                skipped = True
    return 77 if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
