#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Without the option tls, TLS is used to other hosts."""

import os
import ssl

import rig

REMOTE = "192.0.2.25"


def test_default(r):
    """Without the option tls, TLS is used to another host if that offers it, and not to loopback addresses and unix sockets."""
    authority = rig.Authority(r)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("server", f"IP:{REMOTE},DNS:mx.example.test").path)
    rig.Jail(r, addresses=(f"{REMOTE}/32",))
    sinks = {
        "remote": rig.Sink(r, "remote", address=(REMOTE, 25), tls=context),
        "plain": rig.Sink(r, "plain", address=(REMOTE, 26)),
        "local": rig.Sink(r, "local", address=("127.0.0.1", 25), tls=context),
        "unix": rig.Sink(r, "unix", unix=True, tls=context),
    }
    address = ("127.0.0.1", 10030)
    spool = r.path("spool")
    os.mkdir(spool, 0o700)
    text = f'log {{ target = "stderr" }}\nrelay {{ listen = {{ "inet:10030@127.0.0.1" }} spool_directory = "{spool}" }}\n'
    for name, sink in sinks.items():
        lmtp = 'protocol = "lmtp"' if name == "unix" else ""
        text += f'destination {name} {{ relay_to = {{ "{sink.bracketed}" }} {lmtp} }}\n'
    text += f'destination must {{ relay_to = {{ "{sinks["remote"].bracketed}" }} tls = "encrypt" }}\n'
    relay = rig.start_splitrelay(r, text, address)
    rig.send(address, "s@x.test", [f"a@x.test.{name}.copy.split.invalid" for name in (*sinks, "must")], b"Subject: x\r\n\r\nx\r\n")
    got = {name: [t.tls for t in sink.wait(2 if name == "remote" else 1)] for name, sink in sinks.items()}
    assert got == {"remote": ["TLSv1.3"] * 2, "plain": [""], "local": [""], "unix": [""]}, got
    relay.wait_log(rf"Untrusted TLS connection established to {REMOTE}\[{REMOTE}\]:25: TLSv1\.3 .*, dest=remote")


if __name__ == "__main__":
    rig.main()
