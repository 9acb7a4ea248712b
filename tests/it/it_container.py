#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The files for containers: what the Containerfile, the compose file and the Kubernetes objects say fits the programs, and each
other. With SPLIT_CONTAINER=1 the images are built by buildah(1), and the whole demo runs (root, network).
"""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import rig
from rig.daemons import TOP

PACKAGING = os.path.join(TOP, "packaging")
CONTAINER = os.path.join(PACKAGING, "container")
KUBERNETES = os.path.join(PACKAGING, "kubernetes")
SPOOL = "/var/spool/splitmilter"
CONTENT = b"Subject: x\r\nTo: a@example.com\r\n\r\ntext\r\n"


def load(path):
    """The objects of a YAML file."""
    try:
        import yaml
    except ImportError:
        raise rig.Skip("python3-yaml is not installed") from None
    with open(path, encoding="utf-8") as f:
        return [o for o in yaml.safe_load_all(f) if o]


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def final(path=os.path.join(CONTAINER, "Containerfile")):
    """The instructions of the last stage: name -> list of arguments."""
    found = {}
    for name, value in rig.instructions(path):
        if name == "FROM":
            found = {}
        found.setdefault(name, []).append(value)
    return found


def image_ports():
    return {int(port) for port in final()["EXPOSE"][0].split()}


def configured(r, directory, name):
    """Check that both daemons take the configuration in `directory`, which is meant for /etc/splitmilter. Returns the ports of
    milter, relay, and their metrics, and the path of the configuration."""
    copied = r.path(name)
    shutil.copytree(directory, copied)
    path = os.path.join(copied, "splitmilter.conf")
    text = read(path)
    r.write(f"{name}/splitmilter.conf", text.replace("/etc/splitmilter/", f"{copied}/"))
    for program in ("splitmilter", "splitrelay"):
        done = subprocess.run([rig.program(program), "-t", "-c", path], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0 and not re.search("warning|error", done.stderr), (program, done)
    ports = re.findall(r'\b(socket|listen|metrics)\s*=\s*(?:\{\s*)?"inet:(\d+)@0\.0\.0\.0"', text)
    assert [key for key, _ in ports] == ["socket", "metrics", "listen", "metrics"], ports
    milter, milter_metrics, relay, relay_metrics = (int(port) for _, port in ports)
    return {"milter": milter, "relay": relay, "metrics": (milter_metrics, relay_metrics)}, path


def test_containerfile(_):
    """The last stage runs as a user of its own, keeps the queue, and installs what the source builds."""
    image = final()
    uid, gid = re.fullmatch(r"(\d+):(\d+)", image["USER"][0]).groups()
    install = " ".join(image["RUN"])
    assert f"groupadd --system --gid {gid} splitmilter" in install and f"useradd --system --uid {uid} --gid {gid} " in install
    assert image["VOLUME"] == [SPOOL] and image["STOPSIGNAL"] == ["SIGTERM"]
    assert image["CMD"] == ['["splitrelay"]']
    check = re.search(r'CMD \["(\w+)"\]$', image["HEALTHCHECK"][0]).group(1)
    source, target = next(c.split() for c in image["COPY"] if c.endswith(f"/bin/{check}"))
    assert os.access(os.path.join(TOP, source), os.X_OK) and os.path.basename(target) == check
    packages = re.findall(r"^Package: (.*)$", read(os.path.join(TOP, "debian/control")), re.M)
    tables = re.search(r'^TABLES="(.*)"$', image["ARG"][0]).group(1).split()
    assert packages == ["splitmilter", *(f"splitmilter-{t}" for t in tables)], packages
    ports = [int(p) for p in re.search(r"set -- (\d+) (\d+)", read(os.path.join(CONTAINER, check))).groups()]
    assert set(ports) < image_ports()


def test_stages_and_releases(_):
    """Each Containerfile names its stages and its release before it uses them."""
    for path in glob.glob(f"{CONTAINER}/**/Containerfile", recursive=True):
        stages, known = set(), set()
        for name, value in rig.instructions(path):
            if name == "ARG":
                known.add(value.split("=")[0])
            if name == "FROM":
                assert set(re.findall(r"\$\{(\w+)\}", value)) <= known, (path, value)
                stages.update(re.findall(r" AS (\w+)$", value))
            for stage in re.findall(r"--from=(\w+)", value):
                assert stage in stages, (path, stage)


def test_ignored_files(_):
    """The context has all files of the tree, without what git ignores."""
    assert read(os.path.join(TOP, ".dockerignore")).split() == [".git", "build"]


def postfix_parameters(r, directory, name):
    """The settings of NAME.cf in the demo, with its master.cf, as postconf(1) understands them; it must not warn."""
    main = r.path(f"postfix-{name}")
    os.mkdir(main)
    shutil.copy(os.path.join(directory, f"{name}.cf"), os.path.join(main, "main.cf"))
    shutil.copy(os.path.join(directory, "master.cf"), main)
    for file in ("main.cf", "master.cf"):
        rig.date_back(os.path.join(main, file))
    done = subprocess.run(["postconf", "-n", "-c", main], capture_output=True, text=True, env=rig.environment(), timeout=60, check=True)
    assert not done.stderr, done.stderr
    services = subprocess.run(["postconf", "-M", "-c", main], capture_output=True, text=True, env=rig.environment(), timeout=60, check=True)
    assert not services.stderr, services.stderr
    return dict(re.split(" = ?", line, maxsplit=1) for line in done.stdout.splitlines()), services.stdout


def volumes(service):
    """The volumes of a service: (source, target, options)."""
    return [tuple((volume + ":").split(":")[:3]) for volume in service.get("volumes", [])]


DEMO = os.path.join(CONTAINER, "demo")


def compose_file():
    """The services of the demo, its volumes, and its network."""
    compose, = load(os.path.join(CONTAINER, "compose.yaml"))
    return compose["services"], compose["volumes"], compose["networks"]["default"]["ipam"]["config"][0]["subnet"]


def test_services_of_the_demo(_):
    """Their files exist, their queues are kept, and they have time to stop."""
    services, named, _ = compose_file()
    used = set()
    for name, service in services.items():
        image = final(os.path.join(CONTAINER, service["build"]["context"], service["build"]["dockerfile"]))
        assert not service.get("read_only") or service["tmpfs"] == ["/tmp"], name
        assert service["restart"] == "unless-stopped" and service["stop_grace_period"] == "1m", name
        assert set(service.get("depends_on", {})) <= set(services)
        files = [source for source, _, _ in volumes(service) if source.startswith(".")]
        for source in files:
            assert os.path.exists(os.path.join(CONTAINER, source)), source
        kept = {target: source for source, target, _ in volumes(service) if source not in files}
        used.update(kept.values())
        assert set(kept) <= set(" ".join(image["VOLUME"]).split()), name
        if name != "splitmilter":
            assert (SPOOL if name == "splitrelay" else "/var/spool/postfix") in kept, name
    assert used == set(named)
    assert services["splitmilter"]["command"] == ["splitmilter"] and services["splitrelay"]["command"] == ["splitrelay"]


def test_services_find_each_other(r):
    """Names, ports and networks in the configurations are those of the services."""
    services, _, subnet = compose_file()
    ports, conf = configured(r, os.path.join(DEMO, "splitmilter"), "demo")
    assert {ports["milter"], ports["relay"], *ports["metrics"]} == image_ports()
    text = read(conf)
    for option in ("trusted_mtas", "trusted_networks"):
        assert re.search(rf'{option}\s*= {{ "{re.escape(subnet)}" }}', text), option
    for name, service in services.items():
        if service["image"] == "splitmilter-demo-postfix":
            assert (f"./demo/{name}.cf", "/etc/postfix/main.cf", "ro") in volumes(service)
            main, master = postfix_parameters(r, DEMO, name)
            assert subnet in main["mynetworks"].replace(",", " ").split(), name
            text += " ".join(main.values()) + (master if name == "front" else "")
    routes = {(host, int(port)) for host, port in re.findall(r"(?:\[|\binet:)([a-z-]+)\]?:(\d+)", text)}
    expected = {(name, 25) for name in services if name != "front"} - {("splitmilter", 25), ("splitrelay", 25)}
    assert routes == expected | {("splitmilter", ports["milter"]), ("splitrelay", ports["relay"])}, routes
    for file in set(re.findall(r"/etc/postfix/split/(\w+)", text)):
        assert os.path.exists(os.path.join(TOP, "conf/postfix", file)), file


def test_demo_filters_are_those_of_the_routes(_):
    """For each filter of the configuration the front has a route to the place that its nexthop names."""
    front = read(os.path.join(DEMO, "front.cf"))
    conf = read(os.path.join(DEMO, "splitmilter/splitmilter.conf"))
    routes = re.findall(r"\{ \.(\w+)\.filter\.split\.invalid = untag:(\S+) \}", front)
    assert routes and sorted(routes) == sorted(re.findall(r'^filter (\w+) { nexthop = "smtp:(\S+)" }$', conf, re.M))


def objects():
    """The Kubernetes objects, and the kustomization."""
    kustomization, = load(os.path.join(KUBERNETES, "kustomization.yaml"))
    found = [o for name in kustomization["resources"] for o in load(os.path.join(KUBERNETES, name))]
    return {(o["kind"], o["metadata"]["name"]): o for o in found}, kustomization


def test_kubernetes_files(r):
    """Each file is used, and the ConfigMaps together have the files of the configuration."""
    found, kustomization = objects()
    maps = {m["name"]: m["files"] for m in kustomization["configMapGenerator"]}
    named = {"kustomization.yaml", *kustomization["resources"], *(f for files in maps.values() for f in files)}
    assert named == set(os.listdir(KUBERNETES)), named
    assert kustomization["images"][0]["newTag"] == re.search(r"AC_INIT\(\[splitmilter\], \[([\d.]+)\]", read(os.path.join(TOP, "configure.ac"))).group(1)
    ports, _ = configured(r, KUBERNETES, "cluster")
    assert {ports["milter"], ports["relay"], *ports["metrics"]} == image_ports()
    expected = {"splitmilter": (ports["milter"], ports["metrics"][0]), "splitrelay": (ports["relay"], ports["metrics"][1])}
    for kind, name in (("Deployment", "splitmilter"), ("StatefulSet", "splitrelay")):
        check_workload(found, kind, name, expected[name], set(maps))


def check_workload(found, kind, name, ports, maps):
    """The pods of a workload are stopped, probed, found and protected as the daemon needs it."""
    workload = found[(kind, name)]["spec"]
    template = workload["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    container, = pod["containers"]
    assert container["command"] == [name]
    assert [p["containerPort"] for p in container["ports"]] == list(ports)
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(ports[1])
    uid, gid = map(int, final()["USER"][0].split(":"))
    context = pod["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["runAsNonRoot"]) == (uid, gid, True)
    assert container["securityContext"]["readOnlyRootFilesystem"] and container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    # As TimeoutStopSec of the unit, after the pause.
    unit = int(re.search(r"TimeoutStopSec=(\d+)s", read(os.path.join(TOP, f"conf/systemd/{name}.service.in"))).group(1))
    command, pause = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep" and pod["terminationGracePeriodSeconds"] >= unit + int(pause)
    manual = read(os.path.join(TOP, f"docs/{name}.8"))
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "metrics"} and path in manual
    names = {p["name"] for p in container["ports"]}
    for service in (s["spec"] for (k, _), s in found.items() if k == "Service" and s["spec"]["selector"] == labels):
        port, = service["ports"]
        assert port["targetPort"] in names and port["port"] == ports[0]
    policy = found[("NetworkPolicy", name)]["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert {p["port"] for rule in policy["ingress"] for p in rule["ports"]} == names
    for selector in (workload["selector"], found[("PodDisruptionBudget", name)]["spec"]["selector"]):
        assert selector["matchLabels"] == labels
    mounts = {m["name"]: m for m in container["volumeMounts"]}
    assert mounts["conf"] == {"name": "conf", "mountPath": "/etc/splitmilter", "readOnly": True}
    assert mounts["tmp"]["mountPath"] == "/tmp" and "emptyDir" in next(v for v in pod["volumes"] if v["name"] == "tmp")
    assert {s["configMap"]["name"] for s in pod["volumes"][0]["projected"]["sources"]} == maps
    if kind == "StatefulSet":
        assert ("Service", workload["serviceName"]) in found and context["fsGroup"] == gid
        assert workload["volumeClaimTemplates"][0]["metadata"]["name"] == "queue" and mounts["queue"]["mountPath"] == SPOOL
        assert set(workload["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}


RELAY = """\
log {{ target = "stderr" }}
relay {{ listen = {{ "inet:{port}@127.0.0.1" }} hostname = "relay.test" spool_directory = "{spool}" min_free_space = "{free}"
    metrics = {{ "inet:{metrics}" }} }}
