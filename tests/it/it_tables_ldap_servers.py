#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""ldap: tables, with servers that answer what a test wants: whatever they send, each look-up ends in time, within its limits, and an
answer that may not be complete is a failure. Files that are refused before any server is asked."""

import os
import resource
import signal
import subprocess
import time

import rig
from rig import tables
from rig.fake_ldap import NOTIFICATION, FakeServer, done, entry, message, reference, tlv
from rig.slapd import READER, SUFFIX
from rig.tables import FAILED, FOUND, LIMIT, NOT_FOUND, TableQuery


def write(r, server, **more):
    """The specification of a table at this server."""
    parameters = {"server_host": server.url, "bind_dn": READER, "bind_pw": "x", "search_base": SUFFIX, "query_filter": "mail=%s", **more}
    lines = [f"{n} = {v}\n" for n, v in parameters.items()]
    return f"ldap:{r.write('fake.cf', ''.join(lines))}"


def ask(query, key="anna@example.com"):
    """The answer, and the seconds that it took."""
    begin = time.monotonic()
    return query.ask(key), time.monotonic() - begin


def answer_of(r, server, seconds=5, **more):
    """The answer of a new table at this server."""
    query = TableQuery(r, write(r, server, **more), seconds=seconds)
    answer, took = ask(query)
    assert took < (seconds + 2) * rig.TIME_FACTOR, (answer, took, query.log())
    query.stop()
    return answer


def has_failed(answer, reason):
    """LIMIT, where the second question, for another key, was answered."""
    return answer.kind in (FAILED, LIMIT) and reason in answer.text.decode()


def test_servers_that_send_garbage(r):
    """Whatever a server sends, the look-up ends within its time, as failed or with the right answer."""
    for name, reply, expected in (
        ("found", entry(maildrop=["anna@b.at"]) + done(), (FOUND, b"anna@b.at")),
        ("no-values", entry(maildrop=[]) + done(), (NOT_FOUND, b"")),
        ("nul", entry(maildrop=[b"anna\0b.at"]) + done(), (FAILED, b"")),
        ("not-utf8", entry(maildrop=[b"anna\xffb.at"]) + done(), (FAILED, b"")),
        ("no-end", entry(maildrop=["anna@b.at"]), (FAILED, b"")),
        ("half", b"\x30\x0c\x02", (FAILED, b"")),
        ("long", b"\x30\x84\x7f\xff\xff\xff", (FAILED, b"")),
        ("longer", b"\x30\x88\x7f\xff\xff\xff\xff\xff\xff\xff", (FAILED, b"")),
        ("garbage", b"\xff\x00HTTP/1.1 400 Bad Request\r\n\r\n" * 10, (FAILED, b"")),
        ("busy", done(51), (FAILED, b"")),
        ("refused", done(50), (FAILED, b"")),
        ("nothing", b"", (FAILED, b"")),
        ("other-id", done().replace(b"ID", b"\x77"), (FAILED, b"")),
        ("leaves", NOTIFICATION, (FAILED, b"")),
    ):
        for is_closed in (True, False):
            server = FakeServer(r, reply, is_closed=is_closed)
            query = TableQuery(r, write(r, server), seconds=2, name=name)
            answer, seconds = ask(query)
            assert answer == expected and seconds < 4 * rig.TIME_FACTOR, (name, is_closed, answer, seconds, query.log())
            query.stop()
            server.close()


def test_filters_in_urls(r):
    """A value of a special attribute is a URL with a filter. One that is nested deeply, or very long, makes the look-up fail: the
    library reads a filter recursively. The stack is as large as that of a thread that calls a module."""
    for levels, reason in ((40, None), (60, "nested"), (2000, "nested"), (5000, "8192 bytes"), (100000, "8192 bytes")):
        for opened, closed in (("(!", ")"), ("(&", ")"), ("(!", ""), ("(!\\)", ")")):
            if reason is None and (opened, closed) != ("(!", ")"):
                continue
            url = f"ldap:///cn=x?maildrop?base?{opened * levels}(cn=x){closed * levels}"
            if len(url) > 8192 and levels < 5000:
                continue
            server = FakeServer(r, entry(splitUrl=[url]) + done(), entry(maildrop=["anna@b.at"]) + done())
            query = TableQuery(r, write(r, server, special_result_attribute="splitUrl"), seconds=5)
            if not rig.instrumented():
                resource.prlimit(query.pid, resource.RLIMIT_STACK, (256 * 1024, resource.prlimit(query.pid, resource.RLIMIT_STACK)[1]))
            answer = query.ask("anna@example.com")
            assert has_failed(answer, reason) if reason else answer == (FOUND, b"anna@b.at"), (levels, opened, answer)
            query.stop()
            server.close()


def test_referrals_that_end_with_an_error(r):
    """If the server of a referral answers with an error, also with noSuchObject, the look-up fails; noSuchObject of the first server
    means that nothing is found, if the base depends on the key."""
    chasing = {"chase_referrals": "yes", "search_base": f"ou=%d,{SUFFIX}"}
    value = entry(maildrop=["anna@b.at"])
    assert answer_of(r, FakeServer(r, done(32)), **chasing).kind == NOT_FOUND
    assert has_failed(answer_of(r, FakeServer(r, value + done(32)), **chasing), "entries, and then")
    for code, begin in ((0, value), (1, value), (32, value), (32, b""), (34, b""), (50, value), (53, b"")):
        far = FakeServer(r, begin.replace(b"anna@", b"far0@") + done(code))
        url = f"{far.url}/ou=far,{SUFFIX}"
        for near, found in (
            (FakeServer(r, value + reference(url) + done()), b"anna@b.at,far0@b.at"),
            (FakeServer(r, reference(url) + done()), b"far0@b.at"),
            (FakeServer(r, done(10, [url])), b"far0@b.at"),
            (FakeServer(r, entry(splitMember=["cn=y"], maildrop=["anna@b.at"]) + done(), done(10, [url])), b"anna@b.at,far0@b.at"),
        ):
            answer = answer_of(r, near, special_result_attribute="splitMember", **chasing)
            if code == 0:
                assert answer.kind == FOUND and sorted(answer.text.split(b",")) == sorted(found.split(b",")), answer
            else:
                assert has_failed(answer, f"referral to {url}"), (code, answer)
            near.close()
        far.close()


def test_second_url_of_a_referral(r):
    """One of the URLs of a referral is enough."""
    bad, good = FakeServer(r, entry(maildrop=["bad@b.at"]) + done(32)), FakeServer(r, entry(maildrop=["good@b.at"]) + done())
    near = FakeServer(r, done(10, [f"{bad.url}/{SUFFIX}", f"{good.url}/{SUFFIX}"]))
    assert answer_of(r, near, chase_referrals="yes") == (FOUND, b"good@b.at")


def test_many_referrals(r):
    """The number of URLs and of servers of referrals is limited, also if the servers are away, and so is the time."""
    away = [f"ldap://127.0.0.1:{r.free_port()}/{SUFFIX}" for _ in range(21)]
    hung = [FakeServer(r, b"") for _ in range(4)]
    for urls, reason in ((away, "20 URLs"), (away[:20], "more than 8 servers"), ([f"{s.url}/{SUFFIX}" for s in hung], "timed out before"), ([away[0] + "x" * 8192], "no URL")):
        for reply in (done(10, urls), reference(*urls) + done()):
            answer = answer_of(r, FakeServer(r, reply), seconds=2, chase_referrals="yes")
            assert has_failed(answer, reason), (reason, answer)
    assert answer_of(r, FakeServer(r, reference(*(["ldap:///"] * 100000)) + done()), chase_referrals="yes").kind == FAILED


def test_errors_close_the_connection(r):
    """After an error that may be due to the state of the connection, the next look-up makes a new one."""
    for code in (0, 3, 4, 32, 34, 1, 8, 49, 53, 80):
        server = FakeServer(r, done(code))
        query = TableQuery(r, write(r, server), seconds=5)
        answers = [query.ask("anna@example.com").kind for _ in range(2)]
        assert answers == [LIMIT if code == 4 else FAILED if code else NOT_FOUND] * 2, (code, answers)
        is_kept = code in (0, 3, 4, 32, 34)  # otherwise each question, also the one for another key, has a connection of its own
        assert (len(server.clients) == 1) == is_kept, (code, len(server.clients), query.log())
        query.stop()
        server.close()


def test_search_that_takes_long(r):
    """A search that takes longer than `timeout` is not put to the next host, and its host has not failed: a sender may have chosen a
    key that makes the search slow."""
    hung, other = FakeServer(r, b""), FakeServer(r, entry(maildrop=["anna@b.at"]) + done())
    query = TableQuery(r, write(r, hung, server_host=f"{hung.url} {other.url}", timeout=1), seconds=20)
    answer, seconds = ask(query)
    assert has_failed(answer, "timed out") and seconds < 10 * rig.TIME_FACTOR, (answer, seconds)
    assert not other.clients and "warning" not in query.log(), query.log()


def test_server_trickles(r):
    """A look-up ends in time if the server always sends a bit more: entries, or the bytes of one."""
    small, large = entry(maildrop=["anna@b.at"]), entry(maildrop=["x" * 100000])
    for name, reply, size in (("entries", small, len(small) - 1), ("bytes", large, 10)):
        for more, seconds in (({}, 2), ({"timeout": 1}, 20)):
            server = FakeServer(r, reply, is_endless=True, trickle=(size, 0.02))
            query = TableQuery(r, write(r, server, **more), seconds=seconds, name=name)
            answer, took = ask(query)
            assert answer.kind == FAILED and "timed out" in answer.text.decode() and took < 6 * rig.TIME_FACTOR, (name, more, answer, took, query.log())
            query.stop()
            server.close()


def test_entries_after_the_deadline(r):
    """A look-up does not go on after its deadline as long as the server has sent a next message."""
    value = entry(maildrop=["anna@b.at"])
    server = FakeServer(r, value * 3 + done(), value + done())
    query = TableQuery(r, write(r, server, timeout=1), seconds=int(20 * rig.TIME_FACTOR))

    def be_late():
        """Stop the client until its time is over, and all entries are there."""
        server.on_search = None
        os.kill(query.pid, signal.SIGSTOP)
        begin = time.monotonic()
        rig.wait_for(lambda: time.monotonic() - begin > 1.1, 10, "the deadline")
        return lambda: os.kill(query.pid, signal.SIGCONT)

    server.on_search = be_late
    answer, _ = ask(query)
    assert answer.kind == LIMIT and b"timed out while the server was sending entries" in answer.text, answer
    assert ask(query)[0] == (FOUND, b"anna@b.at")


def test_key_that_makes_no_base(r):
    """If the server does not take the base that a key makes for a DN, the message is deferred, whatever on_failure says."""
    server = FakeServer(r, done(34))
    assert answer_of(r, server, search_base=f"ou=%d,{SUFFIX}").kind == LIMIT
    assert answer_of(r, server).kind == FAILED


def test_answers_that_are_too_large(r):
    """More entries than a limit allows, at the first server, at that of a referral, or where a value refers to, defer the message,
    whatever on_failure says, because a sender may have chosen a key that many entries match."""
    value = entry(maildrop=["anna@b.at"])
    chasing = {"chase_referrals": "yes"}
    for more, replies in (
        ({"size_limit": 1}, (value + value + done(),)),
        ({"expansion_limit": 1}, (entry(maildrop=["a@b.at", "b@b.at"]) + done(),)),
        ({}, (value + done(4),)),
        ({"special_result_attribute": "splitMember"}, (entry(splitMember=["cn=y"]) + done(), value + done(4))),
    ):
        assert answer_of(r, FakeServer(r, *replies), **more).kind == LIMIT, more
    for reply in (value + done(4), value * 20001 + done()):
        far, good = FakeServer(r, reply), FakeServer(r, value + done())
        for near in (FakeServer(r, done(10, [f"{far.url}/{SUFFIX}"])), FakeServer(r, reference(f"{far.url}/{SUFFIX}", f"{good.url}/{SUFFIX}") + done())):
            assert answer_of(r, near, **chasing).kind == LIMIT
        assert not good.clients


def test_server_sends_without_end(r):
    """A look-up ends, and its memory is limited, if there is always a next message."""
    for name, reply, kind, reason in (
        ("references", reference("ldap://192.0.2.1/"), LIMIT, "20000"),
        ("entries", entry(), LIMIT, "20000"),
        ("intermediate", message(tlv(0x79, tlv(0x80, b"1.2"))), LIMIT, "20000"),
        ("large", entry(maildrop=["x" * 100000]), LIMIT, "32000000"),
        ("other-id", done().replace(b"ID", b"\x77"), FAILED, ""),
        ("notifications", NOTIFICATION, FAILED, "lost connection"),
        ("hints", NOTIFICATION.replace(b"20036", b"20099"), FAILED, "lost connection"),
    ):
        server = FakeServer(r, reply, is_endless=True)
        limit = 30 if kind == LIMIT else 3
        query = TableQuery(r, write(r, server), seconds=limit, name=name)
        answer, seconds = ask(query)
        assert answer.kind == kind and reason in answer.text.decode() and seconds < (limit + 2) * rig.TIME_FACTOR, (name, answer, seconds, query.log())
        assert rig.instrumented() or query.rss_kb() < 100000, (name, query.rss_kb())
        query.stop()
        server.close()


GOOD = {"server_host": "ldap://127.0.0.1:1", "search_base": SUFFIX, "query_filter": "(mail=%s)", "result_attribute": "mail"}


def test_files_that_are_refused(r):
    """What is not supported, or not valid, is refused with file and line, before any server is asked."""
    program = tables.program("table_query")

    def opened(parameters):
        path = r.write("refused.cf", "".join(f"{n} = {v}\n" for n, v in parameters.items()), 0o600)
        done = subprocess.run([program, f"ldap:{path}"], input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=rig.sanitizer_environment(r, "refused"), timeout=60, check=False)
        return done.returncode, done.stdout.decode(), path

    for more, text in (
        ({}, None),
        ({"server_host": "ldap1.test, ldap2.test:390 [::1]:391 ldapi://%2Frun%2Fx ldaps://ldap3.test"}, None),
        ({"bind": "No", "scope": "ONE", "version": 2, "tls_random_file": "/dev/random", "cache": "no"}, None),
        ({"search_base": f"dc=%2,dc=%1,{SUFFIX}", "query_filter": "(mail=%u@%3)"}, None),
        ({"domain": "example.com", "query_filter": "(&(mail=%9)(x=y))"}, None),
        ({"server_host": ""}, "no server"),
        ({"server_host": "ldapi://"}, "ldapi://%2Frun"),
        ({"server_host": "cldap://x"}, "ldaps://host:port"),
        ({"server_host": "http://x"}, "http://x"),
        ({"server_host": "::1"}, "::1"),
        ({"server_host": "x:70000"}, "70000"),
        ({"server_host": f"ldap://x/{SUFFIX}"}, "only scheme"),
        ({"server_host": "ldaps://x", "start_tls": "yes"}, "TLS already"),
        ({"search_base": "no dn"}, "no distinguished name"),
        ({"tls_cipher_suite": "no such cipher"}, "tls_cipher_suite: the library of TLS does not know no such cipher"),
        ({"query_filter": "(mail=%s"}, "no filter"),
        ({"query_filter": "(&(mail=%s)(x))"}, "no filter"),
        ({"query_filter": "(!" * 60 + "(mail=%s)" + ")" * 60}, "nested deeper"),
        ({"query_filter": "(mail=%x)"}, "another character"),
        ({"result_attribute": ""}, "no attribute"),
        ({"bind": "maybe"}, "simple or sasl"),
        ({"scope": "children"}, "sub, one or base"),
        ({"version": 4}, "version"),
        ({"timeout": 0}, "timeout"),
        ({"dereference": 4}, "dereference"),
        ({"debuglevel": 1}, "debuglevel"),
        ({"result_filter": "%s"}, "result_format"),
        ({"lookup_wildcards": "no"}, "lookup_wildcards"),
        ({"bind_pw": "tops3cret", "bindpw": "tops3cret"}, "bindpw"),
    ):
        if "tls_cipher_suite" in more and rig.instrumented():
            continue  # GnuTLS loses the memory of a cipher suite that it does not know
        code, out, path = opened({**GOOD, **more})
        assert "tops3cret" not in out, out
        if text is None:
            assert code == 1, (more, out)
            continue
        name = list(more)[-1]
        line = list({**GOOD, **more}).index(name) + 1
        assert code == 2 and f"{path}:{line}: " in out and text in out, (more, line, out)


if __name__ == "__main__":
    rig.main()
