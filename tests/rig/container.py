# SPDX-License-Identifier: ISC
"""Containers without an engine: images that buildah(1) builds, and the services of a compose file in private namespaces.

    images = rig.Images()
    demo = rig.Composition(r, "packaging/container/compose.yaml", images)
    demo.start("splitrelay")
    demo["splitrelay"].healthy()
    demo["splitrelay"].stop()       # its exit status
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess

from .base import Failure, Skip, TIME_FACTOR, need_tools, wait_for
from .daemons import TOP, accepts
from .jail import Jail
from .postfix import environment

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def instructions(path):
    """The instructions of a Containerfile: (name, arguments as text)."""
    with open(path, encoding="utf-8") as f:
        text = "".join(line for line in f if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", "", text).split("\n")
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]


class Images:
    """Images that are built from Containerfiles. Debian's base image cannot be fetched by a test, so debootstrap makes one, once.
    The images are below SPLIT_CONTAINER_STORAGE, or build/container."""

    def __init__(self):
        need_tools("buildah", "debootstrap")
        self.top = os.environ.get("SPLIT_CONTAINER_STORAGE") or os.path.join(TOP, "build", "container")
        os.makedirs(self.top, exist_ok=True)
        storage = os.path.join(self.top, "storage.conf")
        with open(storage, "w", encoding="ascii") as f:
            f.write(f'[storage]\ndriver = "vfs"\ngraphroot = "{self.top}/graph"\nrunroot = "{self.top}/run"\n')
        self.env = dict(os.environ, CONTAINERS_STORAGE_CONF=storage)
        self._mounted = {}

    def run(self, *argv):
        """Run a command. Its messages go to a log, and its output is returned."""
        log = os.path.join(self.top, "log")
        with open(log, "ab") as f:
            f.write(f"--- {' '.join(argv)}\n".encode())
            f.flush()
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=f, env=self.env, check=False)
            f.write(done.stdout)
        if done.returncode != 0:
            raise Failure(f"{' '.join(argv[:3])} ended with {done.returncode}, see {log}")
        return done.stdout.decode().strip()

    def has(self, image):
        return subprocess.run(["buildah", "inspect", "--type", "image", image], env=self.env, capture_output=True, check=False).returncode == 0

    def base(self, image):
        """Make the image docker.io/library/debian:RELEASE-slim, unless it is there."""
        release = re.fullmatch(r"docker\.io/library/debian:(\w+)-slim", image).group(1)
        if self.has(image):
            return
        root = os.path.join(self.top, release)
        shutil.rmtree(root, ignore_errors=True)
        self.run("debootstrap", "--variant=minbase", release, root)
        container = self.run("buildah", "from", "scratch")
        self.run("buildah", "add", "-q", container, root, "/")
        self.run("buildah", "config", "--cmd", "bash", container)
        self.run("buildah", "commit", "-q", "--rm", container, image)
        shutil.rmtree(root)

    def build(self, image, context, containerfile):
        """Build an image as the first lines of the Containerfile say; with SPLIT_CONTAINER=again only if it is not there."""
        if os.environ.get("SPLIT_CONTAINER") == "again" and self.has(image):
            return
        known = dict(value.split("=", 1) for name, value in instructions(containerfile) if name == "ARG" and "=" in value)
        stages = set()
        for name, value in instructions(containerfile):
            if name == "FROM":
                words = re.sub(r"\$\{(\w+)\}", lambda m: known[m.group(1)], value).split()
                if words[0] not in stages:
                    self.base(words[0])
                stages.update(words[2:])
        self.run("buildah", "build", "--isolation", "chroot", "--pull-never", "--layers", "--format", "docker", "-t", image, "-f", containerfile, context)

    def configuration(self, image):
        """What the image says of its process: User, Cmd, Env, StopSignal, Healthcheck, Volumes."""
        return json.loads(self.run("buildah", "inspect", "--type", "image", image))["Docker"]["config"]

    def mount(self, image):
        """The directory with the files of the image. It must not be written to."""
        if image not in self._mounted:
            container = self.run("buildah", "from", "--pull-never", image)
            self._mounted[image] = (container, self.run("buildah", "mount", container))
        return self._mounted[image][1]

    def close(self):
        for container, _ in self._mounted.values():
            self.run("buildah", "rm", container)
        self._mounted.clear()


class Container:
    """One service of a Composition. Its process is process 1 of its namespace, as in a container."""

    def __init__(self, composition, name, service, address):
        self.composition, self.name, self.address = composition, name, address
        self.service = service
        self.top = os.path.join(composition.jail.directory, name)
        self.configuration = composition.images.configuration(service["image"])
        self.log_path = composition.rig.path(f"{name}.log")
        self.pid = 0
        self._popen = None
        self._link = f"c-{self.name}"[:15]
        composition.rig.show_on_failure(f"log of {name}", self.log_path)

    def _user(self):
        """Become the user of the image, with what the service restricts. Words of a command."""
        words = ["env", "-i", PATH, f"HOSTNAME={self.name}", *(self.configuration.get("Env") or []), "setpriv"]
        if self.configuration["User"]:
            uid, gid = self.configuration["User"].split(":")
            words += [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        if self.service.get("cap_drop") == ["ALL"]:
            words += ["--bounding-set=-all", "--inh-caps=-all"]
        if "no-new-privileges:true" in self.service.get("security_opt", []):
            words += ["--no-new-privs"]
        return words

    def _mounts(self):
        """Lines of sh(1) that mount the volumes."""
        root = os.path.join(self.top, "root")
        for volume in self.service.get("volumes", []):
            source, target, *options = volume.split(":")
            if source.startswith("."):
                source = os.path.normpath(os.path.join(self.composition.directory, source))
            else:
                source = self.composition.volume(source, os.path.join(self.composition.images.mount(self.service["image"]), target[1:]))
            make = f"mkdir -p {root}{target}" if os.path.isdir(source) else f"touch {root}{target}"
            yield f"[ -e {root}{target} ] || {make}; mount --bind {source} {root}{target}"
            if options == ["ro"]:
                yield f"mount -o remount,bind,ro {root}{target}"

    def start(self):
        """Start a new container: what the last one wrote is gone, except for its volumes."""
        shutil.rmtree(self.top, ignore_errors=True)
        for part in ("up", "work", "root"):
            os.makedirs(os.path.join(self.top, part))
        top, root = self.top, os.path.join(self.top, "root")
        command = self.service.get("command") or self.configuration["Cmd"]
        lower = self.composition.images.mount(self.service["image"])
        script = [
            "set -e",
            f"mount -t overlay overlay -o lowerdir={lower},upperdir={top}/up,workdir={top}/work {root}",
            f"mount -t proc proc {root}/proc; mount --rbind /dev {root}/dev",
            f"cp {self.composition.hosts} {root}/etc/hosts; : >{root}/etc/resolv.conf",
            *self._mounts(),
            *(f"mount -t tmpfs tmpfs {root}{path}" for path in self.service.get("tmpfs", [])),
            f"mount -o remount,bind,ro {root}" if self.service.get("read_only") else "",
            f"hostname {self.service.get('hostname', self.name)}",
            "echo ready >&3; read -r line; ip link set lo up",
            'exec chroot "$@" 3>&-',
        ]
        argv = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private"]
        argv += ["sh", "-c", "\n".join(script), "sh", root, *self._user(), *command]
        ready, told = os.pipe()
        with open(self.log_path, "ab") as log:
            # Descriptor 3 of the shell.
            self._popen = subprocess.Popen(["sh", "-c", f'exec 3>&{told}; exec "$@"', "sh", *argv], stdin=subprocess.PIPE, stdout=log,
                                           stderr=log, pass_fds=[told], start_new_session=True)
        self.composition.rig.session.record_process(self._popen.pid, self.name)
        os.close(told)
        with open(ready, "rb") as f:
            if f.readline() != b"ready\n":
                raise Failure(f"{self.name} cannot be started: {self.log()}")
        with open(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children", encoding="ascii") as f:
            self.pid = int(f.read())
        link = self._link
        for words in (f"link add {link} type veth peer name eth0 netns {self.pid}", f"link set {link} master compose up"):
            subprocess.run(["ip", *words.split()], check=True, env=environment())
        for words in (f"address add {self.address}/24 dev eth0", "link set eth0 up"):
            subprocess.run(["nsenter", "-t", str(self.pid), "-n", "ip", *words.split()], check=True)
        self._popen.stdin.write(b"go\n")
        self._popen.stdin.close()

    def run(self, *command, root=False):
        """Run a command in the container, as its user or as root. Returns (exit status, output)."""
        inside = ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-u", "-i", "-r", "-w"]
        words = ["env", "-i", PATH] if root else self._user()
        done = subprocess.run([*inside, *words, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60 * TIME_FACTOR, check=False)
        return done.returncode, done.stdout.decode("utf-8", "replace")

    @property
    def running(self):
        return self._popen is not None and self._popen.poll() is None

    def health(self):
        """(exit status, output) of the health check of the image."""
        kind, *command = self.configuration["Healthcheck"]["Test"]
        assert kind == "CMD", kind
        return self.run(*command)

    def wait_healthy(self):
        def healthy():
            if not self.running:
                raise Failure(f"{self.name} has ended:\n{self.log()}")
            return self.health()[0] == 0

        wait_for(healthy, 30, f"{self.name} to be healthy", self.log)

    def stop(self):
        """Stop it as an engine does. Returns the exit status; Failure if it needs longer than stop_grace_period."""
        number = getattr(signal, self.configuration["StopSignal"])
        seconds = {"s": 1, "m": 60}[self.service["stop_grace_period"][-1]] * int(self.service["stop_grace_period"][:-1])
        os.kill(self.pid, number)
        try:
            status = self._popen.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} is not stopped after {seconds} s:\n{self.log()}") from None
        self._unlink()
        return status

    def _unlink(self):
        """The kernel removes the link with the namespace, but maybe later."""
        subprocess.run(["ip", "link", "delete", self._link], stderr=subprocess.DEVNULL, check=False)

    def kill(self):
        if self.running:
            self._popen.kill()  # its child is killed with it
            self._popen.wait(timeout=20 * TIME_FACTOR)
            self._unlink()

    def log(self):
        with contextlib.suppress(OSError), open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()
        return ""


class Composition:
    """The services of a compose file, as containers on one network of their own. The images are built first, with the network of
    the machine. The test enters a network namespace, in which it can connect to the services by their addresses."""

    def __init__(self, rig, path, images):
        try:
            import yaml
        except ImportError:
            raise Skip("python3-yaml is not installed") from None
        self.rig, self.images = rig, images
        self.directory = os.path.dirname(os.path.abspath(path))
        with open(path, encoding="utf-8") as f:
            self.file = yaml.safe_load(f)
        services = self.file["services"]
        for image, build in {s["image"]: s["build"] for s in services.values()}.items():
            context = os.path.normpath(os.path.join(self.directory, build["context"]))
            images.build(image, context, os.path.join(context, build["dockerfile"]))
            images.mount(image)
        rig.on_close(images.close)
        network = self.file["networks"]["default"]["ipam"]["config"][0]["subnet"]
        prefix = re.fullmatch(r"(\d+\.\d+\.\d+\.)0/24", network).group(1)
        self.jail = Jail(rig)
        self.jail._ip("link", "add", "compose", "type", "bridge")
        self.jail._ip("address", "add", f"{prefix}254/24", "dev", "compose")
        self.jail._ip("link", "set", "compose", "up")
        addresses = {name: f"{prefix}{number}" for number, name in enumerate(services, 2)}
        self.hosts = rig.write("hosts", "127.0.0.1 localhost\n" + "".join(f"{a} {name}\n" for name, a in addresses.items()))
        self._containers = {name: Container(self, name, service, addresses[name]) for name, service in services.items()}
        rig.on_close(self.close)

    def __getitem__(self, name):
        return self._containers[name]

    def volume(self, name, image_path):
        """The directory of a named volume, which begins as a copy of what the image has there."""
        assert name in self.file["volumes"], name
        path = os.path.join(self.jail.directory, "volumes", name)
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            subprocess.run(["cp", "-a", image_path, path], check=True)
        return path

    def start(self, *names):
        """Start services, and those on which they depend; without names all. Wait until those with a health check are healthy, and the
        others listen at the ports of their image."""
        for name in names or self._containers:
            if not self[name].running:
                for other in self[name].service.get("depends_on", {}):
                    self.start(other)
                self[name].start()
        for name in names or self._containers:
            if self[name].configuration.get("Healthcheck"):
                self[name].wait_healthy()
            else:
                ports = [int(port.split("/")[0]) for port in self[name].configuration["ExposedPorts"]]
                wait_for(lambda c=self[name], p=ports: all(accepts((c.address, port)) for port in p), 60, f"the ports of {name}", self[name].log)

    def close(self):
        for container in self._containers.values():
            container.kill()