destination archive {{ relay_to = {{ "[127.0.0.1]:{sink}" }} retry_min = "1s" }}
"""


def healthy(*ports):
    done = subprocess.run([os.path.join(CONTAINER, "healthcheck"), *map(str, ports)], capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_healthcheck(r):
    """The health check says whether the daemon is ready, and why not."""
    ports = {name: r.free_port() for name in ("port", "metrics", "sink", "other")}
    os.mkdir(r.path("spool"), 0o700)
    assert healthy(ports["metrics"], ports["other"]) == (1, f"nothing listens at port {ports['metrics']} {ports['other']}\n")
    values = {"spool": r.path("spool"), **ports}
    daemon = rig.start_splitrelay(r, RELAY.format(free="1k", **values), ("127.0.0.1", ports["port"]))
    assert healthy(ports["other"], ports["metrics"]) == (0, "")
    daemon.stop()
    rig.start_splitrelay(r, RELAY.format(free="100000G", **values), ("127.0.0.1", ports["port"]), name="full")
    status, said = healthy(ports["metrics"])
    assert status == 1 and said.startswith(f"port {ports['metrics']}: ") and "to stay free" in said, (status, said)


def test_volume_of_a_group(r):
    """With fsGroup a volume belongs to root and the group of the pod, and all that is in it may become writable for the group.
    The init container makes a directory there that splitrelay takes."""
    found, _ = objects()
    pod = found[("StatefulSet", "splitrelay")]["spec"]["template"]["spec"]
    init, = pod["initContainers"]
    *command, directory = init["command"]
    assert directory == re.search(r'spool_directory\s*= "(.*)"', read(os.path.join(KUBERNETES, "splitmilter.conf"))).group(1)
    mount, = init["volumeMounts"]
    assert mount in pod["containers"][0]["volumeMounts"] and os.path.dirname(directory) == mount["mountPath"]
    uid, gid = map(int, final()["USER"][0].split(":"))
    os.mkdir(r.path("volume"))
    os.chown(r.path("volume"), 0, gid)
    os.chmod(r.path("volume"), 0o2775)
    spool = r.path("volume", os.path.basename(directory))
    sink = rig.Sink(r, "archive")
    user = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
    for turn in (1, 2):
        subprocess.run([*user, *command, spool], check=True)
        ports = {name: r.free_port() for name in ("port", "metrics")}
        text = RELAY.format(free="1k", spool=spool, sink=sink.address[1], **ports)
        daemon = rig.start_splitrelay(r, text, ("127.0.0.1", ports["port"]), wrapper=user, name=f"relay{turn}")
        rig.send(daemon.address, "s@sender.test", ["a@example.com.archive.copy.split.invalid"], CONTENT)
        assert len(sink.wait(turn)) == turn
        daemon.stop()
        os.chmod(spool, 0o2770)


def test_table_of_a_configmap(r):
    """The kubelet replaces all files of a volume at once, by a symbolic link to another directory. splitmilter sees that."""
    def publish(number, text):
        r.write(f"conf/..{number}/filter", text)
        os.symlink(f"..{number}", r.path("conf/..new"))
        os.rename(r.path("conf/..new"), r.path("conf/..data"))

    publish(1, "* primary\n")
    os.symlink("..data/filter", r.path("conf/filter"))
    socket = r.path("m.sock")
    text = f"""\
