# SPDX-License-Identifier: ISC
"""The whole job: one front Postfix that delivers to a mailbox, and a copy of every message in an archive, made in three ways; against
the same Postfix without copies. Time until all queues are empty: Postfix's, and splitrelay's. recipient_bcc_maps behind a milter that
does nothing shows what is lost to the milter protocol and the second recipient, whatever the milter does."""

import glob
import os
import re
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import rig  # noqa: E402
from rig.daemons import accepts  # noqa: E402
from measure import Table, Target, processor_seconds, switches, wait_lines  # noqa: E402

ALONE, BCC, SPLIT, LISTENER = "Postfix alone", "recipient_bcc_maps", "splitmilter and splitrelay", "a duplicating listener behind Postfix"
FLOOR = "recipient_bcc_maps and a no-op milter"
DOMAINS = {ALONE: "alone.test", BCC: "bcc.test", FLOOR: "floor.test", SPLIT: "split.test", LISTENER: "listener.test"}
COPY_CLIENT = "fallback_relay= header_checks= mime_header_checks= nested_header_checks= body_checks= bind_address= bind_address6="


def setup_options():
    """What setup-postfix writes behind the service splitcopy."""
    options = [*COPY_CLIENT.split(), "send_xforward_command=yes", "generic_maps=", "tls_wrappermode=no", "sasl_auth_enable=no"]
    options += ["tls_security_level=none", "connection_cache_on_demand=no", "line_length_limit=0"]
    return "".join(f" -o smtp_{o}" for o in options) + " -o disable_mime_output_conversion=yes"


class Whole:
    """The front with one smtpd(8) for each way, and both daemons; mailbox and archive are smtp-sinks."""

    def __init__(self, r):
        self.r = r
        self.mailbox, self.archive = rig.SmtpSink(r, "mailbox"), rig.SmtpSink(r, "archive")
        self.copies, self.listener = ("127.0.0.1", r.free_port()), ("127.0.0.1", r.free_port())
        self.milter_socket = r.path("splitmilter.sock")
        self.noop_socket = r.path("noop.sock")
        self.ports = {name: r.free_port() for name in DOMAINS}
        os.mkdir(r.path("spool"), 0o700)
        text = self.configuration()
        self.relay = rig.start_splitrelay(r, text, self.copies)
        self.milter = rig.start_splitmilter(r, text, self.milter_socket)
        noop = rig.Daemon(r, "noop", [rig.program("noop_envelope"), f"unix:{self.noop_socket}"])
        noop.start(lambda: accepts(self.noop_socket))
        os.chmod(self.noop_socket, 0o666)
        self.front = self.make_front()
        self.front.start()
        self.maillog, self.log = open(self.front.maillog, "rb"), open(self.relay.log_path, "rb")  # noqa: SIM115
        r.on_close(self.maillog.close)
        r.on_close(self.log.close)

    def configuration(self):
        return f"""\
log {{ target = "stderr" }}
milter {{
    socket = "unix:{self.milter_socket}"
    socket_group = "postfix"
    copy_maps = {{ "inline:{{ split.test=archive }}" }}
}}
relay {{
    listen = {{ "inet:{self.copies[1]}@127.0.0.1" }}
    hostname = "relay.test"
    spool_directory = "{self.r.path('spool')}"
    min_free_space = "1M"
}}
destination archive {{ relay_to = {{ "{self.archive.bracketed}" }} }}
listener duplicate {{
    listen = {{ "inet:{self.listener[1]}@127.0.0.1" }}
    primary = {{ "{self.mailbox.bracketed}" }}
    copies = {{ "archive" }}
}}
"""

    def make_front(self):
        """Its smtpd(8) differ in their options alone; the recipient's domain says which way a message goes."""
        bcc = " -o cleanup_service_name=cleanup-bcc -o receive_override_options="  # no_address_mappings would switch it off
        options = {
            ALONE: "",
            BCC: bcc,
            FLOOR: f"{bcc} -o smtpd_milters=unix:{self.noop_socket}",
            SPLIT: f" -o smtpd_milters=unix:{self.milter_socket}",
            LISTENER: "",
        }
        services = "".join(f"127.0.0.1:{port} inet n - n - - smtpd{options[name]}\n" for name, port in self.ports.items())
        services += "cleanup-bcc unix n - n - 0 cleanup -o recipient_bcc_maps=static:bcc@archive.test\n"
        services += f"splitcopy unix - - n - - smtp{setup_options()}\n"
        main = {
            "relay_domains": " ".join([*DOMAINS.values(), "archive.test"]),
            "relayhost": self.mailbox.bracketed,
            "transport_maps": "regexp:$config_directory/split_transport",
            "milter_default_action": "tempfail",
            "receive_override_options": "no_address_mappings",
            "splitcopy_destination_recipient_limit": "1000",
            "queue_run_delay": "300s",
        }
        front = rig.Postfix(self.r, "front", main, services=services)
        front.write(
            "split_transport",
            f"/\\.copy\\.split\\.invalid$/    splitcopy:[127.0.0.1]:{self.copies[1]}\n"
            "/[@.]split\\.invalid$/    retry:4.3.5 no such filter or copy\n"
            f"/@archive\\.test$/    smtp:{self.archive.bracketed}\n"
            f"/@listener\\.test$/    smtp:[127.0.0.1]:{self.listener[1]}\n",
        )
        return front

    def run(self, name, count, options):
        """Seconds until everything is delivered, and the row of `Costs`."""
        deliveries = count if name in (ALONE, LISTENER) else 2 * count  # of Postfix
        sent = {SPLIT: count, LISTENER: 2 * count}.get(name, 0)  # of splitrelay, which logs those to the primary, too
        begin = self.maillog.seek(0, os.SEEK_END)
        self.log.seek(0, os.SEEK_END)
        before = self.spent()
        start = time.monotonic()
        address = ("127.0.0.1", self.ports[name])
        rig.smtp_source(address, count, options.sessions, options.size, recipient=f"r@{DOMAINS[name]}", flags=options.flags)
        accepted = time.monotonic() - start
        wait_lines(self.maillog, b"status=sent", deliveries)
        self.maillog.seek(begin)
        wait_lines(self.maillog, b": removed\n", count)
        wait_lines(self.log, b"status=sent", sent)
        seconds = time.monotonic() - start
        after = self.spent()
        return seconds, accepted, {what: (after[what] - before[what]) / count * 1e6 for what in before}

    def spent(self):
        """Processor time in seconds, and (in millionths, as all is shown so) switches of splitrelay between its threads."""
        return {
            "Postfix": group_seconds(self.front.master),
            "splitmilter": processor_seconds(self.milter.pid),
            "splitrelay": processor_seconds(self.relay.pid),
            "sinks": processor_seconds(self.mailbox.popen.pid) + processor_seconds(self.archive.popen.pid),
            "switches of splitrelay": switches(self.relay.pid) / 1e6,
        }


