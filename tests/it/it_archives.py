#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Journal reports on messages from the world (rig/messages.py), as archives read them: three parsers find the message, byte for byte, and the
same sender, recipients and subject; and the rules of the archives' readers hold. SPLIT_ARCHIVE_MESSAGES sets the number of messages."""

import email
import email.errors
import email.header
import email.parser
import email.policy
import email.utils
import hashlib
import json
import os
import re
import subprocess
import unicodedata

import rig
from rig import guide, messages
from rig.journal import perl_parts, python_parts

COUNT = int(os.environ.get("SPLIT_ARCHIVE_MESSAGES", "1000"))
SEED = int(os.environ.get("SPLIT_SEED", "18"))
SUFFIX = "archive.copy.split.invalid"
JOURNAL = "journal@archive.test"
CONFIGURATION = """\
log {{ target = "stderr" }}
relay {{ listen = {{ "unix:{socket}" }} hostname = "relay.test" spool_directory = "{spool}" min_free_space = "1M" trusted_networks = {{}} }}
destination archive {{ relay_to = {{ "{sink}" }} {options} }}
"""
OPTIONS = f'format = "journal" recipient = "{JOURNAL}" sender = "null"'
MAILPARSER = os.path.join(guide.TOP, "build", "mailparser", "node_modules", "mailparser")
JAVASCRIPT = r"""
const fs = require('fs'), crypto = require('crypto'), { simpleParser } = require(process.argv[1]);
(async () => {
    for (const file of fs.readFileSync(0, 'utf8').trim().split('\n')) {
        const mail = await simpleParser(fs.readFileSync(file), { skipTextToHtml: true, skipTextLinks: true, skipImageLinks: true });
        const parts = mail.attachments.map((a) => [a.contentType, crypto.createHash('sha256').update(a.content).digest('hex'), a.content.length]);
        console.log(JSON.stringify({ parts, from: mail.headers.get('x-envelope-from'), subject: mail.subject || '', text: mail.text }));
    }
})();
"""


class Report:
    """A message, its envelope, and the report on it as the archive got it."""

    def __init__(self, session, number, name, content):
        self.session = session
        self.name = name
        self.content = content if content.endswith(b"\r\n") else content + b"\r\n"  # as it is in SMTP
        self.sender = f"s{number}@sender.test"
        self.recipients = [*to_addresses(content)[:1], f"hidden{number}@example.com", f"new{number}@example.com"]
        self.original = f"old{number}@example.com"
        self.addrs, self.data, self.lines = [], b"", []
        self.path = ""

    def send(self, client):
        assert client.mail(self.sender, "BODY=8BITMIME").code == 250
        for address in self.recipients:
            orcpt = f"ORCPT=rfc822;{self.original}" if address.startswith("new") else ""
            reply = client.rcpt(f"{address}.{SUFFIX}", orcpt)
            assert reply.code == 250, (address, reply)
        reply = client.data(self.content)
        assert reply.code == 250, (self.name, reply)

    def take(self, txn):
        self.addrs, self.data = txn.addrs, txn.data
        assert txn.sender == ""
        text = re.search(rb"\r\n\r\n--=_.*?\r\n\r\n(.*?)\r\n\r\n--=_", self.data, re.S).group(1)
        self.lines = [tuple(ln.split(": ", 1)) for ln in text.decode("utf-8").split("\r\n")]

    def values(self, *names):
        return [v for n, v in self.lines if n in names]

    def head(self):
        return self.data.split(b"\r\n\r\n", 1)[0]

    def part_heads(self):
        boundary = re.search(rb'boundary="(.*?)"', self.head()).group(1)
        return [p.split(b"\r\n\r\n", 1)[0] for p in self.data.split(b"--" + boundary + b"\r\n")[1:]]


