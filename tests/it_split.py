#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The main job through real Postfix instances: one message, each recipient with its own filter, address and copies."""

import rig
from split_scenarios import (  # noqa: F401
    CANONICAL,
    COPIES,
    FILTERS,
    test_six_recipients,
    test_log_lines,
    test_tag_domain_is_closed,
    test_address_that_cannot_carry_a_tag,
    test_two_that_become_one,
    test_many_messages_in_one_session,
    test_unusual_addresses,
)


def setup(r):
    """A tower whose front leaves it to splitmilter to close the tag domain."""
    return rig.Tower(r, CANONICAL, FILTERS, COPIES, front_main={"smtpd_recipient_restrictions": ""})


if __name__ == "__main__":
    rig.main()