def group_seconds(leader):
    """Processor time of a process group whose leader waits for its children: of the leader, those that ended, and those there are."""
    ticks = 0
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="ascii", errors="replace") as f:
                text = f.read()
        except OSError:  # has ended
            continue
        fields = text.rsplit(")", 1)[1].split()
        if int(fields[2]) == leader:
            ticks += int(fields[11]) + int(fields[12])
            if re.match(rf"{leader} ", text):
                ticks += int(fields[13]) + int(fields[14])
    return ticks / os.sysconf("SC_CLK_TCK")


def show_costs(costs):
    columns = list(next(iter(costs.values()))[0])
    print(f"\n  {'per message: processor time in us, switches':44} " + " ".join(f"{c:>12}" for c in columns))
    for name, rows in costs.items():
        print(f"  {name:44} " + " ".join(f"{statistics.median(row[c] for row in rows):>12.0f}".rjust(len(c)) for c in columns))


def bench_whole(r, options):
    whole = Whole(r)
    options.flags = ()
    table, accepted = Table("The whole job, until all queues are empty", ALONE), Table("Of it, until the front has accepted all", ALONE)
    costs = {}
    names = list(whole.ports)
    for number in range(options.rounds + 1):
        count = options.messages if number else max(50, options.messages // 10)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds, until_accepted, cost = whole.run(name, count, options)
            if number:  # round 0 warms up
                table.add(name, count / seconds)
                accepted.add(name, count / until_accepted)
                costs.setdefault(name, []).append(cost)
    for t in (table, accepted):
        t.rates = {name: t.rates[name] for name in names}
        t.show()
    show_costs({name: costs[name] for name in names})
    return [
        Target("whole job, splitmilter and splitrelay / recipient_bcc_maps", table.ratio(SPLIT, BCC), 0.80),
        Target("whole job, splitmilter and splitrelay / Postfix alone", table.ratio(SPLIT, ALONE), 0.80),
    ]
