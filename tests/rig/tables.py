# SPDX-License-Identifier: ISC
"""What the tests of tables on a server share (mysql:, pgsql:, ldap:, sqlite:): rows, hostile keys, the comparison with postmap(1),
and outages.

    class Pgsql(tables.Backend):            # what differs between the types; see there
        kind = "pgsql"
        ...

    def test_same_answers_as_postmap(r):
        tables.compare_cases(Pgsql(r))

    def test_injections(r):
        tables.check_injections(Pgsql(r))

Outages are in table_outages.py.

Environment: SPLIT_LOOKUPS (look-ups that are compared, 800), SPLIT_INJECTIONS (10000), SPLIT_SEED (repeats a run).
"""

import concurrent.futures
import os
import random
import subprocess

from .base import Failure, Skip, TIME_FACTOR, need_tools
from .daemons import program, sanitizer_environment
from .postfix import environment

LOOKUPS = int(os.environ.get("SPLIT_LOOKUPS", "800"))
INJECTIONS = int(os.environ.get("SPLIT_INJECTIONS", "10000"))
FOUND, NOT_FOUND, FAILED, LIMIT = "=", "-", "!", "#"
FAILURES_ASKED = 12  # keys for which both programs fail, that postmap is asked for: it sleeps for a second each time

# Rows that all tables have: address -> values. The local parts have characters that a driver must quote.
NAMES = (
    "anna", "bob", "o'brien", "d''arc", "back\\slash", "trail\\", "per%cent", "under_score", "underxscore", "star*", "pa(ren", "pa)ren", "semi;colon", "dash--dash",
    "hash#", "slash/*", "am&p", "pi|pe", "bang!", "eq=", "lt<", "til~de", "dol$lar", "$1", "%s", "%u", "a,b", '"quo ted"', 'dq"uote', "back`tick", "br[ace]", "q?", "plus+ext", "x.y.z",
    "jürgen", "ñandú", "straße", "日本", "emoji😀", "null", "true", "0", "-1", "e'x", "admin",
)
DOMAINS = ("example.com", "example.net", "mail.example.com", "a.b.c.d.example.org", "bücher.example")
VALUES = (
    "anna@store.test", "Bob@Store.Test", "local", "@all.test", "user@", "a@b@c.test", "x@mail.a.test", "o'neil@q.test", "b\\s@q.test", "per%s@q.test", "%d", "two words", "comma, space",
    '"q"@q.test', "ü@ö.test", "smtp:[192.0.2.1]:25", " lead", "trail ", "", "none",
)


