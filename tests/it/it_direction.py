#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Copies by direction, through a real Postfix and a real Sendmail: clients outside, in local_networks, and authenticated (SASL).

archive takes inbound and internal mail, newmail takes outbound and internal mail. So the copies of a recipient show its direction.
"""

import json
import os
import signal

import rig
from rig.milter import ALL_ACTIONS, SMFIF_SETSYMLIST, SMFIP_NOCONNECT, Milter
from rig.split_scenarios import by_subject, message

OUTSIDE, INSIDE = "127.0.0.1", "127.0.0.2"  # the client's addresses
USER, PASSWORD, REALM = "anna", "secret word", "front.test"
TAKES = {"archive": ("inbound", "internal"), "newmail": ("outbound", "internal")}
MILTER = """\
    local_networks = { "127.0.0.2" }
    local_domains = { "example.com", ".net", "front.test" }
"""
CANONICAL = "carl@example.com carl@application.com\ndora@domain.com dora@example.com\n"
FILTERS = "ben@example.com secondary\n"
COPIES = "none@example.com none\n* archive, newmail\n"
SASL_MAIN = {
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_sasl_type": "cyrus",
    "smtpd_sasl_path": "smtpd",
    "smtpd_sasl_local_domain": REALM,
    "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
}
SASL_MC = """\
define(`confAUTH_MECHANISMS', `PLAIN LOGIN')dnl
TRUST_AUTH_MECH(`PLAIN LOGIN')dnl
define(`confAUTH_REALM', `{realm}')dnl
LOCAL_CONFIG
ESASL_CONF_PATH={directory}
divert(0)dnl
"""
RELAYS = "".join(f"RELAY_DOMAIN(`{domain}')dnl\n" for domain in ("example.com", "example.net", "domain.com", "application.com"))

# (client, authenticated, {recipient: direction, or None where no table asks for copies})
CASES = (
    (OUTSIDE, False, {"anna@example.com": "inbound"}),
    (OUTSIDE, False, {"anna@domain.com": "inbound", "ben@example.com": "inbound"}),
    (INSIDE, False, {"anna@domain.com": "outbound"}),
    (INSIDE, False, {"Anna@Example.COM": "internal"}),
    (INSIDE, False, {"ben@example.com": "internal", "anna@domain.com": "outbound", "x@example.net": "internal"}),
    (INSIDE, False, {"carl@example.com": "internal", "dora@domain.com": "outbound", "none@example.com": None}),
    (OUTSIDE, True, {"anna@domain.com": "outbound"}),
    (OUTSIDE, True, {"anna@example.com": "internal", "anna@application.com": "outbound"}),
    (INSIDE, True, {"anna@example.com": "internal", "anna@domain.com": "outbound"}),
    (OUTSIDE, False, {"carl@example.com": "inbound", "none@example.com": None}),
)
FINAL = dict(line.split() for line in CANONICAL.splitlines())


def options(front_main):
    return {
        "canonical": CANONICAL,
        "filters_table": FILTERS,
        "copies": COPIES,
        "milter": MILTER,
        "destinations": {name: f"    direction = {{ {', '.join(words)} }}\n" for name, words in TAKES.items()},
        "front_main": front_main,
        "start": False,
    }


def postfix_tower(r):
    t = rig.Tower(r, short=True, **options({**SASL_MAIN, "myorigin": "front.test"}))
    directory = os.path.join(t.front.etc, "sasl")
    rig.sasl_directory(directory, "smtpd", REALM, USER, PASSWORD, owner="postfix")
    t.front.set(cyrus_sasl_config_path=directory)
    t.start()
    return t


def sendmail_tower(r):
    directory = rig.sasl_directory(r.path("sasl"), "Sendmail", REALM, USER, PASSWORD)
    t = rig.SendmailTower(r, short=True, **options(SASL_MC.format(realm=REALM, directory=directory) + RELAYS))
    t.start()
    return t


def submit(t, client, is_authenticated, recipients, subject):
    with rig.SmtpClient(t.front.address, source=client) as c:
        if is_authenticated:
            reply = c.cmd(rig.auth_plain(f"{USER}@{REALM}", PASSWORD))
            assert reply.code == 235, reply
        assert c.mail("s@sender.test").code == 250
        for recipient in recipients:
            reply = c.rcpt(recipient)
            assert reply.code == 250, (recipient, reply)
        reply = c.data(message(subject))
        assert reply.code == 250, reply


def settle(t):
    t.settle()
    rig.wait_for(lambda: not t.spooled(), 20, "an empty spool")


def wanted(recipients):
    """{destination: sorted recipients} of the copies."""
    return {name: sorted(a for a, direction in recipients.items() if direction in words) for name, words in TAKES.items()}


def copies(t, subject):
    return {name: sorted(a for txn in by_subject(sink.accepted, subject) for a in txn.addrs) for name, sink in t.backups.items()}


def check_mail(t, subject, recipients):
    """The mail itself goes to each recipient once, whatever becomes of its copies."""
    sinks = (t.mailbox, t.taps["secondary"])
    arrived = sorted(a.lower() for sink in sinks for txn in by_subject(sink.accepted, subject) for a in txn.addrs)
    assert arrived == sorted(FINAL.get(a, a).lower() for a in recipients), (subject, arrived)


def skip_of(direction):
    """The text after skip=, or None."""
    names = [name for name, words in TAKES.items() if direction and direction not in words]
    return ",".join(f"{name}(direction={direction})" for name in names) or None


def explained(t, client, is_authenticated, recipients):
    """{recipient: (direction, copies, skipped)}"""
    words = ["--authenticated"] if is_authenticated else []
    _, out, _ = rig.run_splitctl(t.rig, t.configuration_path, "explain", "--json", "--client", client, *words, *recipients)
    objects = [json.loads(line) for line in out.splitlines()][:-1]
    return {o["recipient"]: (o["direction"], o["copies"], o["skipped"]) for o in objects}


def check_explain(t, case):
    client, is_authenticated, recipients = case
    for recipient, (direction, made, skipped) in explained(t, client, is_authenticated, recipients).items():
        expected = recipients[recipient]
        assert expected in (None, direction), (case, recipient, direction)
        assert made == [name for name, words in TAKES.items() if expected in words], (case, recipient, made)
        assert skipped == [name for name, words in TAKES.items() if expected and expected not in words], (case, recipient, skipped)


def check_cases(t):
    for number, (client, is_authenticated, recipients) in enumerate(CASES):
        submit(t, client, is_authenticated, recipients, f"case {number}")
    settle(t)
    for number, case in enumerate(CASES):
        subject = f"case {number}"
        assert copies(t, subject) == wanted(case[2]), (case, copies(t, subject))
        check_mail(t, subject, case[2])
        check_explain(t, case)


def logged_skips(t):
    """[(recipient, text after skip= or None)] of all decisions, sorted."""
    lines = [ln.split(": to=<", 1)[1] for ln in t.milter.log_lines(r"splitmilter\[\d+\]: \w+: to=<")]
    return sorted((ln.split(">", 1)[0], ln.split("skip=", 1)[1] if "skip=" in ln else "") for ln in lines)


def check_log(t):
    """There is a line for each recipient for which anything was decided, with the copies that were skipped."""
    decided = [(a, skip_of(direction) or "") for _, _, recipients in CASES for a, direction in recipients.items() if direction]
    assert logged_skips(t) == sorted(decided), (logged_skips(t), sorted(decided))


def test_postfix(r):
    """Each client and recipient through Postfix: copies, mail, log and explain."""
    t = postfix_tower(r)
    check_cases(t)
    check_log(t)


def test_sendmail(r):
    """The same through Sendmail."""
    t = sendmail_tower(r)
    check_cases(t)
    check_log(t)


def test_domain_that_the_mta_adds(r):
    """A recipient without domain is internal if the domain that the MTA adds is local."""
    t = postfix_tower(r)
    submit(t, INSIDE, False, ["postmaster"], "bare")
    settle(t)
    assert copies(t, "bare") == {"archive": ["postmaster@front.test"], "newmail": ["postmaster@front.test"]}, copies(t, "bare")


def test_failed_authentication_is_none(r):
    """A client whose password is wrong stays outside."""
    t = postfix_tower(r)
    with rig.SmtpClient(t.front.address, source=OUTSIDE) as c:
        assert c.cmd(rig.auth_plain(f"{USER}@{REALM}", "wrong")).code == 535
        assert c.mail("s@sender.test", "AUTH=<>").code == 250
        assert c.rcpt("anna@domain.com").code == 250
        assert c.data(message("wrong")).code == 250
    settle(t)
    assert copies(t, "wrong") == {"archive": ["anna@domain.com"], "newmail": []}, copies(t, "wrong")


def test_reload_in_a_session(r):
    """A session that began before `direction` was in the configuration has the client's address, because it comes with MAIL."""
    t = postfix_tower(r)
    text = t.configuration
    with open(t.configuration_path, "w", encoding="utf-8") as f:
        f.write(text.replace("    direction =", "    #direction ="))
    t.milter.signal(signal.SIGUSR1)
    t.milter.wait_log("configuration reloaded")
    with rig.SmtpClient(t.front.address, source=INSIDE) as c:
        with open(t.configuration_path, "w", encoding="utf-8") as f:
            f.write(text)
        t.milter.signal(signal.SIGUSR1)
        t.milter.wait_log("configuration reloaded", count=2)
        assert c.mail("s@sender.test").code == 250
        assert c.rcpt("anna@domain.com").code == 250
        assert c.data(message("reload")).code == 250
    settle(t)
    assert copies(t, "reload") == {"archive": [], "newmail": ["anna@domain.com"]}, copies(t, "reload")


ALONE = """
log {{ target = "stderr" }}
milter {{
    socket = "{socket}"
    copy_maps = {{ "static:sent" }}
    local_networks = {{ "192.0.2.0/24", "2001:db8::/32" }}
}}
destination sent {{ relay_to = {{ "[127.0.0.1]:2601" }} direction = {{ "outbound" }} }}
"""


def test_mta_without_lists_of_macros(r):
    """An MTA that takes no list of macros is asked for CONNECT, and the client's address is from there. An MTA that takes one is
    not, and may say nothing of the client."""
    port = r.free_port()
    for name, address in ((f"unix:{r.path('m.sock')}", r.path("m.sock")), (f"inet:{port}@127.0.0.1", ("127.0.0.1", port))):
        daemon = rig.start_splitmilter(r, ALONE.format(socket=name), address, name=name[:4])
        for lacks, client, count in (
            (SMFIF_SETSYMLIST, "192.0.2.9", 1),
            (SMFIF_SETSYMLIST, "2001:db8::9", 1),
            (SMFIF_SETSYMLIST, "198.51.100.1", 0),
            (0, None, 0),
        ):
            m = Milter(address, actions=ALL_ACTIONS & ~lacks)
            assert bool(m.steps & SMFIP_NOCONNECT) == (not lacks), m.steps
            if lacks:
                m.connect(client)
            m.mail("<s@sender.test>")
            assert m.rcpt("<anna@example.com>") == "c"
            m.data()
            changes, end = m.eom()
            assert end == "c" and [c[1] for c in changes] == ["<anna@example.com.sent.copy.split.invalid>"] * count, (client, changes)
            m.close()
        daemon.kill()


if __name__ == "__main__":
    rig.main(timeout=600)
