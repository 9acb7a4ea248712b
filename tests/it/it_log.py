#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""log { style = "json" }: each line of the daemons is an object with the members of the classic line."""

import json
import re
import signal

import rig
from rig.milter import Milter

RELAY = """\
log {{ target = "stderr" style = "{style}" }}
relay {{ listen = {{ "inet:{port}@127.0.0.1" }} spool_directory = "{spool}" min_free_space = "1k" }}
destination archive {{ relay_to = {{ "{archive}" }} }}
destination broken {{ relay_to = {{ "{broken}" }} retry_min = "1h" retry_max = "1h" }}
destination fixed {{ relay_to = {{ "{archive}" }} recipient = "box@fixed.test" }}
"""
MILTER = """\
log {{ target = "stderr" style = "{style}" }}
milter {{
    socket = "unix:{socket}"
    canonical_maps = {{ "inline:{{ alias@a.test=one@a.test }}" }}
    filter_maps = {{ "inline:{{ alias@a.test=primary }}" }}
    copy_maps = {{ "inline:{{ {{ alias@a.test = archive, newmail }}, skipped@a.test=sent }}" }}
}}
filter primary {{ nexthop = "smtp:[127.0.0.1]:10024" }}
destination archive {{ relay_to = {{ "[127.0.0.1]:2601" }} }}
destination newmail {{ relay_to = {{ "[127.0.0.1]:2602" }} }}
destination sent {{ relay_to = {{ "[127.0.0.1]:2602" }} direction = {{ "outbound" }} }}
"""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def objects(daemon):
    """The lines of the log, each of which has to be an object with the common members."""
    found = []
    for line in daemon.log().splitlines():
        o = json.loads(line)
        assert TIME.fullmatch(o.pop("time")) and o.pop("program") == daemon.name and o.pop("pid") == daemon.pid, line
        found.append(o)
    return found


def only(daemon, **members):
    """The one line with these members, without its level."""
    found = [o for o in objects(daemon) if members.items() <= o.items()]
    assert len(found) == 1, (members, daemon.log())
    return {k: v for k, v in found[0].items() if k != "level"}


def start_relay(r, style):
    archive = rig.Sink(r, "archive")
    broken = rig.Sink(r, "broken", start=False)
    address = ("127.0.0.1", r.free_port())
    text = RELAY.format(style=style, port=address[1], spool=r.path("spool"), archive=archive.bracketed, broken=broken.bracketed)
    r.write("spool/.keep", "")
    return rig.start_splitrelay(r, text, address), archive, text


def test_splitrelay(r):
    relay, archive, _ = start_relay(r, "json")
    content = b'Message-ID: <"odd>\\"@x.test>\r\nSubject: x\r\n\r\nx\r\n'
    recipients = ['"a\\"b"@x.test.archive.copy.split.invalid', "b@x.test.broken.copy.split.invalid", "c@x.test.fixed.copy.split.invalid"]
    assert rig.send(relay.address, "", recipients, content).code == 250
    relay.wait_log('"status":"sent"', count=2)
    relay.wait_log('"status":"deferred"')
    relay.wait_log('"status":"suspended"')
    queued = only(relay, status="queued", dest="archive")
    assert isinstance(queued["size"], int) and queued["nrcpt"] == 1 and queued["from"] == "" and "queue_id" not in queued and "mta_queue_id" not in queued, queued
    assert queued["message_id"].startswith('"odd') and list(queued)[:2] == ["copy_id", "dest"], queued
    sent = only(relay, status="sent", dest="archive")
    assert sent["copy_id"] == queued["copy_id"] and sent["to"] == '"a\\"b"@x.test' and "orig_to" not in sent, sent
    assert sent["relay"].endswith(f":{archive.address[1]}") and sent["dsn"] == "2.0.0" and sent["reason"].startswith("250 "), sent
    assert isinstance(sent["delay"], (int, float)) and len(sent["delays"].split("/")) == 4 and sent["conn_use"] == 1, sent
    fixed = only(relay, status="sent", dest="fixed")
    assert (fixed["to"], fixed["orig_to"]) == ("box@fixed.test", "c@x.test"), fixed
    deferred = only(relay, status="deferred")
    assert deferred["dest"] == "broken" and "Connection refused" in deferred["reason"] and "conn_use" not in deferred, deferred
    assert only(relay, status="suspended")["seconds"] > 0
    rig.run_splitctl(r, relay.configuration_path, "hold", deferred["copy_id"])
    assert only(relay, status="held")["copy_id"] == deferred["copy_id"]
    rig.run_splitctl(r, relay.configuration_path, "release", deferred["copy_id"])
    rig.run_splitctl(r, relay.configuration_path, "retry", "--all", "broken", "--yes")
    (copy,) = [json.loads(line) for line in rig.run_splitctl(r, relay.configuration_path, "queue", "--json", "broken")[1].splitlines()]
    assert copy["copy_id"] == copy["queue_id"] == deferred["copy_id"], copy
    for o in objects(relay):
        assert " " not in o.get("status", ""), o
    assert only(relay, message="ready") == {"message": "ready"}