def seed():
    """The seed of a random test, which is printed so that SPLIT_SEED can repeat the run."""
    value = int(os.environ.get("SPLIT_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SPLIT_SEED={value}")
    return value


def make_rows(rnd):
    """Random rows: {address: [value, ...]}. All addresses are folded, as keys are. Among them are whole domains and "@domain", keys with
    several values and with empty values. "loadN@example.com" has the name of a filter, for messages through Postfix."""
    rows = {}
    for domain in DOMAINS:
        for name in NAMES:
            if rnd.random() < 0.7:
                rows[f"{name}@{domain}"] = [rnd.choice(VALUES) for _ in range(rnd.choice((1, 1, 1, 1, 2, 3, 5)))]
        for key in (domain, f"@{domain}", f".{domain}"):
            if rnd.random() < 0.5:
                rows[key] = [rnd.choice(VALUES)]
    for i in range(10):
        rows[f"load{i}@example.com"] = ["primary" if i % 2 else "secondary"]
    return {address.casefold(): values for address, values in rows.items()}


# --- hostile keys ---------------------------------------------------------------------------------------------------------------

# Texts that end a string, a filter, a comment or a statement in some language.
BREAKERS = [
    b"'", b"''", b"'''", b"\\", b"\\\\", b"\\'", b"\\\\'", b"'\\", b'"', b'""', b"`", b"%", b"%%", b"_", b"*", b"**", b"(", b")", b"))", b")(", b"*)", b"*)(", b";", b"--", b"-- ", b"#", b"/*", b"*/",
    b"\\2a", b"\\00", b"\\5c", b"\\27", b"%27", b"%s", b"%u", b"%d", b"%S", b"%1", b"%9", b"$1", b"${1}", b"$$", b"$a$", b"E'", b"U&'", b"x'", b"{", b"}", b"[", b"]", b"&", b"|", b"!", b"=", b"<", b">", b"~", b",", b":",
    b"?", b"@", b" ", b"\t", b"\r", b"\v", b"\x01", b"\x1a", b"\x7f",
]
INJECTED = [
    b"' OR '1'='1", b"' OR 1=1 -- ", b"' OR 1=1 #", b"\\' OR 1=1 -- ", b"\\' OR 1=1 #", b"' OR ''='", b"') OR ('1'='1", b'" OR ""="', b"'; DROP TABLE alias; -- ", b"'; DELETE FROM alias; -- ",
    b"'; UPDATE alias SET goto = 'evil@x.test'; -- ", b"'; INSERT INTO alias VALUES ('a', 'b'); -- ", b"' UNION SELECT 'evil@x.test", b"' UNION SELECT goto FROM alias -- ", b"'||(SELECT goto FROM alias LIMIT 1)||'",
    b"' AND pg_sleep(30) IS NULL -- ", b"' AND SLEEP(30) -- ", b"$$; DROP TABLE alias; $$", b"'; COPY alias TO PROGRAM 'id'; -- ", b"' INTO OUTFILE '/tmp/x", b"*)(mail=*", b"*)(|(mail=*", b"*))(|(objectClass=*",
    b"*)(objectClass=*))(&(a=", b")(mail=*)", b"*", b"a*", b"*a", b"*@*", b"%", b"_%", b"an_a", b"ann%", b"\\2a", b"anna\\00", b"anna,dc=example", b"anna)(!(mail=x)", b"' LIKE '", b"' IS NOT NULL -- ", b"'='", b"'+'", b"' || '",
    b"{ts '2020", b"\x00' OR 1=1 -- ", b"anna\x00", b"' OR 1=1\x00", b"sqlite_master", b"' UNION SELECT sql FROM sqlite_master -- ", b"'; ATTACH '/tmp/x' AS y; -- ", b"%s' OR '%s'='%s", b"0 OR 1=1", b"1e9", b"NULL", b"/**/OR/**/1=1",
]
# Bytes that are not UTF-8; among them the first half of characters in other encodings, which may swallow a quoting character.
NOT_UTF8 = [b"\xff", b"\xbf'", b"\xbf\\'", b"\xc0\xa7", b"\xe0\x80\xa7", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc3", b"\xe6\x97", b"\x81'", b"\x95\\", b"\xc3'", b"\xbf' OR 1=1 -- "]
LETTERS = ["ä", "Ä", "ß", "ẞ", "İ", "ı", "ſ", "K", "ﬁ", "é", "日本語", "😀", "ʼ", "＇", "′", "‘", "％", "＊", "\u200b", "\u202e", "\ufeff", "\u00a0", "\u2028", "\u0301", "Σ", "ς"]


def _without_line_end(key):
    return key.replace(b"\n", b"")


def _random_case(rnd, text):
    return "".join(c.upper() if rnd.random() < 0.3 else c for c in text) if rnd.random() < 0.3 else text


def _junk(rnd, count):
    pieces = BREAKERS + [b"a", b"anna", b"x"] + [rnd.choice(LETTERS).encode()]
    return b"".join(rnd.choice(pieces) for _ in range(rnd.randrange(1, count)))


def hostile_local_part(rnd):
    """A local part, as bytes, that a driver must quote, or that no server may see."""
    kind = rnd.random()
    if kind < 0.45:
        text = rnd.choice(INJECTED)
    elif kind < 0.55:
        text = rnd.choice(NOT_UTF8) + rnd.choice([b"", rnd.choice(INJECTED)])
    else:
        text = _junk(rnd, 8)
    return _without_line_end(rnd.choice([b"", b"", b"anna", b"bob", b"x"]) + text + rnd.choice([b"", b"", b"", b"'", b"\\", b"*", b"anna"]))


def random_key(rnd, addresses):
    """A key, as bytes without line end: an address of the table, a variation of one, or a hostile one."""
    address = rnd.choice(addresses)
    name, _, domain = address.rpartition("@")
    kind = rnd.randrange(20)
    if kind < 7:
        key = _random_case(rnd, address).encode()
    elif kind == 7:
        key = f"{name}+{rnd.choice(('ext', 'a+b', '', '%s', chr(39)))}@{domain}".encode()
    elif kind == 8:
        key = rnd.choice((domain, f"@{domain}", f".{domain}", domain.partition(".")[2], f"sub.{domain}", f"{name}@sub.{domain}", f"{name}@{domain.partition('.')[2]}")).encode()
    elif kind == 9:
        key = rnd.choice((name, f"{name}@", "@", "", f"{name}@@{domain}", f"{name}@{domain}@", f"@{name}@{domain}", f"{name}@{domain}.", f"{name}@.{domain}", f"{name}@a..{domain}", f"{name}@com", f"{name}@.", f"{name}@..", f"{address} ", f" {address}")).encode()
    elif kind == 10:
        at = rnd.randrange(len(address) + 1)
        key = address[:at].encode() + rnd.choice(BREAKERS + NOT_UTF8 + [b"\x00"]) + address[at:].encode()
    elif kind == 11:
        key = "".join(rnd.choice(LETTERS) for _ in range(rnd.randrange(1, 6))).encode() + rnd.choice((b"", b"@" + domain.encode()))
    elif kind == 12:
        key = b"a" * rnd.choice((63, 64, 65, 254, 1000)) + b"@" + domain.encode()
    elif kind == 13:
        key = name.encode() + b"@" + hostile_local_part(rnd) + rnd.choice((b"", b".", b".com", b".example.com"))
    elif kind == 14:
        key = b"x@" + b".".join(rnd.choice((b"a", b"b'", b"c\\", b"%1", b"", b"example", b"com", b"-", b"d*")) for _ in range(rnd.randrange(1, 12)))
    else:
        key = hostile_local_part(rnd) + rnd.choice((b"", b"@" + domain.encode()))
    return _without_line_end(key).replace(b"\t", b" ")  # a tab separates key and value in the output of postmap


# --- the two programs -----------------------------------------------------------------------------------------------------------


class Answer(tuple):
    """(kind, text): (FOUND, value), (NOT_FOUND, ""), (FAILED, reason) or (LIMIT, reason)."""

    def __new__(cls, kind, text=""):
        return super().__new__(cls, (kind, text))

    kind = property(lambda self: self[0])
    text = property(lambda self: self[1])

    def __eq__(self, other):
        """Failures are equal, whatever their reasons."""
        if FOUND in (self[0], other[0]) or NOT_FOUND in (self[0], other[0]):
            return tuple(self) == tuple(other)
        return True

    def __ne__(self, other):
        return not self == other

    __hash__ = tuple.__hash__


class TableQuery:
    """A running table_query, which looks keys up in one table of splitmilter. seconds: lookup_timeout."""

    def __init__(self, rig, spec, seconds=10, name="table_query"):
        self.spec = spec
        self.log_path = rig.path(f"{name}.log")
        rig.show_on_failure(f"log of {name}", self.log_path)
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                [program("table_query"), "-a", "-t", str(seconds), spec],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=sanitizer_environment(rig, name), start_new_session=True,
            )
        rig.session.record_process(self.popen.pid, name)
        rig.on_close(self.stop)

    @property
    def pid(self):
        return self.popen.pid

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def ask(self, key):
        """The answer for one key (bytes or str)."""
        return self.ask_all([key])[0]

    def ask_all(self, keys):
        """The answers for the keys, one after the other on the same table."""
        answers = []
        for key in keys:
            self.popen.stdin.write((key.encode() if isinstance(key, str) else key) + b"\n")
            self.popen.stdin.flush()
            line = self.popen.stdout.readline()
            if not line.endswith(b"\n"):
                raise Failure(f"table_query {self.spec} ended at the key {key!r}: {self.log()[-3000:]}")
            text = line[1:-1].replace(b"\\n", b"\n").replace(b"\\\\", b"\\")
            answers.append(Answer(line[:1].decode(), text))
        return answers

    def stop(self):
        """End the program; its exit status must be 0."""
        if self.popen.poll() is None:
            self.popen.stdin.close()
            try:
                self.popen.wait(timeout=30 * TIME_FACTOR)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
                raise Failure(f"table_query {self.spec} does not end") from None
        self.popen.stdout.close()
        if self.popen.returncode != 0:
            raise Failure(f"table_query {self.spec} ended with {self.popen.returncode}: {self.log()[-3000:]}")

    def descriptors(self):
        """The number of open file descriptors of the program."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def rss_kb(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


class Postmap:
    """Postfix's postmap(1), with a main.cf of its own. Skips unless it has the type."""

    def __init__(self, rig, kind):
        need_tools("postmap", "postconf")
        self.directory = os.path.dirname(rig.write("postmap/main.cf", "compatibility_level = 3.6\nsmtputf8_enable = yes\nmyhostname = host.invalid\n"))
        done = subprocess.run(["postconf", "-c", self.directory, "-m"], stdout=subprocess.PIPE, env=environment(), check=True, timeout=60)
        if kind not in done.stdout.decode().split():
            raise Skip(f"postmap has no {kind}: tables (postfix-{kind})")

    def _run(self, spec, keys):
        """The answers for keys; if postmap fails for one of them, its log as a text."""
        done = subprocess.run(
            ["postmap", "-c", self.directory, "-q", "-", spec], input=b"".join(k + b"\n" for k in keys), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(), timeout=600 * TIME_FACTOR, check=False,
        )
        log = done.stderr.decode("utf-8", "replace")
        if "fatal:" in log or "panic:" in log or done.returncode not in (0, 1):
            return log
        answers, rest = [], done.stdout
        for key in keys:
            begin = key.split(b"\0")[0] + b"\t"  # postmap takes the text before a NUL
            if rest.startswith(begin):
                value, _, rest = rest[len(begin) :].partition(b"\n")
                answers.append(Answer(FOUND, value))
            else:
                answers.append(Answer(NOT_FOUND, b""))
        if rest:
            raise Failure(f"output of postmap that belongs to no key: {rest[:300]!r}")
        return answers

    def ask_all(self, spec, keys):
        """The answers for the keys. Postmap ends at the first key for which it fails; that key is searched for."""
        answers = self._run(spec, keys)
        if isinstance(answers, list):
            return answers
        if len(keys) == 1:
            return [Answer(FAILED, answers.encode())]
        half = len(keys) // 2
        return self.ask_all(spec, keys[:half]) + self.ask_all(spec, keys[half:])

    def ask_each(self, spec, keys):
        """As ask_all(), for keys for which postmap is expected to fail: each has a process of its own."""
        with concurrent.futures.ThreadPoolExecutor(FAILURES_ASKED) as pool:
            return [found[0] for found in pool.map(lambda key: self.ask_all(spec, [key]), keys)]


# --- a type of table ------------------------------------------------------------------------------------------------------------


class Backend:
    """What the tests need to know about a type of table. A test of a type derives a class from it. The constructor starts the server,
    and skips if it is not installed; fill() makes the rows."""

    kind = ""  # "pgsql"
    secret = "pa55-w0rd-not-to-be-seen"  # the password in the .cf files, which no output may have
    # Cases for the comparison: name -> parameters in addition to those of parameters(). A case must find rows.
    cases = {}
    # The case with the values of the rows for the whole key, without result_format and limits.
    plain = {}
    # Parameters by which a host that has failed is asked again soon.
    fast = {"retry_interval": "1"}

    def __init__(self, rig):
        self.rig = rig
        self.server = None  # has start(), stop(), kill(), freeze() and thaw(); None: there is no server
        self.address = None  # (host, port) of the server
        self.rows = {}

    def fill(self, rows):
        """Empty the table, and insert the rows {address: [value, ...]}."""
        raise NotImplementedError

    def snapshot(self):
        """Everything that the server has, in a form that can be compared."""
        raise NotImplementedError

    def parameters(self, address=None):
        """The parameters of a .cf file with which the server is reached at this address ((host, port), default self.address), with
        self.secret as password."""
        raise NotImplementedError

    def is_same(self, key):
        """Is the key (bytes) equal to an address of the rows by the server's own rules of comparison, which may ignore white space
        or accents?"""
        return False

    def difference(self, case, key, ours, theirs):
        """The reason why ours and theirs (Answer) may differ for this key (bytes), as a text; None: they must not. Called with None
        for theirs first: a reason then means that postmap need not be asked."""
        return None

    def write(self, name, more=None, address=None, mode=0o640):
        """Write a .cf file. Returns the table's specification, "pgsql:/path"."""
        parameters = {**self.parameters(address), **(self.plain if more is None else more)}
        text = "".join(f"{n} = {v}\n" for n, v in parameters.items() if v is not None)
        return f"{self.kind}:{self.rig.write(f'{name}.cf', text, mode)}"


# --- the comparison -------------------------------------------------------------------------------------------------------------


def compare(backend, postmap, case, spec, keys):
    """Look the keys up with both programs. Returns the numbers of keys that were found, that failed, and {reason: number of known
    differences}."""
    query = TableQuery(backend.rig, spec, name=f"query-{case}")
    ours = query.ask_all(keys)
    query.stop()
    known, wrong = {}, []

    def is_known(i, answer):
        reason = backend.difference(case, keys[i], ours[i], answer)
        if reason is not None:
            known[reason] = known.get(reason, 0) + 1
        return reason is not None

    left = [i for i in range(len(keys)) if not is_known(i, None)]
    failed = [i for i in left if ours[i].kind in (FAILED, LIMIT)]
    asked = [i for i in left if ours[i].kind not in (FAILED, LIMIT)]
    theirs = dict(zip(asked, postmap.ask_all(spec, [keys[i] for i in asked])))
    few = failed[:FAILURES_ASKED]
    theirs.update(zip(few, postmap.ask_each(spec, [keys[i] for i in few])))
    for i, answer in theirs.items():
        if ours[i] != answer and not is_known(i, answer):
            wrong.append(f"{keys[i]!r}: ours {ours[i]!r}, postmap {answer!r}")
    if wrong:
        raise Failure(f"{case} ({spec}): {len(wrong)} answers differ:\n" + "\n".join(wrong[:20]))
    return sum(a.kind == FOUND for a in ours), len(failed), known


def compare_cases(backend):
    """Compare the answers of splitmilter and postmap for random keys, for all cases of the type."""
    value = seed()
    rnd = random.Random(value)
    postmap = Postmap(backend.rig, backend.kind)
    backend.rows = make_rows(rnd)
    backend.fill(backend.rows)
    addresses = sorted(backend.rows)
    each = max(200, LOOKUPS // len(backend.cases))
    for case, more in backend.cases.items():
        keys = [random_key(rnd, addresses) for _ in range(each)]
        found, failed, known = compare(backend, postmap, case, backend.write(f"case-{case}", more), keys)
        print(f"{case}: {each} keys, {found} found, {failed} failed" + "".join(f", {n} differ: {reason}" for reason, n in known.items()))
        assert found > each // 100, f"{case}: hardly anything was found, so the test is worth nothing"


def check_injections(backend, count=INJECTIONS, more=None, may_fail=False):
    """Hostile local parts find nothing, and change nothing on the server. Hostile addresses that the table has find their own rows
    alone. more: the case, instead of `plain`. may_fail: look-ups may fail with LIMIT, as the server refuses some keys; rows are not looked up."""
    rnd = random.Random(seed())
    backend.rows = make_rows(rnd)
    backend.fill(backend.rows)
    before = backend.snapshot()
    there = {a.casefold() for a in backend.rows}
    query = TableQuery(backend.rig, backend.write("injections", more))
    wrong, failed = [], 0
    for address, values in backend.rows.items():
        expected = b",".join(v.encode() for v in values if v)
        answer = query.ask(address)
        if not may_fail and not _has_values(answer, expected):
            wrong.append(f"{address}: {answer!r} instead of {expected!r}")
    keys = set()
    while len(keys) < count:
        keys.add(hostile_local_part(rnd) + rnd.choice((b"", b"@example.com", b"@example.net")))
    for key in sorted(keys):
        if key.split(b"\0")[0].decode("utf-8", "replace").casefold() in there or backend.is_same(key):
            continue
        answer = query.ask(key)
        failed += answer.kind != NOT_FOUND
        if answer.kind != NOT_FOUND and not (may_fail and answer.kind == LIMIT):
            wrong.append(f"{key!r}: {answer!r}")
    query.stop()
    if wrong:
        raise Failure(f"{len(wrong)} wrong answers:\n" + "\n".join(wrong[:20]))
    assert backend.snapshot() == before, "a look-up has changed the table"
    assert failed < count // 2, f"{failed} of {count} look-ups failed, so the test is worth little"


def _has_values(answer, expected):
    """Does the answer have these values (joined by commas), perhaps in another order?"""
    if not expected:
        return answer.kind == NOT_FOUND
    return answer.kind == FOUND and sorted(answer.text.split(b",")) == sorted(expected.split(b","))
