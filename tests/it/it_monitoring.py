#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The dashboard, the alerts and the scrape configuration fit the existing metrics, the sample and the guide."""

import json
import os
import re
import shutil
import subprocess

import rig
from rig.daemons import TOP
from rig.metrics import Page, need_parser

DASHBOARD = os.path.join(TOP, "conf", "grafana", "splitmilter.json")
PROMETHEUS = os.path.join(TOP, "conf", "prometheus")
CONFIGURATION = """\
log {{ target = "stderr" }}
milter {{ socket = "unix:{socket}" filter_maps = {{ "texthash:{table}" }} metrics = "inet:{milter_port}" }}
filter primary {{ nexthop = "smtp:[127.0.0.1]:10024" }}
relay {{ listen = {{ "unix:{listen}" }} spool_directory = "{spool}" metrics = "inet:{relay_port}" }}
destination archive {{ relay_to = {{ "[127.0.0.1]:10026" }} retry_min = "1h" retry_max = "1h" direction = {{ inbound }} }}
"""
# On the page of a splitrelay with PostgreSQL only (it_two_nodes.py).
SHARED = {f"splitrelay_queue_{name}" for name in ("replicated", "standby_lag_seconds", "standby_lag_bytes", "nodes", "leases_lost_total")}
METRIC = re.compile(r"\b(?:splitmilter|splitrelay|splitctl|process)_[a-z_]+")


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


def start(r):
    """Start both daemons, and return the names of all samples on both pages."""
    ports = {"milter_port": r.free_port(), "relay_port": r.free_port()}
    paths = {"socket": r.path("m.sock"), "listen": r.path("r.sock"), "spool": r.path("spool")}
    os.mkdir(paths["spool"], 0o700)
    text = CONFIGURATION.format(table=r.write("filters", "* primary\n"), **ports, **paths)
    rig.start_splitmilter(r, text, paths["socket"])
    relay = rig.start_splitrelay(r, text, paths["listen"])
    # The metrics about the spool exist only if it has a copy.
    rig.send(paths["listen"], "s@sender.test", ["a@example.com.archive.copy.split.invalid"], b"Subject: x\r\n\r\n")
    relay.wait_log("status=deferred")
    rig.run_splitctl(r, relay.configuration_path, "suspend", "archive")
    pages = [Page(port) for port in ports.values()]
    pages[1].wait("splitrelay_queue_copies{destination=archive,state=queued}", lambda v: v is not None, "to be there")
    names = {key.partition("{")[0] for page in pages for key in page.look()}
    text = rig.run_splitctl(r, relay.configuration_path, "status", "--metrics", "-")[1]
    return names | set(re.findall(r"(?m)^# TYPE (\w+) gauge$", text))


def panels(dashboard):
    return [p for p in dashboard["panels"] if p["type"] != "row"]


def expressions():
    """(place, expression) of each query to Prometheus."""
    dashboard = json.loads(read(DASHBOARD))
    found = [(p["title"], t["expr"]) for p in panels(dashboard) for t in p["targets"]]
    found += [(v["name"], v["definition"]) for v in dashboard["templating"]["list"] if v["type"] == "query"]
    rules = read(PROMETHEUS, "splitmilter.rules.yml")
    found += [(f"alert {name}", expr) for name, expr in re.findall(r"- alert: (\w+)\n +expr: (.*)\n", rules)]
    assert len([w for w, _ in found if w.startswith("alert")]) == rules.count("- alert:") > 10
    return found


def test_every_expression_names_what_there_is(r):
    need_parser()
    names = start(r)
    assert not names & SHARED
    names |= SHARED
    used = set()
    for where, expression in expressions():
        wanted = set(METRIC.findall(expression))
        assert wanted or expression.startswith("up{"), (where, expression)
        assert wanted <= names, (where, wanted - names)
        used |= wanted
    # Metrics that no query uses should not exist, except for these.
    shown = {re.sub(r"_(bucket|sum|count)$", "", n) for n in used}
    unused = {re.sub(r"_(bucket|sum|count)$", "", n) for n in names} - shown
    rare = {
        "process_start_time_seconds",
        "splitmilter_config_loaded_timestamp_seconds",
        "splitmilter_connections",
        "splitmilter_connections_total",
        "splitmilter_table_file_bytes",
        "splitmilter_table_file_modified_timestamp_seconds",
        "splitrelay_config_loaded_timestamp_seconds",
        "splitrelay_destination_connections_total",
        "splitctl_status_level",
    }
    assert unused == rare, unused ^ rare


