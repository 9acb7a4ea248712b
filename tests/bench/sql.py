# SPDX-License-Identifier: ISC
"""Tables in PostgreSQL: the accept rate of a front whose splitmilter asks PostgreSQL for the filter of the recipient, against the
same table as texthash:. Postfix's own look-up (check_recipient_access), of the same key with the same query, is measured beside it,
directly and through proxymap(8), against the same table as lmdb:. (A new smtpd(8) would have to read a texthash: table first.) The
queries in the server's log are counted: one for each message."""

import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import rig  # noqa: E402
from measure import Target  # noqa: E402
from rig.postfix import environment, postfix_user  # noqa: E402
from rig.postgres import ROLE  # noqa: E402

TEXTHASH, SQL = "splitmilter, texthash", "splitmilter, pgsql"
POSTFIX_LMDB, POSTFIX_SQL, POSTFIX_PROXY = "Postfix's own, lmdb", "Postfix's own, pgsql", "Postfix's own, proxy:pgsql"
PAIRS = ((SQL, TEXTHASH), (POSTFIX_SQL, POSTFIX_LMDB), (POSTFIX_PROXY, POSTFIX_LMDB))
RECIPIENT = "u{}@example.com"

PARAMETERS = """\
hosts = 127.0.0.1:{port}
user = {user}
password = {password}
dbname = maps
query = SELECT result FROM {table} WHERE address = '%s'
"""
CONFIGURATION = """\
log {{ target = "stderr" }}
milter {{
    socket = "unix:{socket}"
    socket_group = "postfix"
    filter_maps = {{ "{table}" }}
}}
filter secondary {{ nexthop = "smtp:[127.0.0.1]:9" }}
"""


class Site:
    """The server, with a table of filters and one of actions for check_recipient_access, and the same tables as text."""

    def __init__(self, r, lines):
        self.r, self.lines = r, lines
        self.server = rig.Postgres(r, "db", settings={"shared_buffers": "256MB"})
        self.uri = self.server.create_database("maps")
        for table, result in (("filters", "secondary"), ("access", "DUNNO")):
            rig.libpq.execute(self.uri, f"CREATE TABLE {table} (address TEXT PRIMARY KEY, result TEXT NOT NULL)")
            rig.libpq.execute(self.uri, f"INSERT INTO {table} SELECT 'u' || n || '@example.com', '{result}' FROM generate_series(1, {lines}) n")
            rig.libpq.execute(self.uri, f"ANALYZE {table}")
            text = PARAMETERS.format(port=self.server.port, user=ROLE, password=self.server.passwords[ROLE], table=table)
            os.chown(r.write(f"{table}.cf", text, 0o640), 0, postfix_user()[1])
            r.write(table, "".join(f"u{n}@example.com {result}\n" for n in range(1, lines + 1)))
        r.write("main.cf", "compatibility_level = 3.6\n")
        made = subprocess.run(["postmap", "-c", r.directory, f"lmdb:{r.path('access')}"], env=environment(), stderr=subprocess.PIPE, check=False)
        if made.returncode != 0:
            raise rig.Skip(f"postmap makes no lmdb: {made.stderr.decode()}")

    def table(self, kind, name):
        return f"{kind}:{self.r.path(name)}" + (".cf" if kind == "pgsql" else "")

    def add(self, front):
        """Add the candidates to the front."""
        recipient = [("", RECIPIENT.format(self.lines))]
        for name, kind in ((TEXTHASH, "texthash"), (SQL, "pgsql")):
            socket = self.r.path(f"{kind}.sock")
            text = CONFIGURATION.format(socket=socket, table=self.table(kind, "filters"))
            rig.start_splitmilter(self.r, text, socket, name=f"splitmilter-{kind}")
            front.add(name, f"unix:{socket}", recipient)
        own = ((POSTFIX_LMDB, self.table("lmdb", "access")), (POSTFIX_SQL, self.table("pgsql", "access")), (POSTFIX_PROXY, self.table("proxy:pgsql", "access.cf")))
        for name, table in own:
            front.add(name, None, recipient, f" -o smtpd_recipient_restrictions=check_recipient_access,{table}")
        front.main["proxy_read_maps"] = own[2][1]

    def queries(self):
        """The number of queries in the server's log, which has them while log_statement is on."""
        return self.server.daemon.log().count("SELECT result FROM ")


def count_queries(site, front, count=100):
    """{candidate: queries for each message}, for those that ask the server."""
    queries = {}
    site.server.set(log_statement="all")
    for name, port, recipient in front.candidates:
        if "pgsql" in name:
            before = site.queries()
            rig.smtp_source(("127.0.0.1", port), count, 4, 500, recipient=recipient)
            front.instance.wait_empty(120)
            queries[name] = (site.queries() - before) / count
    return queries


def bench_sql(r, options, front):
    """front: a Front, to which the candidates are added."""
    try:
        rig.need_tools("postmap")
        site = Site(r, options.lines)
        site.add(front)
    except rig.Skip as e:
        print(f"SKIP tables in PostgreSQL: {e}")
        return []
    front.start()
    targets = []
    for title, flags in (("a new connection per message", ()), ("connections kept", ("-d",))):
        table = front.measure(f"Front Postfix, accept rate with one look-up in {options.lines} lines, {title}", flags)
        table.show()
        ratio, own = table.ratio(SQL, TEXTHASH), table.ratio(POSTFIX_SQL, POSTFIX_LMDB)
        print(f"  with pgsql / without: splitmilter {ratio:.2f}, Postfix's own {own:.2f}, through proxymap {table.ratio(POSTFIX_PROXY, POSTFIX_LMDB):.2f}")
        added = [statistics.median(1e6 / with_sql - 1e6 / without for with_sql, without in zip(table.rates[a], table.rates[b])) for a, b in PAIRS]
        print(f"  time that the query adds to a message, us: splitmilter {added[0]:.0f}, Postfix's own {added[1]:.0f}, through proxymap {added[2]:.0f}")
        targets.append(Target(f"pgsql / texthash in splitmilter, divided by pgsql / lmdb in Postfix, {title}", ratio / own, 0.95))
    queries = count_queries(site, front)
    print("\nQueries for each message: " + ", ".join(f"{name} {count:.2f}" for name, count in queries.items()))
    targets.append(Target("queries for each message, splitmilter / Postfix", queries[SQL] / queries[POSTFIX_SQL], 1, at_most=True))
    return targets
