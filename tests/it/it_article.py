#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The tables of a well-known article about transport maps, literally."""

import rig

FILTERS = """\
firstmailaddress@domain.com smtp:secondaryfilter.domain.com:25
* smtp:primaryfilter.domain.com:10024
"""
CANONICAL = """\
firstmailaddress@domain.com alias123@application.com
"""
NEXTHOPS = {
    "secondary": "smtp:[secondaryfilter.domain.com]:25",
    "primary": "smtp:[primaryfilter.domain.com]:10024",
}


def setup(r):
    return rig.Tower(r, CANONICAL, FILTERS, "", nexthops=NEXTHOPS)


def test_tables_work_verbatim(t):
    """The first address of the article passes the second filter and gets its new address; other mail passes the first filter."""
    t.send(["firstmailaddress@domain.com", "secondmailaddress@domain.com"], b"Subject: article\r\n\r\nx\r\n")
    found = t.mailbox.wait(2)
    t.settle()
    assert sorted((x.addrs, x.headers("X-Filtered-By")) for x in found) == [
        (["alias123@application.com"], ["secondary"]),
        (["secondmailaddress@domain.com"], ["primary"]),
    ], found
    assert found[0].headers("Subject") == ["article"]


def test_postmap_agrees(t):
    """postmap(1) and splitctl explain find the same results in both tables."""
    for table, key in (("canonical", "firstmailaddress@domain.com"), ("filter", "firstmailaddress@domain.com")):
        said = t.front.run("postmap", "-q", key, f"texthash:{t.tables[table]}").strip()
        _, out, _ = rig.run_splitctl(t.rig, t.configuration_path, "explain", key)
        assert said in out, f"postmap says {said}, splitctl says:\n{out}"


if __name__ == "__main__":
    rig.main()
