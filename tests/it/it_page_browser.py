#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The page in a headless Chromium: what it shows, that it refreshes itself, selections, texts that are full of HTML, 100,000 copies, a
splitrelay that stops, a password, and accessibility (axe-core). SPLIT_SCREENSHOTS=DIRECTORY keeps pictures."""

import re

import rig
from rig.browser import Browser, axe_source
from it_page import HOSTILE, LONG_PATTERN, Relay, put_events, put_long_history, put_some

ROWS = "[...document.querySelectorAll('#queue-table tbody tr')].map((tr) => tr.dataset.key)"
PHONE = (360, 740)
DESK = (1280, 1000)


def open_page(r, relay, url=None):
    b = Browser(r, *DESK)
    b.open(url or f"http://127.0.0.1:{relay.port}/")
    b.wait("document.querySelectorAll('#destination-table tbody tr').length > 0")
    b.wait("document.querySelector('#queue-message').textContent !== ''")
    b.wait("document.querySelector('#history-message').textContent !== ''")
    return b


def check_console(b, allowed=None):
    wrong = [m for m in b.console() if m[0] in ("SEVERE", "WARNING") and not (allowed and re.search(allowed, m[1]))]
    assert not wrong, wrong


def selected(b, relay, *words):
    """Wait until the table has what splitctl selects."""
    wanted = [c["queue_id"] for c in relay.splitctl("queue", "--json", *words)]
    rig.wait_for(lambda: b.script(f"return {ROWS}") == wanted, 20, f"{wanted} in the table", lambda: str(b.script(f"return {ROWS}")))
    return wanted


def submit(b, form="queue"):
    b.click(f"#{form}-form button[type=submit]")


def test_texts_are_texts(r):
    """HTML, escapes, and characters that are invisible or change the direction, in senders, reasons, and a Message-ID. The subject is not shown."""
    relay = Relay(r, fill=put_some)
    relay.archive.hook = lambda stage, _c, _a: f"550 5.1.1 <img src=x onerror=alert(1)> {HOSTILE % 'reply'}" if stage == "rcpt" else None
    rig.send(relay.address, "s@sender.test", ["evil@example.com.archive.copy.split.invalid"], b"Subject: <script>alert(1)</script><img src=x onerror=alert(2)>\r\n\r\nx\r\n")
    b = open_page(r, relay)
    b.wait("document.body.innerText.includes('<img src=x onerror=alert(1)>')")
    text = b.script("return document.body.innerText")
    assert HOSTILE % "s" in text and HOSTILE % 4 in text and "and 25 more" in text and HOSTILE % "reply" in text, text
    assert "\u202e" not in text and "550 5.1.1 no\ufffduser\ufffd" in text
    assert b.script("return [document.scripts.length, document.images.length, document.querySelectorAll('[onerror]').length]") == [1, 0, 0]
    b.script("[...document.querySelectorAll('#queue-table button')].find((x) => x.closest('tr').innerText.includes('evil@')).click()")
    b.wait("document.querySelector('#copy').open && document.querySelector('#copy-content').innerText.includes('evil@example.com')")
    assert b.script("return [document.scripts.length, document.images.length]") == [1, 0]
    b.screenshot("hostile-copy")
    b.click("#copy-close")
    check_console(b)


def test_it_refreshes_itself(r):
    relay = Relay(r, fill=put_some)
    b = open_page(r, relay)
    assert selected(b, relay)
    before = b.script(f"return {ROWS}")
    b.script("document.querySelector('#queue-table button').focus(); window.firstRow = document.querySelector('#queue-table tbody tr'); window.focused = document.activeElement")
    relay.archive.hook = lambda stage, _c, _a: "550 5.1.1 unknown here" if stage == "rcpt" else None
    relay.send("archive", "fresh")
    b.wait(f"({ROWS}).length === {len(before) + 1}")
    assert b.script("return window.firstRow === document.querySelector('#queue-table tbody tr') && document.activeElement === window.focused")
    relay.archive.hook = None
    relay.send("archive", "carla")
    b.wait("document.querySelector('#history-table tbody').innerText.includes('carla@example.com')")
    b.wait("/In the last minute [1-9]/.test(document.querySelector('#destination-table .graph').getAttribute('aria-label'))", 40)
    b.click("#pause")
    relay.send("archive", "not-shown")
    rig.wait_for(lambda: len(rig.queue.history(relay.spool)) == 2, 20, "the delivery")
    b.wait_quiet(8)
    assert not b.script("return document.body.innerText.includes('not-shown')")
    b.click("#now")
    b.wait("document.body.innerText.includes('not-shown')")
    check_console(b)


def test_selection(r):
    relay = Relay(r, fill=put_some)
    b = open_page(r, relay)
    selected(b, relay)
    b.type("#queue-from", "@a.test")
    submit(b)
    selected(b, relay, "--from", "@a.test")
    b.type("#queue-older", "90m")
    submit(b)
    wanted = selected(b, relay, "--from", "@a.test", "--older", "90m")
    b.open(b.script("return location.href"))  # the address keeps the selection
    b.wait(f"JSON.stringify({ROWS}) === arguments[0]", 20, str(wanted).replace("'", '"').replace(" ", ""))
    b.type("#queue-older", "soon")
    submit(b)
    b.wait("document.querySelector('#queue-message').textContent.startsWith('older: not an age')")
    assert b.script("return document.querySelector('#queue-older').getAttribute('aria-invalid')") == "true"
    b.click("#queue-form button[type=reset]")
    selected(b, relay)
    for box in ("queue", "hold"):
        b.click(f"#queue-form input[value={box}]")
    submit(b)
    selected(b, relay, "--in", "dead")
    b.click("#queue-form button[type=reset]")
    b.script("[...document.querySelectorAll('#destination-table button')].find((x) => x.textContent === 'newmail').click()")
    selected(b, relay, "newmail")
    b.type("#queue-reason", HOSTILE % 7)
    b.keys("\ue007")  # Enter
    selected(b, relay, "--reason", HOSTILE % 7, "newmail")
    check_console(b, r"status of 400")


def test_a_hundred_thousand_copies(r):
    relay = Relay(r, fill=lambda spool: rig.queue.fill(spool, 100000, 200, ("newmail",)))
    b = open_page(r, relay)
    b.wait(f"({ROWS}).length === 100", 60)
    b.wait("document.querySelector('#destination-table tbody').innerText.replace(/\\s/g, '').includes('100000')", 60)
    first = b.script(f"return {ROWS}")
    b.click("#queue-next")
    b.wait(f"({ROWS})[0] > arguments[0]", 20, first[-1])
    second = b.script(f"return {ROWS}")
    assert len(second) == 100 and not set(first) & set(second)
    b.screenshot("hundred-thousand")
    b.click("#queue-first")
    b.wait(f"({ROWS})[0] === arguments[0]", 20, first[0])
    b.type("#queue-to", "r99999@example.com")
    submit(b)
    b.wait(f"({ROWS}).length === 1", 60)
    assert b.script("return document.querySelector('#queue-table tbody').innerText.includes('s99999@sender.test')")
    check_console(b)


BEFORE = "performance.getEntriesByType('resource').map((e) => new URL(e.name).searchParams.get('before')).filter(Boolean).map(Number)"


def test_older_events(r):
    relay = Relay(r, fill=lambda spool: put_events(spool, 205))
    b = open_page(r, relay)
    first = "document.querySelector('#history-table tbody tr').innerText"
    for sender, button in (("s204@", "next"), ("s104@", "next"), ("s4@", "first"), ("s204@", None)):
        b.wait(f"{first}.includes('{sender}')")
        assert b.script("return document.querySelector('#history-next').hidden") == (button == "first")
        if button:
            b.click(f"#history-{button}")
    check_console(b)


def test_a_search_goes_on(r):
    """A search that took too long goes on where it has stopped."""
    relay = Relay(r, fill=put_long_history)
    b = open_page(r, relay, f"http://127.0.0.1:{relay.port}/?history.to={LONG_PATTERN}")
    b.wait("document.querySelector('#history-message').textContent.includes('goes on from there')", 60)
    assert b.script("return document.querySelector('#history-next').textContent") == "Search on"
    b.click("#history-next")
    rig.wait_for(lambda: b.script(f"return {BEFORE}"), 60, "a search that begins further on")
    check_console(b, r"status of 503")  # a busy splitrelay refuses other documents during the search


def test_splitrelay_stops(r):
    relay = Relay(r, fill=put_some)
    b = open_page(r, relay)
    wanted = selected(b, relay)
    relay.daemon.stop()
    b.wait("!document.querySelector('#alarm').hidden && document.querySelector('#alarm').textContent.includes('does not answer since')", 30)
    assert b.script(f"return {ROWS}") == wanted and b.script("return document.querySelector('#state').textContent") == "unknown"
    b.screenshot("stopped")
    b.click("#queue-table button")
    b.wait("document.querySelector('#copy').open")
    b.click("#copy-close")
    relay.daemon.start()
    b.wait("document.querySelector('#alarm').hidden && document.querySelector('#state').textContent === 'takes copies'", 30)
    check_console(b, r"net::ERR_(CONNECTION_REFUSED|EMPTY_RESPONSE|CONNECTION_RESET)")


def test_password(r):
    relay = Relay(r, f'page_password_file = "{r.write("passwords", "anna:secret", mode=0o600)}"', fill=put_some)
    b = open_page(r, relay, f"http://anna:secret@127.0.0.1:{relay.port}/")
    selected(b, relay)
    check_console(b)


def test_keyboard_and_dialog(r):
    relay = Relay(r, fill=put_some)
    b = open_page(r, relay)
    selected(b, relay)
    b.script("document.querySelector('#queue-table button').focus()")
    b.keys("\ue007")
    b.wait("document.querySelector('#copy').open && document.activeElement.id === 'copy-title'")
    b.wait("document.querySelector('#copy-content').innerText.includes('u0@example.com')")
    b.keys("\ue00c")  # Escape
    b.wait("!document.querySelector('#copy').open && document.activeElement.matches('#queue-table button')")
    check_console(b)


def test_accessibility(r):
    source = axe_source()
    relay = Relay(r, fill=put_some)
    rig.run_splitctl(r, relay.path, "suspend", "archive", "--reason", "<b>moving</b>")
    relay.send("newmail", "dora")
    b = open_page(r, relay)
    b.wait("document.body.innerText.includes('does not answer since')")
    found = {}
    for name, size in (("desk", DESK), ("phone", PHONE)):
        for is_dark in (False, True):
            view = f"{name}-{'dark' if is_dark else 'light'}"
            b.look(*size, is_dark)
            b.screenshot(view)
            found[view] = b.axe(source)
            assert b.script("return document.documentElement.scrollWidth <= window.innerWidth"), f"{view}: wider than the window"
            b.click("#queue-table button")
            b.wait("document.querySelector('#copy').open && document.querySelector('#copy-content').children.length > 0")
            b.screenshot(f"{view}-copy")
            found[f"{view}, copy"] = b.axe(source)
            b.click("#copy-close")
    relay.daemon.stop()
    b.wait("!document.querySelector('#alarm').hidden", 30)
    found["stopped"] = b.axe(source)
    assert not any(found.values()), found


if __name__ == "__main__":
    rig.main(timeout=300)