def to_addresses(content):
    """Addresses in To that need no quotes."""
    try:
        fields = email.parser.BytesHeaderParser().parsebytes(content).get_all("To", [])
        found = [a for _, a in email.utils.getaddresses([str(f) for f in fields])]
    except Exception:  # pylint: disable=broad-except  # faults of the parser in hostile headers
        found = []
    return [a for a in found if re.fullmatch(r"[a-z0-9._-]{1,60}@[a-z0-9-]{1,60}(\.[a-z0-9-]{1,60})*\.[a-z]{2,10}", a) and ".." not in a and a[0] != "." and ".@" not in a]


def start_relay(r, options=OPTIONS):
    sink = rig.Sink(r, "archive")
    os.mkdir(r.path("spool"), 0o700)
    text = CONFIGURATION.format(socket=r.path("relay.sock"), spool=r.path("spool"), sink=sink.bracketed, options=options)
    rig.start_splitrelay(r, text, r.path("relay.sock"))
    return sink


def setup(r):
    """All reports, made once."""
    found = [m for m in messages.collect() if len(re.findall(rb"(?im)^received:", m[1])) <= 50]
    chosen = messages.fill_up(found, COUNT, SEED)
    variants = sum(name.startswith("variant") for name, _ in chosen)
    print(f"# {len(chosen) - variants} different messages, and {variants} variants of them")
    reports = [Report(r.session, i, *m) for i, m in enumerate(chosen)]
    sink = start_relay(r)
    with rig.SmtpClient(r.path("relay.sock")) as client:
        for report in reports:
            report.send(client)
    by_sender = {rp.sender: rp for rp in reports}
    for txn in sink.wait(len(reports), 120):
        by_sender[txn.headers("X-Envelope-From")[0].strip("<>")].take(txn)
    directory = r.path("reports")
    os.mkdir(directory)
    for i, report in enumerate(reports):
        report.path = os.path.join(directory, str(i))
        with open(report.path, "wb") as f:
            f.write(report.data)
    return reports


def text_of(report):
    return "\n".join(": ".join(ln) for ln in report.lines)


def check(report, reader, sender, subject, text):
    """What a reader found is what the envelope says."""
    where = f"{reader}: {report.name}"
    assert sender == f"<{report.sender}>", (where, sender)
    assert " ".join(subject.split()) == " ".join(report.values("Subject")[0].split()), (where, subject, report.values("Subject"))
    assert text.replace("\r\n", "\n").strip("\n") == text_of(report), (where, text)


def test_recipients(reports):
    for report in reports:
        named = [v.split(", Forwarded: ") for v in report.values("To", "Cc", "Bcc", "Recipient")]
        assert [v[0] for v in named] == report.recipients, (report.name, report.lines)
        assert [v[1:] for v in named][-1] == [report.original], (report.name, report.lines)
    assert sum(len(rp.values("To")) for rp in reports) > len(reports) / 4, "hardly any recipient is in To"