def test_refusals(r):
    relay = start_relay(r, "json")[0]
    client = rig.SmtpClient(relay.address)
    client.mail("s@x.test")
    assert client.rcpt("outside@example.com").code == 550
    client.close()
    relay.wait_log('"status":"rejected"')
    found = only(relay, status="rejected")
    assert (found["stage"], found["from"], found["to"], found["proto"]) == ("RCPT", "s@x.test", "outside@example.com", "ESMTP"), found
    assert found["client"] == "127.0.0.1" and found["reason"].startswith("550 5.7.1"), found


def test_splitmilter(r):
    socket = r.path("m.sock")
    daemon = rig.start_splitmilter(r, MILTER.format(style="json", socket=socket), socket)
    m = Milter(socket)
    m.macros(b"M", i="4F00")
    m.mail("<s@sender.test>")
    for recipient in ("<alias@a.test>", "<plain@b.test>", "<skipped@a.test>"):
        assert m.rcpt(recipient) == "c"
    assert m.rcpt("<x@a.archive.copy.split.invalid>").startswith("550")
    m.data()
    m.eom()
    m.close()
    daemon.wait_log('"canonical"')
    assert only(daemon, to="alias@a.test") == {"queue_id": "4F00", "mta_queue_id": "4F00", "to": "alias@a.test", "canonical": "one@a.test", "filter": "primary", "copy": "archive,newmail"}
    assert only(daemon, to="skipped@a.test") == {"queue_id": "4F00", "mta_queue_id": "4F00", "to": "skipped@a.test", "skip": "sent(direction=inbound)"}
    refused = only(daemon, status="refused")
    assert refused["queue_id"] == "4F00" and refused["reason"].startswith("550 5.7.1"), refused
    assert not [o for o in objects(daemon) if o.get("to") == "plain@b.test"]


def test_a_reload_changes_the_style(r):
    relay, _, text = start_relay(r, "splitmilter")
    assert "[" in relay.log()
    for style, pattern in (("json", r'^\{.*"message":"configuration reloaded"\}$'), ("splitmilter", r"^splitrelay\[\d+\]: configuration reloaded$")):
        r.write("splitrelay.conf", text.replace('style = "splitmilter"', f'style = "{style}"'))
        relay.signal(signal.SIGUSR1)
        relay.wait_log(pattern)


def test_a_failed_reload_leaves_the_log(r):
    """A reload fails as a whole: also when the fault is found after the section log has been read."""
    relay, _, text = start_relay(r, "splitmilter")
    passwords = r.write("passwords", "nonsense\n", mode=0o600)
    r.write("splitrelay.conf", text.replace('style = "splitmilter"', 'style = "json" level = "error"').replace("min_free_space", f'page_password_file = "{passwords}" min_free_space'))
    relay.signal(signal.SIGUSR1)
    relay.wait_log("^splitrelay.*configuration not reloaded, the old one stays: page_password_file")
    r.write("splitrelay.conf", text)
    relay.signal(signal.SIGUSR1)
    relay.wait_log(r"^splitrelay\[\d+\]: configuration reloaded$")


if __name__ == "__main__":
    rig.main()
