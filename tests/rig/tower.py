# SPDX-License-Identifier: ISC
"""The whole system on one machine: front, splitmilter, two filters, output instance, splitrelay, backups.

    client -> front -+-> filter secondary -+-> out -> mailbox
                |    +-> filter primary ---+
           splitmilter +-> splitrelay -> archive, newmail        (backups)

Every hop is a real Postfix; mailbox and backups are sinks. Taps are between the front and each filter, and between the front and
splitrelay.
"""

import os

from . import queue
from .client import SmtpClient, send
from .daemons import start_splitmilter, start_splitrelay
from .postfix import Postfix
from .sink import Sink
from .tap import Tap

FILTERS = ("secondary", "primary")
BACKUPS = ("archive", "newmail")
DOMAINS = ("example.com", "example.net", "domain.com", "application.com")
DESTINATION = """\
    concurrency = 5
    retry_min = "1s"
    retry_max = "2s"
    connect_timeout = "5s"
    command_timeout = "10s"
"""


class Tower:
    """Starts everything. The parts are front, filters[NAME], out, milter, relay, mailbox, backups[NAME], taps[NAME of a filter,
    or "relay"]; milter_configuration and relay_configuration are paths.

    canonical, filters_table, copies: the texts of the three texthash tables. Each is a file that a test may rewrite (paths in
    tables["canonical"], ["filter"], ["copy"]).
    milter, relay: further lines of those sections; destinations: NAME -> further lines of that destination.
    destination_defaults: lines that every destination has before its own.
    spool: the directory of splitrelay's spool. milter_socket: "unix" or "inet". front_main: further settings in main.cf of the
    front. front_transport: further lines of its transport map.
    nexthops: NAME of a filter -> the nexthop in its section, instead of the right one.
    start: False: the test calls start().
    make_sink: Sink, or a class like it (the demo uses smtp-sink). make_postfix: Postfix, or a class like it.
    short: the filters are sinks (in taps), and the front delivers to the mailbox itself. For tests that count at the first hop.
    """

    makes_orcpt = True  # Postfix gives every recipient an ORCPT

    def __init__(
        self,
        rig,
        canonical="",
        filters_table="",
        copies="",
        milter="",
        relay="",
        destinations=None,
        destination_defaults=DESTINATION,
        nexthops=None,
        milter_socket="unix",
        spool=None,
        front_main=None,
        front_transport="",
        make_sink=Sink,
        make_postfix=Postfix,
        short=False,
        start=True,
    ):
        self.rig = rig
        self.make_postfix = make_postfix
        self.make_sink = make_sink
        self.short = short
        self.mailbox = make_sink(rig, "mailbox")
        self.backups = {name: make_sink(rig, name) for name in BACKUPS}
        self.taps = {}
        self.tables = {
            "canonical": rig.write("tables/canonical", canonical),
            "filter": rig.write("tables/filter", filters_table),
            "copy": rig.write("tables/copy", copies),
        }
        self.relay_address = ("127.0.0.1", rig.free_port())
        self.spool = spool or rig.path("relay-spool")
        self._options = {"milter": milter, "relay": relay, "destinations": destinations or {}, "nexthops": nexthops or {}}
        self._destination_defaults = destination_defaults
        if milter_socket == "unix":
            self.milter_address = rig.path("milter.sock")
            self.milter_name = self.milter_setting = f"unix:{self.milter_address}"
        else:
            self.milter_address = ("127.0.0.1", rig.free_port())
            self.milter_name = f"inet:{self.milter_address[1]}@127.0.0.1"
            self.milter_setting = f"inet:127.0.0.1:{self.milter_address[1]}"
        self._make_instances(front_main or {}, front_transport)
        self.configuration = self.make_configuration()
        self.relay = self.milter = None
        if start:
            self.start()

    def start(self):
        """Start everything: splitrelay, then splitmilter, and the front last."""
        self.start_relay()
        self.start_milter()
        for instance in self.instances:
            instance.start()

    @property
    def instances(self):
        return [i for i in (self.out, *self.filters.values(), self.front) if i]

    def _make_filters(self, relayhost):
        """Make the filters, each of which prepends a header, with a tap before each."""
        rig = self.rig
        self.filters = {}
        for name in FILTERS:
            if self.short:
                self.taps[name] = self.make_sink(rig, name)
                continue
            self.filters[name] = self.make_postfix(
                rig,
                name,
                {
                    "relayhost": relayhost,
                    "smtpd_data_restrictions": f"check_client_access static:{{PREPEND X-Filtered-By: {name}}}",
                    "receive_override_options": "no_address_mappings",
                },
            )
            self.taps[name] = Tap(rig, name, self.filters[name].address)

    def _make_instances(self, front_main, front_transport):
        rig = self.rig
        self.out = None
        relayhost = self.mailbox.bracketed
        if not self.short:
            self.out = self.make_postfix(rig, "out", {"transport_maps": "texthash:$config_directory/transport"})
            self.out.write("transport", f"* smtp:{self.mailbox.bracketed}\n")
            relayhost = self.out.bracketed
        self._make_filters(relayhost)
        self.taps["relay"] = Tap(rig, "relay", self.relay_address)
        main = {
            "relay_domains": " ".join(DOMAINS),
            "relayhost": relayhost,
            "transport_maps": "texthash:$config_directory/transport",
            "smtpd_milters": self.milter_setting,
            "milter_default_action": "tempfail",
            "receive_override_options": "no_address_mappings",
            "smtpd_recipient_restrictions": "check_recipient_access inline:{{split.invalid=REJECT}}",
        }
        main.update(front_main)
        self.front = self.make_postfix(
            rig,
            "front",
            main,
            services=(
                "untag unix - - n - - smtp -o smtp_generic_maps=pcre:$config_directory/untag\n"
                "copy unix - - n - - smtp -o smtp_send_xforward_command=yes -o smtp_line_length_limit=0\n"
            ),
        )
        self.front.write("untag", "/^(.+)\\.[a-z0-9-]+\\.filter\\.split\\.invalid$/  $1\n")
        routes = [f".{n}.filter.split.invalid  untag:{self.taps[n].bracketed}\n" for n in FILTERS]
        routes.append(f".copy.split.invalid  copy:{self.taps['relay'].bracketed}\n")
        self.front.write("transport", "".join(routes) + front_transport)

    def make_configuration(self):
        """The text of splitmilter.conf."""
        nexthops = {n: self._options["nexthops"].get(n, f"smtp:{self.taps[n].bracketed}") for n in FILTERS}
        filters = "".join(f'filter {n} {{ nexthop = "{nexthop}" }}\n' for n, nexthop in nexthops.items())
        destinations = "".join(
            f'destination {n} {{\n    relay_to = {{ "{self.backups[n].bracketed}" }}\n'
            f"{self._destination_defaults}{self._options['destinations'].get(n, '')}}}\n"
            for n in BACKUPS
        )
        return f"""\
log {{ target = "stderr" }}
milter {{
    socket = "{self.milter_name}"
    socket_group = "postfix"
    canonical_maps = {{ "texthash:{self.tables['canonical']}" }}
    filter_maps = {{ "texthash:{self.tables['filter']}" }}
    copy_maps = {{ "texthash:{self.tables['copy']}" }}
{self._options['milter']}
}}
{filters}
relay {{
    listen = {{ "inet:{self.relay_address[1]}@127.0.0.1" }}
    hostname = "relay.test"
    {queue.options(self.rig, self.spool)}
{self._options['relay']}
}}
{destinations}"""

    def start_relay(self, env=None, wrapper=()):
        os.makedirs(self.spool, mode=0o700, exist_ok=True)
        self.relay = start_splitrelay(self.rig, self.configuration, self.relay_address, env=env, wrapper=wrapper)
        return self.relay

    def start_milter(self, env=None):
        self.milter = start_splitmilter(self.rig, self.configuration, self.milter_address, env=env)
        return self.milter

    @property
    def configuration_path(self):
        return self.milter.configuration_path

    def queue_id(self):
        """The front's queue id of its last message, as splitrelay logs it."""
        return self.front.wait_log(r"cleanup.*: message-id=")[-1].split(": ")[1]

    def rcpt_reply(self, recipient, params="", sender="s@sender.test"):
        """The front's reply to one RCPT TO."""
        with SmtpClient(self.front.address) as c:
            c.mail(sender)
            return c.rcpt(recipient, params)

    def set_table(self, name, text):
        """Rewrite a table (canonical, filter, copy)."""
        with open(self.tables[name], "w", encoding="utf-8") as f:
            f.write(text)

    def send(self, recipients, content, sender="s@sender.test", **options):
        """Send one message to the front; see client.send()."""
        return send(self.front.address, sender, recipients, content, **options)

    def settle(self, seconds=30):
        """Wait until the queues of all instances are empty, in the order in which mail passes them."""
        for instance in filter(None, (self.front, *self.filters.values(), self.out)):
            instance.wait_empty(seconds)

    def spooled(self, state="queued"):
        """Ids of the copies in splitrelay's queue: queued, held or dead."""
        return queue.ids(self.spool, state)

    def bounces(self):
        """All mail that arrived with the null sender. No sender must ever get a report about copies."""
        found = [t for t in self.mailbox.transactions if t.sender == ""]
        for sink in self.backups.values():
            found += [t for t in sink.transactions if t.sender == ""]
        return found