def decoded(text):
    """The text of a Subject field as Python's email.header decodes it, with the characters that a report replaces; None: it cannot."""
    try:
        parts = email.header.decode_header(text)
        out = "".join(p if isinstance(p, str) else p.decode(c or "us-ascii") for p, c in parts)
    except (LookupError, ValueError, email.errors.HeaderParseError):
        return None
    odd = {"\u2028", "\u2029", "\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
    return "".join("?" * len(c.encode()) if unicodedata.category(c) == "Cc" or c in odd else c for c in out)


def test_subjects(reports):
    """The subject is what an independent decoder finds in the message. Left out: raw bytes, headers with lines that are no fields or
    with CR alone, which ends a line for Python, and charsets that one of both does not know."""
    compared = 0
    for report in reports:
        message = email.message_from_bytes(report.content, policy=email.policy.compat32)
        value = message.get("Subject", "")
        wanted = None if isinstance(value, email.header.Header) else decoded(value.replace("\r\n", "").replace("\t", " "))
        has_cr = re.search(rb"\r(?!\n)", report.content.partition(b"\r\n\r\n")[0])
        if wanted is None or message.defects or has_cr or re.search(r"(?i)=\?(utf-7|iso-2022-(cn|kr))", value):
            continue
        compared += 1
        found = report.values("Subject")[0]
        assert "".join(found.split()) == cut("".join(wanted.split()), len("".join(found.split()))), (report.name, wanted, found, value)
        assert len(found.encode()) >= min(len(wanted.rstrip().encode()), 896), (report.name, wanted, found)
    print(f"# {compared} subjects compared with Python's decoder")
    assert compared > len(reports) / 3


def cut(text, length):
    return text[:length] if length > 200 else text


def test_python(reports):
    for report in reports:
        whole, text, _, found = python_parts(report.data)
        assert found == report.content, report.name
        check(report, "Python", whole["X-Envelope-From"], whole["Subject"] or "", text)


def test_perl(reports):
    for report, found in zip(reports, perl_parts([rp.path for rp in reports]), strict=True):
        check(report, "Perl", found["from"], found["subject"], found["text"])
        # MIME::Parser changes CRLF to LF.
        assert found["message"].replace(b"\r\n", b"\n") == report.content.replace(b"\r\n", b"\n"), report.name


def test_javascript(reports):
    rig.need_tools("node")
    if not os.path.isdir(MAILPARSER):
        raise rig.Skip("mailparser is not there: npm install --prefix build/mailparser mailparser")
    names = "".join(f"{rp.path}\n" for rp in reports)
    done = subprocess.run(["node", "-e", JAVASCRIPT, MAILPARSER], input=names.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    for report, line in zip(reports, done.stdout.decode().splitlines(), strict=True):
        found = json.loads(line)
        wanted = ["message/rfc822", hashlib.sha256(report.content).hexdigest(), len(report.content)]
        assert found["parts"] == [wanted], (report.name, found["parts"], wanted)
        check(report, "mailparser", found["from"], found["subject"], found["text"])


def addresses_of_piler(report):
    """The recipients that piler finds (src/parser.c, parse_line; src/tokenizer.c): it reads the lines of the first part as a header, cuts them at
    "Expanded:", and takes each word with an @."""
    lines = (re.match(r"(?i)(to|cc|bcc|recipient):(.*)", ": ".join(ln)) for ln in report.lines)
    return {w.strip(",") for m in lines if m for w in m.group(2).split("Expanded:")[0].split() if "@" in w}


def envelope_part(report):
    """Does the text follow the grammar of [MS-XJRNL] 2.1, with the optional lines that splitrelay writes?"""
    path = r"(<>|\S+@\S+|\S.*)"
    recipient = rf"(Bcc|To|Cc|Recipient): {path}(, (Expanded|Forwarded): {path})?"
    return re.fullmatch(rf"Sender: {path}\n(On-Behalf-Of: {path}\n)?Subject: .*\nMessage-Id: \S.*\n({recipient}\n)+", text_of(report) + "\n")


def fields(head):
    return [ln.split(b":")[0].lower() for ln in re.sub(rb"\r\n[ \t]", b" ", head).split(b"\r\n") if ln]


# What readers of journal reports need, and where that is written or was read.
RULES = (
    ("[MS-XJRNL] 2.1", "sender, [on behalf of], subject, Message-ID, recipients, in this order, one on each line", envelope_part),
    ("[MS-XJRNL] 2.1; bb738122", "the subject is in the charset of the part", lambda rp: b'charset="utf-8"' in rp.part_heads()[0]),
    ("bb331962, Journal report headers", "the header has X-MS-Journal-Report", lambda rp: b"x-ms-journal-report" in fields(rp.head())),
    ("bb331962", "the message is an attachment", lambda rp: b"Content-Disposition: attachment" in rp.part_heads()[1]),
    ("bb331962; mailparser, multipart", "there are two parts", lambda rp: len(rp.part_heads()) == 2),
    ("piler, parser.c", "X-MS-Journal-Report: with these letters at the start of a line", lambda rp: b"\r\nX-MS-Journal-Report:" in rp.head()),
    ("piler, parser.c", "no To or Cc below it in the header", lambda rp: not {b"to", b"cc", b"bcc"} & set(fields(rp.head().split(b"X-MS-Journal")[1]))),
    ("piler, parser.c", "the text is neither base64 nor quoted-printable", lambda rp: re.search(rb"(?m)^Content-Transfer-Encoding: (7|8)bit", rp.part_heads()[0])),
    ("piler, parser.c", "no base64 in the header", lambda rp: b"base64" not in rp.head().lower()),
    ("piler, parser.c, tokenizer.c", "these recipients", lambda rp: addresses_of_piler(rp) == {*rp.recipients, rp.original}),
    ("piler, parser.c (MAXBUFSIZE)", "lines shorter than 8 kB", lambda rp: max(map(len, rp.data.split(b"\r\n\r\n--=_", 2)[0].split(b"\r\n"))) < 8000),
    ("piler, message.c; Open Archiver, IMAP", "the Message-ID is not that of the message", lambda rp: message_id(rp) not in rp.values("Message-Id")),
    ("piler, archive_address; Open Archiver, routing address; Google, answer 2938961", "one recipient: the archive", lambda rp: rp.addrs == [JOURNAL]),
    ("RFC 5321 4.5.3.1.6; RFC 5322 2.1.1", "no line of the report over 998 bytes", lambda rp: max(map(len, own_lines(rp))) <= 998),
    ("RFC 3834 5", "no program answers it", lambda rp: b"auto-submitted" in fields(rp.head())),
)


def message_id(report):
    return re.search(rb"\r\nMessage-ID: (.*?)\r\n", report.head()).group(1).decode()


def own_lines(report):
    at = report.data.index(b"message/rfc822\r\n")
    return report.data[:at].split(b"\r\n")


def test_rules(reports):
    assert len({message_id(rp) for rp in reports}) == len(reports)
    for source, rule, is_kept in RULES:
        broken = [rp for rp in reports if not is_kept(rp)]
        assert not broken, (f"{source}: {rule}: broken by {len(broken)}", broken[0].name, broken[0].data[:2000])


def test_above_recipient_limit(reports):
    """With one address for the archive there is one report with all recipients. With the original recipients there are several, with different
    Message-IDs, and each names its recipients only."""
    assert reports
    people = [f"r{i}@example.com" for i in range(25)]
    for options, wanted in ((f"{OPTIONS} recipient_limit = 10", [25]), ('format = "journal" recipient_limit = 10', [5, 10, 10])):
        r = rig.Rig(reports[0].session, "limit")
        try:
            sink = start_relay(r, options)
            rig.send(r.path("relay.sock"), "s@sender.test", [f"{p}.{SUFFIX}" for p in people], b"Subject: x\r\nMessage-ID: <1@x>\r\n\r\nx\r\n")
            found = [re.findall(rb"(?m)^Recipient: (\S+)\r$", t.data) for t in sink.wait(len(wanted))]
            assert sorted(map(len, found)) == wanted, found
            assert sorted(a.decode() for f in found for a in f) == sorted(people)
            ids = {t.headers("Message-ID")[0] for t in sink.accepted}
            assert len(ids) == len(wanted), ids
        finally:
            wrong = r.close()
        assert not wrong, wrong


def test_configurations_of_the_page(reports):
    """splitrelay accepts each example of docs/archives.md."""
    found = [text for kind, text in guide.blocks("archives.md") if kind == "splitmilter.conf"]
    assert len(found) > 2
    r = rig.Rig(reports[0].session, "page")
    try:
        for text in found:
            path = r.write("splitmilter.conf", text)
            done = subprocess.run([rig.program("splitrelay"), "-t", "-c", path], stderr=subprocess.PIPE, check=False)
            assert done.returncode == 0, (text, done.stderr.decode())
    finally:
        wrong = r.close()
    assert not wrong, wrong


if __name__ == "__main__":
    rig.main(timeout=600)
