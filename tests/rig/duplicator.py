# SPDX-License-Identifier: ISC
"""splitrelay with one listener that duplicates, its primary and its backups, which are sinks unless others are given."""

import os
import signal

from . import queue
from .client import SmtpClient
from .daemons import accepts, start_splitrelay
from .sink import Sink


class Duplicator:
    """The splitrelay. It starts at once, unless `start` is False. listener, relay, destination, top: further lines of these
    sections, and outside of sections; primary, backups: sinks, or names for new ones."""

    def __init__(self, r, listener="", relay="", destination="", backups=("newmail",), primary=None, start=True, top="", env=None):
        self.rig = r
        self.primary = primary or Sink(r, "primary")
        self.backups = {b if isinstance(b, str) else b.name: Sink(r, b) if isinstance(b, str) else b for b in backups}
        self.address = ("127.0.0.1", r.free_port())
        self.spool = r.path("spool")
        os.makedirs(self.spool, 0o700, exist_ok=True)
        self.listener, self.relay, self.destination, self.top, self.env = listener, relay, destination, top, env
        self.own_relay = f'listen = {{ "unix:{r.path("relay.sock")}" }}'
        self.daemon = None
        if start:
            self.start()

    def text(self):
        destinations = "".join(
            f'destination {name} {{ relay_to = {{ "{b.bracketed}" }} retry_min = "1s" retry_max = "1s" {self.destination} }}\n'
            for name, b in self.backups.items()
        )
        copies = ", ".join(f'"{name}"' for name in self.backups)
        return (
            f'log {{ target = "stderr" }}\n{self.top}'
            f'relay {{ {self.own_relay} hostname = "relay.test" spool_directory = "{self.spool}" {self.relay} }}\n{destinations}'
            f'listener migration {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} primary = {{ "{self.primary.bracketed}" }}\n'
            f"copies = {{ {copies} }}\n{self.listener} }}\n"
        )

    def start(self, wrapper=()):
        self.daemon = start_splitrelay(self.rig, self.text(), self.address, env=self.env, wrapper=wrapper)
        return self

    def restart(self):
        """Start again after kill(), with the same spool."""
        self.daemon.start(lambda: accepts(self.address))

    def reload(self, text=None):
        """Reload with this configuration. Returns the line of the log about it."""
        with open(self.daemon.configuration_path, "w", encoding="utf-8") as f:
            f.write(text or self.text())
        before = len(self.daemon.log_lines("configuration (not )?reloaded"))
        self.daemon.signal(signal.SIGUSR1)
        return self.daemon.wait_log("configuration (not )?reloaded", count=before + 1)[-1]

    def client(self, **options):
        return SmtpClient(self.address, **options)

    def spooled(self, state=None, destination=None):
        """Ids of copies in this state. Without a state: ids of all copies, and of messages that are being received."""
        ids = queue.ids(self.spool, state, destination)
        return ids if state else ids + queue.prepared(self.spool)


def subjects(sink):
    """The sorted subjects of all messages that a sink accepted."""
    return sorted(s for t in sink.accepted for s in t.headers("Subject"))