def test_the_dashboard_is_sound(_r):
    """The dashboard has all that Grafana needs to load it, and nothing that belongs to one installation."""
    dashboard = json.loads(read(DASHBOARD))
    assert dashboard["title"] and dashboard["uid"] and dashboard["schemaVersion"] >= 30
    assert "id" not in dashboard, "Grafana gives the number"
    ids = [p["id"] for p in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for p in dashboard["panels"]:
        g = p["gridPos"]
        assert 0 <= g["x"] and g["x"] + g["w"] <= 24 and g["h"] > 0, p["title"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert not cells & taken, f"{p['title']} lies on another panel"
        taken |= cells
    variables = {v["name"] for v in dashboard["templating"]["list"]}
    for p in panels(dashboard):
        assert p["type"] in ("stat", "timeseries") and p["title"] and p["fieldConfig"]["defaults"]["unit"]
        assert p["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, p["title"]
        assert [t["refId"] for t in p["targets"]] == [chr(65 + i) for i in range(len(p["targets"]))]
        for t in p["targets"]:
            assert set(re.findall(r"\$(?:\{(\w+)\}|(\w+))", t["expr"])) <= {("", v) for v in (*variables, "__rate_interval")}, t["expr"]
            for opening, closing in ("()", "{}", "[]"):
                assert t["expr"].count(opening) == t["expr"].count(closing), t["expr"]


def test_the_guide_describes_each_alert(_r):
    guide = read(TOP, "docs", "operations.md")
    for name in re.findall(r"- alert: (\w+)", read(PROMETHEUS, "splitmilter.rules.yml")):
        assert re.search(rf"^\| .*`{name}`.* \| ", guide, re.M), name


def test_ports_are_those_of_the_sample(_r):
    sample, guide, scraped = read(TOP, "conf", "splitmilter.conf"), read(TOP, "docs", "operations.md"), read(PROMETHEUS, "prometheus.yml")
    ports = re.findall(r'targets: \["127\.0\.0\.1:(\d+)"\]', scraped)
    assert len(ports) == 2
    for port in ports:
        assert f'"inet:{port}"' in sample and f'"inet:{port}"' in guide, port


def promtool(*argv, cwd=None):
    if shutil.which("promtool") is None:
        raise rig.Skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run(["promtool", *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd, check=False)
    assert done.returncode == 0, done.stdout.decode()


def test_promtool_accepts_the_configuration(_r):
    promtool("check", "config", os.path.join(PROMETHEUS, "prometheus.yml"))


# name: (series, separated by " & "; values for each minute that fire the alert; values that do not; the time of the evaluation).
ALERTS = {
    "SplitmilterDown": ('up{job="splitmilter",instance="i"}', "0x10", "1x10", "5m"),
    "SplitmilterFailures": ('splitmilter_failures_total{kind="lookup",instance="i"}', "0+1x10", "5x10", "5m"),
    "SplitmilterReloadFailed": ('splitmilter_config_last_reload_successful{instance="i"}', "0x10", "1x10", "8m"),
    "SplitmilterTableReloadFailed": ('splitmilter_table_reloads_total{result="failed",instance="i"}', "0+1x10", "1x10", "5m"),
    "SplitrelayTableReloadFailed": ('splitrelay_table_reloads_total{result="failed",instance="i"}', "0+1x10", "1x10", "5m"),
    "SplitrelayDown": ('up{job="splitrelay",instance="i"}', "0x10", "1x10", "8m"),
    "SplitrelayDeadLetters": ('splitrelay_queue_copies{state="dead",destination="d",instance="i"}', "1x10", "0x10", "8m"),
    "SplitrelayOldCopies": ('splitrelay_queue_oldest_age_seconds{state="deferred",destination="d",instance="i"}', "20000x10", "9000x10", "8m"),
    "SplitrelayDestinationSuspended": ('splitrelay_destination_suspended{destination="d",instance="i"}', "1x40", "0x40", "35m"),
    "SplitrelayFaults": ('splitrelay_refusals_total{kind="fault",instance="i"}', "0+1x10", "3x10", "5m"),
    "SplitrelayCopiesTooLarge": ('splitrelay_refusals_total{kind="size",instance="i"}', "0+1x10", "3x10", "5m"),
    "SplitrelayCopiesMissing": ('splitrelay_messages_without_copies_total{instance="i"}', "0+1x10", "3x10", "5m"),
    "SplitrelayTooManyConnections": ('splitrelay_refusals_total{kind="connections",instance="i"}', "0+1x10", "3x10", "5m"),
    "SplitrelayOutcomesUnwritten": ('splitrelay_queue_unwritten_outcomes{instance="i"}', "1x10", "0x10", "8m"),
    "SplitrelaySuspendedForLong": ('splitrelay_queue_suspended{destination="d",instance="i"}', "1x1500", "0x1500", "1445m"),
    "SplitrelayReloadFailed": ('splitrelay_config_last_reload_successful{instance="i"}', "0x10", "1x10", "8m"),
    "SplitrelaySpoolSpaceLow": (
        'splitrelay_spool_free_bytes{instance="i"} & splitrelay_queue_database_free_bytes{instance="i"}'
        ' & splitrelay_spool_min_free_bytes{instance="i"}',
        "150x10 & 40x10 & 100x10",
        "150x10 & 60x10 & 100x10",
        "8m",
    ),
    "SplitmilterSlowLookups": (
        'splitmilter_lookup_seconds_bucket{le="0.5",instance="i"} & splitmilter_lookup_seconds_bucket{le="+Inf",instance="i"}'
        ' & splitmilter_lookup_seconds_bucket{le="1",instance="i"}',
        "0x30 & 0+1x30 & 0+1x30",
        "0+1x30 & 0+1x30 & 0+1x30",
        "25m",
    ),
    "SplitrelaySlowDisk": (
        'splitrelay_copy_disk_seconds_bucket{le="1",instance="i"} & splitrelay_copy_disk_seconds_bucket{le="+Inf",instance="i"}'
        ' & splitrelay_copy_disk_seconds_bucket{le="2.5",instance="i"}',
        "0x30 & 0+1x30 & 0+1x30",
        "0+1x30 & 0+1x30 & 0+1x30",
        "25m",
    ),
    "SplitFileDescriptors": (
        'process_open_fds{job="splitrelay",instance="i"} & process_max_fds{job="splitrelay",instance="i"}',
        "90x10 & 100x10",
        "70x10 & 100x10",
        "8m",
    ),
    "SplitrelayNotReplicated": ('splitrelay_queue_replicated{instance="i"}', "0x10", "1x10", "5m"),
    "SplitrelayLeasesLost": ('splitrelay_queue_leases_lost_total{instance="i"}', "0+1x10", "3x10", "5m"),
    "SplitMailWaitsForFilter": ('splitctl_postfix_waiting_oldest_age_seconds{kind="filter",name="f",postfix="p",instance="i"}', "2000x10", "1700x10", "8m"),
    "SplitCopiesWaitInPostfix": ('splitctl_postfix_waiting_oldest_age_seconds{kind="copy",name="d",postfix="p",instance="i"}', "4000x10", "3500x10", "8m"),
    "SplitPostfixDown": ('splitctl_postfix_up{postfix="p",instance="i"}', "0x10", "1x10", "8m"),
    "SplitStatusOld": ('splitctl_status_timestamp_seconds{instance="i"}', "0x30", "0+60x30", "20m"),
    "SplitrelaySpoolFull": ('splitrelay_refusals_total{kind="space",instance="i"}', "0+1x10", "3x10", "3m"),
}


def test_alerts_fire_and_are_calm(r):
    """Each alert fires on series that should fire it, and not on others, as promtool evaluates the rules."""
    tests = []
    assert set(ALERTS) == set(re.findall(r"- alert: (\w+)", read(PROMETHEUS, "splitmilter.rules.yml")))
    for name, (series, bad, calm, when) in ALERTS.items():
        severity = re.search(rf"- alert: {name}\n(?:.*\n)+?.*severity: (\w+)", read(PROMETHEUS, "splitmilter.rules.yml")).group(1)
        for values, fires in ((bad, True), (calm, False)):
            tests.append(
                {
                    "interval": "1m",
                    "input_series": [{"series": s, "values": v} for s, v in zip(series.split(" & "), values.split(" & "))],
                    "promql_expr_test": [
                        {
                            "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing",severity="{severity}"}})',
                            "eval_time": when,
                            "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
                        }
                    ],
                }
            )
    shutil.copy(os.path.join(PROMETHEUS, "splitmilter.rules.yml"), r.path("splitmilter.rules.yml"))
    r.write("tests.yml", json.dumps({"rule_files": ["splitmilter.rules.yml"], "tests": tests}))  # JSON is valid YAML
    promtool("test", "rules", "tests.yml", cwd=r.directory)


if __name__ == "__main__":
    rig.main()
