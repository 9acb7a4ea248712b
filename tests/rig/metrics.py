# SPDX-License-Identifier: ISC
"""The daemons' metrics over HTTP, read by Prometheus' own parser."""

import http.client
import json
import re
import socket
import sys

from .base import TIME_FACTOR, Skip, wait_for

sys.path.append("/usr/lib/python3/dist-packages")  # the packages of Debian, for a Python that is not Debian's
try:
    from prometheus_client.parser import text_string_to_metric_families as parse_page
except ImportError:
    parse_page = None

# Samples that may have one value only: those that do not change while a daemon runs, those that are either 1 or missing, the size of the
# write-ahead log (1 MB unless a reader prevents its reset), and the refusals that have no kind of their own.
CONSTANT = re.compile(r"build_info|process_start_time_seconds|process_max_fds|splitrelay_spool_min_free_bytes|splitrelay_queue_suspended|splitrelay_queue_log_bytes|kind=other")


def need_parser():
    if parse_page is None:
        raise Skip("python3-prometheus-client is not installed")


def get(port, path, method="GET", headers=None, source="127.0.0.1"):
    """Make one request: (status, headers, body). port: of 127.0.0.1, or the path of a unix socket. source: the client's address."""
    c = http.client.HTTPConnection("127.0.0.1", port if isinstance(port, int) else 80, timeout=20 * TIME_FACTOR, source_address=(source, 0))
    if isinstance(port, str):
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.settimeout(20 * TIME_FACTOR)
        c.sock.connect(port)
    try:
        c.request(method, path, headers=headers or {})
        r = c.getresponse()
        return r.status, dict(r.getheaders()), r.read().decode()
    finally:
        c.close()


class Page:
    """The metrics of one daemon, and all values that each sample has had."""

    def __init__(self, port):
        self.port = port
        self.seen = {}
        self.now = {}
        self.types = {}

    def look(self):
        status, headers, text = get(self.port, "/metrics")
        assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4"), (status, headers)
        self.now = {}
        for family in parse_page(text):
            assert family.documentation, family.name
            self.types[family.name] = family.type
            for s in family.samples:
                labels = ",".join(f"{k}={v}" for k, v in sorted(s.labels.items()))
                key = f"{s.name}{{{labels}}}" if labels else s.name
                assert key not in self.now, key
                self.now[key] = s.value
                if not s.name.endswith("_bucket"):
                    self.seen.setdefault(key, set()).add(s.value)
        return self.now

    def value(self, key):
        return self.look().get(key)

    def wait(self, key, is_right, what):
        wait_for(lambda: is_right(self.value(key)), 20, f"{key} {what}", lambda: json.dumps(self.now, indent=1))

    def wait_value(self, **wanted):
        for key, value in wanted.items():
            self.wait(key, lambda v, value=value: v == value, f"to be {value}")

    def unmoved(self):
        return sorted(k for k, values in self.seen.items() if len(values) == 1 and not CONSTANT.search(k))
