#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The hosts that copies are sent to: MX hosts, several hosts, hosts that are down, name servers that fail."""

import json
import os
import time

import rig

COPY = "archive.copy.split.invalid"
MX_HOSTS = {"mx1.test": "127.0.0.2", "mx2.test": "127.0.0.3"}


class Relay:
    """splitrelay with one destination, "archive", and a name server."""

    def __init__(self, r, relay_to, records, destination="", top="", primary=False):
        self.rig = r
        self.dns = rig.Dns(r, records)
        self.address = ("127.0.0.1", r.free_port())
        spool = r.path("spool")
        os.mkdir(spool, 0o700)
        self.text = (
            'log { target = "stderr" level = "debug" }\n'
            f'relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" spool_directory = "{spool}"\n'
            f'dns_servers = {{ "{self.dns.server}" }} }}\n'
            f'destination archive {{ relay_to = {{ {", ".join(json.dumps(e) for e in relay_to)} }} retry_min = "1s" retry_max = "1s"\n'
            f"concurrency = 1 {destination} }}\n{top}"
        )
        try:
            self.daemon = rig.start_splitrelay(r, self.text, self.address)
        except rig.Failure as e:
            if "built without c-ares" in str(e):
                raise rig.Skip("built without c-ares") from None
            raise

    def send(self, subject):
        rig.send(self.address, "s@sender.test", [f"anna@example.com.{COPY}"], f"Subject: {subject}\r\n\r\nx\r\n".encode())

    def wait_sent(self, relay, count=1):
        return self.daemon.wait_log(rf"relay={relay}\[.*status=sent", count=count)


def mx_sinks(r):
    """The port, and two sinks on it, for mx1.test and mx2.test."""
    port = r.free_port()
    return port, *(rig.Sink(r, name.split(".", 1)[0], address=(ip, port)) for name, ip in MX_HOSTS.items())


def zone(**domains):
    """Records with these MX lists (d=... is for d.test), and with the addresses of the MX hosts."""
    records = {(name, "A"): [ip] for name, ip in MX_HOSTS.items()}
    records.update({(f"{d}.test", "MX"): values for d, values in domains.items()})
    return records


def test_preference_and_a_host_that_is_down(r):
    """The MX host with the best preference gets the copy. If it is down, the next host gets it, and for a while the first one is
    not tried again."""
    port, mx1, mx2 = mx_sinks(r)
    t = Relay(r, [f"d.test:{port}"], zone(d=[(20, "mx2.test"), (10, "mx1.test")]))
    t.send("one")
    assert mx1.wait(1)[0].headers("Subject") == ["one"]
    t.wait_sent("mx1.test")
    mx1.stop()
    t.send("two")
    mx2.wait(1)
    t.wait_sent("mx2.test")
    mx1.start()
    mx2.cut()  # the next message needs a new connection
    t.send("three")
    mx2.wait(2)
    t.wait_sent("mx2.test", count=2)
    assert len(mx1.accepted) == 1, "mx1 was tried again at once"


def test_a_domain_without_mx_is_a_host(r):
    port = r.free_port()
    sink = rig.Sink(r, "archive", address=("127.0.0.4", port))
    t = Relay(r, [f"plain.test:{port}"], {("plain.test", "A"): ["127.0.0.4"]})
    t.send("one")
    sink.wait(1)
    t.wait_sent("plain.test")
    assert ("plain.test", "MX") in t.dns.queries


def test_brackets_mean_no_mx(r):
    port, mx1, _ = mx_sinks(r)
    t = Relay(r, [f"[mx1.test]:{port}"], zone())
    t.send("one")
    mx1.wait(1)
    assert not [q for q in t.dns.queries if q[1] == "MX"], t.dns.queries


def test_the_next_entry_when_a_domain_fails(r):
    """If relay_to has several entries, a copy goes to the first one that works, behind a name that does not exist and a host that
    is down."""
    port, _, mx2 = mx_sinks(r)
    t = Relay(r, ["[nowhere.test]", f"[127.0.0.1]:{r.free_port()}", f"[mx2.test]:{port}"], zone())
    t.send("one")
    mx2.wait(1)
    t.wait_sent("mx2.test")


