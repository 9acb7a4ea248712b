# SPDX-License-Identifier: ISC
"""A simple content filter: it accepts a message, prepends a header, sends the message back to the MTA, and then replies 250."""

from .client import send
from .sink import Sink


class Filter(Sink):
    """give_back: (host, port) of the MTA's re-injection port; port: the filter's own. The messages are recorded as by a Sink."""

    def __init__(self, rig, name, give_back, port=None):
        self.give_back = give_back
        super().__init__(rig, name, hook=self._pass_on, start=False)
        if port:
            self.address = ("127.0.0.1", port)
        self.start()

    def _pass_on(self, stage, _connection, txn):
        if stage != "dot":
            return None
        content = f"X-Filtered-By: {self.name}\r\n".encode() + txn.data
        try:
            send(self.give_back, txn.sender, [(r.addr, " ".join(r.params)) for r in txn.rcpts], content, helo="filter.test")
        except (OSError, AssertionError) as e:
            return f"451 4.3.0 cannot give it back: {e}".replace("\n", " ")
        return None