log {{ target = "stderr" }}
milter {{ socket = "unix:{socket}" filter_maps = {{ "texthash:{r.path('conf/filter')}" }} }}
filter primary {{ nexthop = "smtp:[127.0.0.1]:25" }}
filter secondary {{ nexthop = "smtp:[127.0.0.1]:26" }}
"""
    daemon = rig.start_splitmilter(r, text, socket)
    publish(2, "* secondary\n")
    shutil.rmtree(r.path("conf/..1"))
    daemon.wait_log("reloaded", seconds=60)


def test_workflow(_):
    """The workflow runs what CI runs, in a release on which warnings are errors, as root."""
    workflow, = load(os.path.join(TOP, ".github/workflows/ci.yml"))
    job = workflow["jobs"]["test"]
    assert job["container"] == {"image": "debian:12", "options": "--privileged"}
    assert ".ci/run" in [step.get("run") for step in job["steps"]] and os.access(os.path.join(TOP, ".ci/run"), os.X_OK)
    seconds = sum(int(n) for n in re.findall(r"^timeout --kill-after=\d+ (\d+)", read(os.path.join(TOP, ".ci/run")), re.M))
    assert 0 < seconds < job["timeout-minutes"] * 60 - 600
    uploaded = job["steps"][-1]["with"]["path"].split()
    assert uploaded[0] == "build/build/test-suite.log" and uploaded[1] == "build/build/tests/it/*.log"


# --- by request: images, and the demo

def mail_of(container, name):
    """The messages in the Maildir of the container: their texts."""
    status, text = container.run("sh", "-c", f"cd /srv/mail/{name}/new 2>/dev/null && for f in *; do cat $f; echo =====; done", root=True)
    return [m for m in text.split("=====\n") if m] if status == 0 else []


def passed(message):
    return re.findall(r"^X-Filtered-By: (\w+)", message, re.M)


def send(demo, recipients, subject):
    rig.send((demo["front"].address, 25), "s@sender.test", recipients, f"From: s@sender.test\r\nSubject: {subject}\r\n\r\ntext\r\n".encode())


def run_demo(demo):
    """Recipients with different filters, a rewritten one, and copies."""
    send(demo, ["anna@example.com", "ben@example.com", "carl@example.com"], "first")

    def logs():
        return "".join(f"--- {n}\n{demo[n].log()}" for n in demo.file["services"])

    for box, filters in (("anna", ["secondary"]), ("ben", ["primary"]), ("carla", [])):
        message, = rig.wait_for(lambda b=box: mail_of(demo["out"], b), 60, f"mail of {box}", logs)
        assert passed(message) == filters, (box, message)
    copies = rig.wait_for(lambda: len(mail_of(demo["archive"], "archive")) > 0 and mail_of(demo["archive"], "archive"), 60, "a copy", logs)
    assert all(not passed(c) and "X-Split-Copy: destination=archive;" in c for c in copies)


def follow_guide(demo):
    """The commands of docs/containers.md that are run in a container of the demo succeed."""
    lines = [line for kind, text in rig.blocks("containers.md") if kind == "sh elsewhere" for line in rig.commands(text)]
    inside = [line.split()[3:] for line in lines if line.startswith("docker compose exec ")]
    assert len(inside) > 4, lines
    for name, *command in inside:
        status, said = demo[name].run(*command)
        assert status == 0, (name, command, said)


def test_demo(r):
    """The images are built, and the demo of compose.yaml splits mail. The queue outlives its container."""
    if not os.environ.get("SPLIT_CONTAINER"):
        raise rig.Skip("SPLIT_CONTAINER=1 builds images and runs the demo")
    demo = rig.Composition(r, os.path.join(CONTAINER, "compose.yaml"), rig.Images())
    demo.start()
    for name in ("splitmilter", "splitrelay"):
        uid = int(final()["USER"][0].split(":")[0])
        assert os.stat(f"/proc/{demo[name].pid}").st_uid == uid
        assert demo[name].run("touch", "/var/spool/file", root=True)[0] != 0, "the root is writable"
        assert demo[name].run("splitctl", "explain", "anna@example.com")[0] == 0
    run_demo(demo)
    follow_guide(demo)

    assert demo["archive"].stop() == 0
    before = len(mail_of(demo["out"], "ben"))
    send(demo, ["anna@example.com", "ben@example.com"], "second")
    rig.wait_for(lambda: len(mail_of(demo["out"], "ben")) > before, 60, "mail while the archive is down")
    rig.wait_for(lambda: "anna@example.com" in demo["splitrelay"].run("splitctl", "queue", "--json")[1], 60, "a copy in the queue", demo["splitrelay"].log)
    start = time.monotonic()
    assert demo["splitrelay"].stop() == 0
    print(f"splitrelay stopped in {time.monotonic() - start:.1f} s")
    demo.start("archive", "splitrelay")
    demo["splitrelay"].run("splitctl", "retry", "--all", "--yes")
    rig.wait_for(lambda: any("Subject: second" in m for m in mail_of(demo["archive"], "archive")), 60, "the copy, from the queue", demo["splitrelay"].log)
    for name in demo.file["services"]:
        assert demo[name].stop() == 0, (name, demo[name].log())


if __name__ == "__main__":
    if not os.path.isdir(CONTAINER):
        print("SKIP: a release archive has no files for containers")
        sys.exit(77)
    rig.main(timeout=3600 if os.environ.get("SPLIT_CONTAINER") else None)