def test_what_a_domain_may_say(r):
    """After null MX, SERVFAIL, REFUSED, or an MX host without address a copy is deferred with that reason, and sent when the
    records are right."""
    port, mx1, _ = mx_sinks(r)
    good = [(10, "mx1.test")]
    t = Relay(r, [f"d.test:{port}"], zone(d=[(0, ".")]))
    for number, (records, lines, reason) in enumerate(
        [
            ([(0, ".")], 1, r"Domain d\.test does not accept mail \(nullMX\)"),
            ("SERVFAIL", 1, r"Name service error for name=d\.test type=MX"),
            ("REFUSED", 2, r"Name service error for name=d\.test type=MX"),
            ([(10, "none.test")], 1, r"Name service error for name=none\.test type=A"),
        ]
    ):
        t.dns.records[("d.test", "MX")] = records
        mx1.cut()
        rig.wait_for(lambda: not mx1._open, 10, "the connections to be cut")
        t.send(f"{number}")
        t.daemon.wait_log(rf"status=deferred \(.*{reason}", count=lines)
        assert len(mx1.accepted) == number
        t.dns.records[("d.test", "MX")] = good
        mx1.wait(number + 1)


def test_loop(r):
    """A copy is deferred as a loop, without an attempt, if the MX host is at port 25 of an own address."""
    t = Relay(r, ["d.test"], {("d.test", "MX"): [(10, "here.test")], ("here.test", "A"): ["127.0.0.1"]})
    t.send("one")
    t.daemon.wait_log(r"dest=archive, relay=none, .*dsn=4\.4\.6, status=deferred \(mail for d\.test loops back to myself\)")


def test_hosts_file_and_families(r):
    """A name in /etc/hosts is not looked up at the name servers, and inet_protocols selects its addresses."""
    sink = rig.Sink(r, "archive")
    port = sink.address[1]
    t = Relay(r, [f"[localhost]:{port}"], {("localhost", "A"): None, ("localhost", "AAAA"): None}, 'inet_protocols = "ipv4"')
    t.send("one")
    sink.wait(1)
    t.wait_sent("localhost")
    assert not t.dns.queries


def test_ipv6_only(r):
    port, _, _ = mx_sinks(r)
    t = Relay(r, [f"d.test:{port}"], zone(d=[(10, "mx1.test")]), 'inet_protocols = "ipv6"')
    t.send("one")
    t.daemon.wait_log(r"status=deferred \(.*name=mx1\.test type=AAAA")
    assert ("mx1.test", "A") not in t.dns.queries


def test_a_name_server_that_hangs_does_not_delay_a_stop(r):
    t = Relay(r, ["d.test:26"], {("d.test", "MX"): None}, 'connect_timeout = "1h"')
    t.send("one")
    rig.wait_for(lambda: t.dns.queries, 10, "the look-up")
    begin = time.monotonic()
    t.daemon.stop(seconds=40)
    took = time.monotonic() - begin
    print(f"stopped in {took:.1f} s")
    assert took < 35 * rig.TIME_FACTOR, f"{took:.1f} s"


def test_primary_by_domain(r):
    """A listener's primary may be a domain, whose MX hosts are used."""
    port, mx1, mx2 = mx_sinks(r)
    listen = ("127.0.0.1", r.free_port())
    t = Relay(
        r,
        [f"[127.0.0.3]:{port}"],
        zone(d=[(10, "mx1.test")]),
        top=f'listener in {{ listen = {{ "inet:{listen[1]}@127.0.0.1" }} primary = {{ "d.test:{port}" }} copies = {{ "archive" }} }}\n',
    )
    rig.send(listen, "s@sender.test", ["b@example.com"], b"Subject: x\r\n\r\nx\r\n")
    mx1.wait(1)
    mx2.wait(1)
    assert ("d.test", "MX") in t.dns.queries


def test_check(r):
    """splitctl check reports for each MX host whether it answers, and the reason if a domain has none."""
    port, _, mx2 = mx_sinks(r)
    mx2.stop()
    t = Relay(
        r,
        [f"d.test:{port}", f"none.test:{port}"],
        zone(d=[(10, "mx1.test"), (20, "mx2.test")], none=[(0, ".")]),
    )
    _, out, _ = rig.run_splitctl(r, t.daemon.configuration_path, "check", check=False)
    assert f"destination archive: mx1.test[127.0.0.2]:{port} answers" in out, out
    assert f"destination archive: mx2.test[127.0.0.3]:{port} does not answer: Connection refused" in out, out
    assert f"destination archive: none.test:{port}: Domain none.test does not accept mail (nullMX)" in out, out
    _, out, _ = rig.run_splitctl(r, t.daemon.configuration_path, "check", "--json", check=False)
    found = [o for o in map(json.loads, out.splitlines()) if o.get("destination") == "archive"]
    assert [(o["relay"], o["answers"]) for o in found if "relay" in o] == [
        (f"mx1.test[127.0.0.2]:{port}", True),
        (f"mx2.test[127.0.0.3]:{port}", False),
        (f"none.test:{port}", False),
    ], out


if __name__ == "__main__":
    rig.main()
