#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""ldap: tables, with real servers (slapd): the answers are those of postmap, hostile keys find and change nothing, and outages of a
server lose no filter.

SPLIT_LOOKUPS, SPLIT_INJECTIONS, SPLIT_TABLE_MESSAGES, SPLIT_RECONNECTS: see rig/tables.py and rig/table_outages.py."""

import os
import random
import shutil
import subprocess
import time

import rig
from rig import table_outages, tables
from rig.gate import Gate
from rig.slapd import READER, SUFFIX, escape_dn
from rig.tables import FAILED, FOUND, NOT_FOUND, TableQuery

ROWS = f"ou=rows,{SUFFIX}"
PEOPLE = f"ou=people,{SUFFIX}"
SPECIAL = {"special_result_attribute": "splitMember, splitUrl"}
URLS = (
    f"ldap:///{PEOPLE}?maildrop?one?(cn=p1*)",
    f"ldap:///cn=p3,{PEOPLE}",
    f"ldap:///{PEOPLE}?splitLeaf,splitMember?sub?(splitAddress=*2)",
    f"ldap:///{PEOPLE}?description?one?(cn=p2)",
    f"LDAP:///cn=p4,{PEOPLE}?MAILDROP",
    f"ldap:///cn=nobody,{PEOPLE}?maildrop",
    f"ldap://192.0.2.1/cn=p5,{PEOPLE}?maildrop",
)


def container(name, parent=SUFFIX):
    return f"ou={escape_dn(name)},{parent}", {"objectClass": ["organizationalUnit"], "ou": [name]}


def entry(dn, cn, **attributes):
    return dn, {"objectClass": ["applicationProcess", "extensibleObject"], "cn": [cn], **{k: v for k, v in attributes.items() if v}}


def row(dn, cn, key, values, **more):
    """An entry that is found by an address."""
    user, at, domain = key.rpartition("@")
    parts = {"splitUser": [user], "splitDomain": [domain]} if at and user else {"splitUser": [key]}
    return entry(dn, cn, splitKey=[key], splitAddress=[key], maildrop=values, **parts, **more)


def distinct(values):
    """Values that may be in one attribute together: caseIgnoreMatch compares them."""
    return list({" ".join(v.casefold().split()): v for v in values if v}.values())


def people(rnd):
    """Entries that others refer to, in chains."""
    for i in range(40):
        members = [f"cn=p{rnd.randrange(i + 1, 60)},{PEOPLE}" for _ in range(rnd.choice((0, 0, 1, 2)))]  # those above p39 do not exist
        yield entry(
            f"cn=p{i},{PEOPLE}", f"p{i}", maildrop=distinct(rnd.choice(tables.VALUES) for _ in range(rnd.choice((0, 1, 1, 2)))),
            splitLeaf=[f"leaf{i}@x.test"] if rnd.random() < 0.6 else [], splitTerminal=[f"terminal{i}@x.test"] if rnd.random() < 0.2 else [],
            splitAddress=[f"p{i}"], splitMember=sorted(set(members)),
        )  # fmt: skip
    yield entry(f"cn=loop,{PEOPLE}", "loop", splitMember=[f"cn=loop,{PEOPLE}"], maildrop=["loop@x.test"])


class Ldap(tables.Backend):
    """A server with the rows in several forms, and one with other rows that it refers to."""

    kind = "ldap"
    plain = {"query_filter": "(splitKey=%s)", "result_attribute": "maildrop"}
    fast = {}

    def __init__(self, r):
        super().__init__(r)
        self.authority = rig.Authority(r)
        certificate = self.authority.issue("ldap", "IP:127.0.0.1,DNS:localhost")
        self.far = rig.Slapd(r, "far")
        self.server = rig.Slapd(r, "ldap", certificate, self.authority, referral=self.far.url, password=self.secret)
        self.address = self.server.address
        self.server.start()
        self.far.start()

    def parameters(self, address=None):
        host, port = address or self.address
        return {"server_host": f"ldap://{host}:{port}", "version": 3, "bind": "yes", "bind_dn": READER, "bind_pw": self.secret, "search_base": ROWS}

    def _entries(self, rnd, rows):
        domains = sorted({k.rpartition("@")[2] for k in rows if "@" in k})
        yield from (container(n) for n in ("rows", "people", "exact", "domains", "aliases"))
        yield from (container(d, f"ou=domains,{SUFFIX}") for d in domains)
        yield from people(rnd)
        yield f"ou=far,{SUFFIX}", {"objectClass": ["referral", "extensibleObject"], "ou": ["far"], "ref": [f"{self.far.url}/{ROWS}"]}
        for i, (key, values) in enumerate(rows.items()):
            for j, value in enumerate(values):
                cn = f"r{i}-{j}"
                more = {
                    "splitMember": sorted({f"cn={rnd.choice(('loop', 'nobody', *(f'p{n}' for n in range(40))))},{PEOPLE}" for _ in range(rnd.choice((0, 0, 1, 2)))}),
                    "splitUrl": [rnd.choice(URLS) if rnd.random() < 0.9 else "ldap:///x?a?b?c?d?e"] if rnd.random() < 0.3 else [],
                    "splitLeaf": [f"own{i}@x.test"] if rnd.random() < 0.3 else [],
                    "splitTerminal": [f"end{i}@x.test"] if rnd.random() < 0.1 else [],
                }
                yield row(f"cn={cn},{ROWS}", cn, key, [value] if value else [], **more)
            yield row(f"splitKey={escape_dn(key)},ou=exact,{SUFFIX}", "x", key, distinct(values))
            domain = key.rpartition("@")[2]
            if domain in domains:
                yield row(f"cn=d{i},ou={escape_dn(domain)},ou=domains,{SUFFIX}", f"d{i}", key, distinct(values))
            yield f"cn=a{i},ou=aliases,{SUFFIX}", {"objectClass": ["alias", "extensibleObject"], "cn": [f"a{i}"], "aliasedObjectName": [f"cn=r{i}-0,{ROWS}"]}

    def fill(self, rows):
        rnd = random.Random(repr(sorted(rows)))
        near = list(self._entries(rnd, rows))
        far = [container("rows")] + [row(f"cn=f{i},{ROWS}", f"f{i}", key, [f"far{i}@x.test"]) for i, key in enumerate(rows) if rnd.random() < 0.4]
        for server, entries in ((self.server, near), (self.far, far)):
            server.stop()
            server.load(entries)
            server.start()

    def snapshot(self):
        return self.server.dump(), self.far.dump()

    @property
    def groups(self):
        """The cases of the comparison: group -> {case: parameters}."""
        tls = {"tls_ca_cert_file": self.authority.path, "tls_require_cert": "yes"}
        sasl = {**self.plain, "bind": "sasl", "bind_dn": None, "bind_pw": None}
        host, port = self.address
        return {
            "keys": {
                "plain": self.plain,
                "bare": {"query_filter": "splitKey=%s"},
                "text": {"query_filter": "(splitAddress=%s)"},
                "or": {"query_filter": "(|(splitAddress=%s)(maildrop=%s))", "result_attribute": "maildrop splitKey"},
                "not": {"query_filter": "(&(splitDomain=%d)(!(splitUser=%u)))", "result_attribute": "splitUser"},
                "part": {"query_filter": "(splitAddress=*%u*)", "result_attribute": "splitAddress"},
                "parts": {"query_filter": "(&(splitUser=%u)(splitDomain=%d))"},
                "domain": {**self.plain, "domain": "example.com, mail.example.com"},
                "base": {"search_base": f"ou=%d,ou=domains,{SUFFIX}", "scope": "one", "query_filter": "(splitKey=%s)"},
                "exact": {"search_base": f"splitKey=%s,ou=exact,{SUFFIX}", "scope": "base", "query_filter": "objectClass=*"},
            },
            "results": {
                "upper": {"query_filter": "(&(splitUser=%U)(splitDomain=%D))", "result_format": "%S is %s, %U at %D"},
                "user": {"query_filter": "(splitUser=%u)", "result_format": "%u"},
                "labels": {"query_filter": "(splitKey=%u@%d)", "result_format": "%1-%2-%s"},
                "value": {**self.plain, "result_format": "%u at %d, 100%%"},
                "one": {**self.plain, "expansion_limit": 1},
                "size": {**self.plain, "size_limit": 1},
            },
            "entries": {
                "members": {**self.plain, **SPECIAL},
                "leaf": {**self.plain, **SPECIAL, "result_attribute": "", "leaf_result_attribute": "maildrop splitLeaf"},
                "terminal": {**self.plain, **SPECIAL, "terminal_result_attribute": "splitTerminal", "leaf_result_attribute": "splitLeaf"},
                "recursion": {**self.plain, **SPECIAL, "recursion_limit": 2},
                "aliases": {**self.plain, "search_base": f"ou=aliases,{SUFFIX}", "dereference": 3},
            },
            "connections": {
                "anonymous": {**self.plain, "bind": "no", "bind_dn": None, "bind_pw": None},
                "port": {**self.plain, "server_host": f"127.0.0.1:{self.rig.free_port()} {host}", "server_port": port},
                "local": {**self.plain, "server_host": self.server.ldapi_url},
                "ldaps": {**self.plain, **tls, "server_host": self.server.ldaps_url},
                "starttls": {**self.plain, **tls, "start_tls": "yes"},
                "external": {**sasl, "server_host": self.server.ldapi_url, "sasl_mechs": "EXTERNAL"},
                "digest": {**sasl, "sasl_mechs": "DIGEST-MD5", "bind_dn": "postfix", "bind_pw": self.secret},
            },
            "referrals": {
                "referrals": {**self.plain, "search_base": SUFFIX, "chase_referrals": "yes"},
                "unreferred": {**self.plain, "search_base": SUFFIX},
                "referred": {**self.plain, "search_base": f"ou=far,{SUFFIX}", "chase_referrals": "yes"},
            },
        }

    def difference(self, case, key, ours, theirs):
        if case == "referrals" and theirs is not None and ours.kind == theirs.kind == FOUND and sorted(ours.text.split(b",")) == sorted(theirs.text.split(b",")):
            return "the library mixes the entries of several servers as they come"
        if case == "exact" and key.strip() != key and theirs is not None and theirs.kind == FOUND and ours.kind == NOT_FOUND:
            return "Postfix does not quote line ends and tabs in a base, and at the end of a value they do not count there"
        return None


def has_sasl():
    """Was the module built with SASL?"""
    with open(rig.program("ldap.so"), "rb") as f:
        return b"built without SASL" not in f.read()


def compare(r, group):
    backend = Ldap(r)
    backend.cases = backend.groups[group]
    if group == "connections" and not has_sasl():
        print("SKIP: bind = sasl, because the module was built without sasl/sasl.h")
        del backend.cases["external"], backend.cases["digest"]
    tables.compare_cases(backend)


def test_same_answers_as_postmap_for_keys(r):
    compare(r, "keys")


def test_same_answers_as_postmap_for_results(r):
    compare(r, "results")


def test_same_answers_as_postmap_for_entries(r):
    compare(r, "entries")


def test_same_answers_as_postmap_over_connections(r):
    compare(r, "connections")


def test_same_answers_as_postmap_with_referrals(r):
    compare(r, "referrals")


def test_injections_into_the_filter(r):
    tables.check_injections(Ldap(r))


def test_injections_into_the_base(r):
    """The key is a part of a DN."""
    backend = Ldap(r)
    tables.check_injections(backend, more=backend.groups["keys"]["exact"], may_fail=True)


def test_server_is_killed(r):
    table_outages.check_killed(Ldap(r))


def test_single_server_is_found_again_soon(r):
    table_outages.check_default_intervals(Ldap(r))


def test_keys_that_match_many_entries(r):
    """With on_failure = "accept" a sender does not bypass the filter by a key that matches more entries than size_limit."""
    table_outages.check_refused_key(Ldap(r), {"query_filter": "(splitAddress=*%u*)", "size_limit": 1}, "load@example.com")


def test_server_hangs(r):
    table_outages.check_hung(Ldap(r))


def test_server_is_away_at_start(r):
    table_outages.check_away_at_start(Ldap(r))


def test_outage_with_accept(r):
    table_outages.check_accept(Ldap(r))


def test_server_is_slow(r):
    table_outages.check_slow(Ldap(r))


def test_restarts_under_load(r):
    table_outages.check_restarts_under_load(Ldap(r))


def test_reconnects(r):
    table_outages.check_reconnects(Ldap(r))


def test_reconnects_with_sasl(r):
    """DIGEST-MD5 does not need more and more memory either."""
    if not has_sasl():
        raise rig.Skip("the module was built without sasl/sasl.h")
    backend = Ldap(r)
    digest = backend.groups["connections"]["digest"]
    backend.plain = {**backend.plain, **{name: value for name, value in digest.items() if name != "server_host"}}
    table_outages.check_reconnects(backend)


def test_wrong_password(r):
    table_outages.check_wrong_password(Ldap(r))


def test_tools(r):
    table_outages.check_tools(Ldap(r))


def filled(r):
    """A backend with a row that only the near server has, and one that only the far server has."""
    backend = Ldap(r)
    backend.fill({"near@example.com": ["near@x.test"]})
    backend.far.stop()
    backend.far.load([container("rows"), row(f"cn=f,{ROWS}", "f", "far@example.com", ["far@x.test"])])
    backend.far.start()
    return backend


def timed(query, key):
    begin = time.monotonic()
    return query.ask(key), time.monotonic() - begin


def test_second_host(r):
    """Without the first host the second one is asked, and the first one again when it is back and the second one is away."""
    backend = filled(r)
    other = rig.Slapd(r, "other", password=backend.secret)
    other.load([container("rows"), row(f"cn=o,{ROWS}", "o", "near@example.com", ["other@x.test"])])
    other.start()
    spec = backend.write("hosts", {**backend.plain, "server_host": f"{backend.server.url} {other.url}"})
    query = TableQuery(r, spec, seconds=4)
    for away, back, value in ((backend.server, None, b"other@x.test"), (other, backend.server, b"near@x.test"), (backend.server, other, b"other@x.test")):
        if back is not None:
            back.start()
        away.kill()
        rig.wait_for(lambda value=value: query.ask("near@example.com") == (FOUND, value), 20, f"the answer {value}", query.log)


def test_referrals_that_cannot_be_followed(r):
    """If the server of a referral is away or hangs, the look-up fails, within its time: what is there need not be all."""
    backend = filled(r)
    for base in (SUFFIX, f"ou=far,{SUFFIX}"):
        spec = backend.write("referral", {**backend.plain, "search_base": base, "chase_referrals": "yes"})
        query = TableQuery(r, spec, seconds=2, name="referral")
        assert query.ask("far@example.com") == (FOUND, b"far@x.test"), query.log()
        backend.far.kill()
        answer, seconds = timed(query, "far@example.com")
        assert answer.kind == FAILED and b"referral to ldap://" in answer.text and seconds < 2, (answer, seconds)
        backend.far.start()
        assert query.ask("far@example.com") == (FOUND, b"far@x.test"), query.log()
        backend.far.freeze()
        answer, seconds = timed(query, "far@example.com")
        backend.far.thaw()
        assert answer.kind == FAILED and seconds < 4 * rig.TIME_FACTOR, (answer, seconds)
        rig.wait_for(lambda: query.ask("far@example.com") == (FOUND, b"far@x.test"), 20, "recovery", query.log)
        query.stop()


def test_referrals_in_a_circle(r):
    """Two servers that refer to each other are not asked for ever."""
    backend = filled(r)
    backend.far.stop()
    backend.far.load([
        container("rows"), (f"ou=back,{ROWS}", {"objectClass": ["referral", "extensibleObject"], "ou": ["back"], "ref": [f"{backend.server.url}/ou=far,{SUFFIX}"]}),
    ])  # fmt: skip
    backend.far.start()
    query = TableQuery(r, backend.write("circle", {**backend.plain, "search_base": SUFFIX, "chase_referrals": "yes"}))
    answer, seconds = timed(query, "near@example.com")
    assert answer.kind == FAILED and b"lead to each other" in answer.text and seconds < 5 * rig.TIME_FACTOR, (answer, seconds)


def test_base_that_does_not_exist(r):
    """A base without expansions that does not exist is a fault; one that depends on the key means that nothing is found."""
    backend = filled(r)
    query = TableQuery(r, backend.write("fixed", {**backend.plain, "search_base": f"ou=none,{SUFFIX}"}), name="fixed")
    answer = query.ask("near@example.com")
    assert answer.kind == FAILED and b"ou=none" in answer.text, answer
    query = TableQuery(r, backend.write("dynamic", {**backend.plain, "search_base": f"ou=%d,{SUFFIX}"}), name="dynamic")
    assert query.ask("near@example.com").kind == NOT_FOUND


def test_certificates(r):
    """With tls_require_cert a certificate of another authority, or for another host, is refused; without it, it is
    accepted, as by Postfix. A client certificate is presented."""
    backend = filled(r)
    other = rig.Authority(r, "other")
    trusted = {"tls_ca_cert_file": backend.authority.path, "tls_require_cert": "yes"}
    client = backend.authority.issue("client", "DNS:client.test").path
    for name, more, is_good in (
        ("other", {**trusted, "tls_ca_cert_file": other.path}, False),
        ("other-unchecked", {**trusted, "tls_ca_cert_file": other.path, "tls_require_cert": "no"}, True),
        ("no-authority", {**trusted, "tls_ca_cert_file": None}, False),
        ("missing", {**trusted, "tls_ca_cert_file": r.path("missing.pem")}, False),
        ("client", {**trusted, "tls_cert": client, "tls_key": client}, True),
    ):
        if name == "client" and rig.instrumented():
            continue  # OpenLDAP's library loses the memory of a client certificate
        for transport in ({"server_host": backend.server.ldaps_url}, {"start_tls": "yes"}):
            query = TableQuery(r, backend.write(name, {**backend.plain, **more, **transport}), seconds=5, name=name)
            answer = query.ask("near@example.com")
            assert answer == ((FOUND, b"near@x.test") if is_good else (FAILED, b"")), (name, transport, answer, query.log())
            query.stop()
    wrong = rig.Slapd(r, "wrong", backend.authority.issue("wrong", "DNS:wrong.test"), password=backend.secret).start()
    query = TableQuery(r, backend.write("wrong", {**backend.plain, **trusted, "server_host": wrong.ldaps_url}), seconds=5, name="wrong")
    assert query.ask("near@example.com").kind == FAILED
    gate = Gate(r, ("127.0.0.1", backend.server.tls_port))
    gate.hang()
    query = TableQuery(r, backend.write("hang", {**backend.plain, **trusted, "server_host": f"ldaps://127.0.0.1:{gate.address[1]}"}), seconds=2, name="hang")
    answer, seconds = timed(query, "near@example.com")
    assert answer.kind == FAILED and seconds < 4 * rig.TIME_FACTOR, (answer, seconds)


def test_client_certificate(r):
    """New connections do not need more and more memory for a client certificate, and a new certificate is used."""
    if rig.instrumented():
        raise rig.Skip("OpenLDAP's library loses the memory of a client certificate once for each table")
    backend = filled(r)
    server = rig.Slapd(r, "strict", backend.authority.issue("strict", "IP:127.0.0.1"), backend.authority, verify="demand", password=backend.secret)
    server.load([container("rows"), row(f"cn=n,{ROWS}", "n", "near@example.com", ["near@x.test"])])
    server.start()
    gate = Gate(r, ("127.0.0.1", server.tls_port))
    good, bad = backend.authority.issue("client", "DNS:client.test").path, rig.Authority(r, "other").issue("client", "DNS:client.test").path
    path = r.path("client.pem")
    shutil.copy(good, path)
    parameters = {"server_host": f"ldaps://127.0.0.1:{gate.address[1]}", "tls_cert": path, "tls_key": path}
    query = TableQuery(r, backend.write("client", {**backend.plain, **parameters}))
    for i in range(40):
        assert query.ask("near@example.com") == (FOUND, b"near@x.test"), query.log()
        if i == 10:
            before = query.rss_kb()
        gate.cut()
    assert gate.connections >= 40 and query.rss_kb() < before + 300, (gate.connections, before, query.rss_kb())
    for certificate, expected in ((bad, (FAILED, b"")), (good, (FOUND, b"near@x.test"))):
        shutil.copy(certificate, f"{path}.new")
        os.rename(f"{path}.new", path)
        gate.cut()
        rig.wait_for(lambda expected=expected: query.ask("near@example.com") == expected, 20, f"{expected} with {certificate}", query.log)


def test_directory_of_authorities(r):
    """The certificate of an authority that is added to tls_ca_cert_dir is used by new connections, also with a client certificate."""
    backend = filled(r)
    client = backend.authority.issue("client", "DNS:client.test").path
    for name, more in (("plain", {}), ("client", {"tls_cert": client, "tls_key": client})):
        if more and rig.instrumented():
            continue  # OpenLDAP's library loses the memory of a client certificate
        directory = r.path(f"{name}-authorities")
        os.mkdir(directory)
        trusted = {"tls_ca_cert_file": None, "tls_ca_cert_dir": directory, "tls_require_cert": "yes", "server_host": backend.server.ldaps_url}
        query = TableQuery(r, backend.write(name, {**backend.plain, **trusted, **more}), seconds=5, name=name)
        assert query.ask("near@example.com").kind == FAILED
        shutil.copy(backend.authority.path, os.path.join(directory, "ca.pem"))
        subprocess.run(["openssl", "rehash", directory], check=True, timeout=60 * rig.TIME_FACTOR)
        rig.wait_for(lambda query=query: query.ask("near@example.com") == (FOUND, b"near@x.test"), 20, "the new authority", query.log)
        query.stop()


if __name__ == "__main__":
    rig.main()
