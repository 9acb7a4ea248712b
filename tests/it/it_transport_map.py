#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""An existing transport map of a real Postfix can be used in filter_maps, with any entries."""

import rig
from rig.split_scenarios import by_subject, message

MAP = """\
# what administrators have
filtered@example.com    smtp:[127.0.0.1]:{secondary}
default@example.com     :
moved@example.com       error:5.1.6 has moved, 100% sure
later@example.com       retry:4.3.0 not now
dropped@example.com     discard:nobody reads this
store@example.com       relay:[127.0.0.1]:{mailbox}
box@example.com         local:
example.net             lmtp:
"""


def test_an_existing_transport_map(r):
    """Entries with the nexthop of a filter select the filter, and all other entries have the same effect as without
    splitmilter."""
    path = r.path("existing")
    t = rig.Tower(
        r,
        short=True,
        start=False,
        milter=f'    filter_maps += {{ "texthash:{path}" }}\n    unfiltered_nexthops = {{ "relay:[127.0.0.1]:MAILBOX" }}\n',
        front_main={"transport_maps": f"texthash:$config_directory/transport texthash:{path}"},
    )
    ports = {name: address[1] for name, address in (("secondary", t.taps["secondary"].address), ("mailbox", t.mailbox.address))}
    r.write("existing", MAP.format(**ports))
    t.configuration = t.configuration.replace("MAILBOX", str(ports["mailbox"]))
    t.start()
    reply = t.rcpt_reply("moved@example.com")
    assert reply.code == 550 and "5.1.6" in str(reply) and "has moved" in str(reply), reply
    reply = t.rcpt_reply("later@example.com")
    assert reply.code == 450 and "4.3.0" in str(reply) and "not now" in str(reply), reply
    taken = [f"{name}@example.com" for name in ("filtered", "default", "dropped", "store")]
    t.send(taken, message("existing"))
    rig.wait_for(lambda: sum(len(txn.addrs) for txn in by_subject(t.mailbox.accepted, "existing")) == 2, 20, "the mailbox", t.mailbox.describe)
    rig.wait_for(lambda: by_subject(t.taps["secondary"].accepted, "existing"), 20, "the filter")
    assert sorted(a for txn in by_subject(t.mailbox.accepted, "existing") for a in txn.addrs) == ["default@example.com", "store@example.com"]
    assert [a for txn in by_subject(t.taps["secondary"].accepted, "existing") for a in txn.addrs] == ["filtered@example.com"]
    t.front.wait_log("to=<dropped@example.com>, relay=none, .*status=sent .nobody reads this")
    _, out, _ = rig.run_splitctl(r, t.configuration_path, "check", check=False)
    for line, value in ((4, "error:5.1.6 has moved, 100% sure"), (5, "retry:4.3.0 not now"), (6, "discard:nobody reads this")):
        assert f'{path}:{line}: result of "' in out and f'"{value}" is no filter, ' in out, out
    assert out.count("is no filter, and means none: ") == 3, out
    _, out, _ = rig.run_splitctl(r, t.configuration_path, "explain", "box@example.com", "a@example.net", "filtered@example.com")
    assert f"  filter     none                 (texthash:{path} line 8: box@example.com -> local:)\n" in out, out
    assert f"  filter     none                 (texthash:{path} line 9: example.net -> lmtp:)\n" in out, out
    assert "  filter     secondary " in out, out


if __name__ == "__main__":
    rig.main()
