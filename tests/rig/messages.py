# SPDX-License-Identifier: ISC
"""Messages from the world: test data and examples of the packages that are installed, and of what lies below build/corpora
or SPLIT_CORPORA (directories, separated by colons). None of them is in the tree."""

import glob
import hashlib
import os
import random
import re

from .daemons import TOP

SIZE_MAX = 1 << 20
PACKAGES = {
    "libpython3.*-testsuite": ("/usr/lib/python3*/test/test_email/data/*", os.path.join(os.path.dirname(os.__file__), "test/test_email/data/*")),
    "spamassassin": ("/usr/share/doc/spamassassin/examples/sample-*",),
    "python3-flufl.bounce": ("/usr/lib/python3/dist-packages/flufl/bounce/tests/data/*",),
    "golang-github-jhillyerd-enmime-dev": ("/usr/share/gocode/src/github.com/jhillyerd/enmime/testdata/**/*",),
}
CORPORA = os.environ.get("SPLIT_CORPORA") or os.path.join(TOP, "build/corpora")
NOT_MESSAGES = re.compile(r"\.(py|pm?l|pm|go|rb|js|c|h|cc|cpp|java|lua|rs|md|json|xml|html?|conf|toml|ya?ml|golden|sh|css|ref|tree|attr\w*)$")
FIELD = re.compile(rb"[A-Za-z][A-Za-z0-9-]*[ \t]*:")
KNOWN = re.compile(rb"(?im)^(from|to|subject|date|received|message-id|mime-version|content-type|return-path):")


def _messages_of(path):
    """The messages of a file: one, or those of an mbox; with CRLF. [] if it is something else."""
    if NOT_MESSAGES.search(path) or os.path.islink(path) or not 0 < os.path.getsize(path) <= SIZE_MAX:
        return []
    with open(path, "rb") as f:
        data = f.read()
    parts = re.split(rb"(?m)^From [^\r\n]*\d\d:\d\d[^\r\n]*\r?\n", data) if data.startswith(b"From ") else [data]
    found = []
    for part in parts:
        head = re.split(rb"\r?\n\r?\n", part, maxsplit=1)[0]
        if FIELD.match(part) and KNOWN.search(head):
            found.append(re.sub(rb"(?<!\r)\n", b"\r\n", part))
    return found


def collect(note=print):
    """Different messages, as (where they are from, content). note: called with a line on what there is, and what is missing."""
    sources = {name: [p for g in patterns for p in glob.glob(g, recursive=True)] for name, patterns in PACKAGES.items()}
    for top in CORPORA.split(":"):
        for name in sorted(d.name for d in os.scandir(top) if d.is_dir()) if os.path.isdir(top) else []:
            sources[name] = [os.path.join(d, f) for d, _, files in os.walk(os.path.join(top, name)) for f in files]
    seen, found = set(), []
    for name, paths in sources.items():
        before = len(found)
        for path in sorted(p for p in paths if os.path.isfile(p)):
            for content in _messages_of(path):
                digest = hashlib.sha256(content).digest()
                if digest not in seen:
                    seen.add(digest)
                    found.append((f"{name}: {os.path.basename(path)}", content))
        note(f"# {len(found) - before} messages from {name}" if len(found) > before else f"# SKIP: not installed: {name}")
    return found


WORDS = (b"=?koi8-r?B?8NLJ18XU?=", b"=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", b"=?gb2312?B?ytbKtw==?=", b"a\xe4\xff")


def variant(rng, content):
    """The content with one or several faults that mail has: cut off, without a field, other line ends, raw bytes, long lines."""
    lines = content.split(b"\r\n")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        match rng.randrange(7):
            case 0:
                lines = lines[: at + 1]
            case 1:
                del lines[at]
                lines = lines or [b""]
            case 2:
                lines[at] += b"\r" + bytes(rng.randrange(256) for _ in range(8)).replace(b"\n", b"")
            case 3:
                lines[at] += b"y" * 2000
            case 4:
                lines.insert(0, b"Subject: " + b" ".join(rng.choices(WORDS, k=rng.randint(1, 40))))
            case 5:
                lines = [ln for ln in lines if not ln.lower().startswith((b"message-id", b"from:"))] or [b""]
            case 6:
                lines.insert(at, lines[rng.randrange(len(lines))])
    return b"\r\n".join(lines)


def fill_up(found, count, seed):
    """`count` messages: of those that were found, and variants of them as far as they are not enough."""
    rng = random.Random(seed)
    chosen = found if len(found) <= count else rng.sample(found, count)
    made = set(c for _, c in chosen)
    while len(chosen) < count:
        name, content = rng.choice(found)
        changed = variant(rng, content)
        if changed not in made:
            made.add(changed)
            chosen = [*chosen, (f"variant of {name}", changed)]
    return chosen
