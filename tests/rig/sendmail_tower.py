# SPDX-License-Identifier: ISC
"""The tower with a Sendmail as front. The filters give mail back to its port without milter, and it delivers to the mailboxes.

    client -> front -+-> filter secondary -+-> front, again -> mailbox
                |    +-> filter primary ---+
           splitmilter +-> splitrelay -> archive, newmail        (backups)
"""

import os

from .daemons import TOP, run_splitctl
from .sendmail import Sendmail
from .tap import Tap
from .tower import Tower

INSTALLED_M4 = "sendmail/splitmilter.m4')"


def setup_sendmail(rig, configuration_path, reinject):
    """(lines for sendmail.mc, mailertable), as `splitctl setup-sendmail` prints them. The m4 file is that of the source tree,
    because none is installed."""
    _, mc, _ = run_splitctl(rig, configuration_path, "setup-sendmail", "-r", str(reinject), "mc")
    _, table, _ = run_splitctl(rig, configuration_path, "setup-sendmail", "mailertable")
    include = f"include(`{os.path.join(TOP, 'conf', 'sendmail', 'splitmilter.m4')}')dnl"
    return "\n".join(include if INSTALLED_M4 in ln else ln for ln in mc.split("\n")), table


class SendmailTower(Tower):
    """As Tower. front_main and front_transport are further lines of sendmail.mc and of the mailertable; reinject is the address
    of the port without milter. There is no output instance."""

    makes_orcpt = False

    def _make_instances(self, front_main, front_transport):
        rig = self.rig
        self.reinject = ("127.0.0.1", rig.free_port())
        self.out = None
        self._make_filters(f"[127.0.0.1]:{self.reinject[1]}")
        self.taps["relay"] = Tap(rig, "relay", self.relay_address)
        path = rig.write("setup.conf", self.make_configuration())
        split, table = setup_sendmail(rig, path, self.reinject[1])
        self.mailertable = table + front_transport
        # A tap is between Sendmail and splitrelay.
        split = split.replace(f"SPLIT_COPY_SMTP(`{self.relay_address[1]}')", f"SPLIT_COPY_SMTP(`{self.taps['relay'].address[1]}')")
        self.front = Sendmail(
            rig,
            "front",
            split=split,
            mc=front_main or "",
            mailertable=self.mailertable,
            aliases="team: team@example.net\n",
            smart_port=self.mailbox.address[1],
        )

    def queue_id(self):
        """A dash, because Sendmail does not send its queue id with XFORWARD."""
        return "-"

    def settle(self, seconds=30):
        """Wait as Tower does, but for mail that passes the front twice."""
        super().settle(seconds)
        self.front.wait_empty(seconds)
