# SPDX-License-Identifier: ISC
"""Private Sendmail instances, from Debian's packages, which `./dev deps` unpacks into a directory. Nothing is installed, and
nothing of the system's mail set-up is read or changed."""

import os
import platform
import re
import signal
import subprocess
import time

from .base import Failure, Skip, need_tools, wait_for
from .daemons import TOP, accepts
from .guardian import start_time

# The configuration for tests: no DNS, no limits, no waiting. SMART_HOST is for all mail without another route.
BASE = """\
divert(0)dnl
OSTYPE(`linux')dnl
define(`MAIL_SETTINGS_DIR', `{etc}/')dnl
define(`QUEUE_DIR', `{queue}')dnl
define(`STATUS_FILE', `{etc}/statistics')dnl
define(`HELP_FILE', `{etc}/helpfile')dnl
define(`ALIAS_FILE', `{etc}/aliases')dnl
define(`confPID_FILE', `{etc}/sendmail.pid')dnl
define(`confDOMAIN_NAME', `{name}.test')dnl
define(`confSERVICE_SWITCH_FILE', `{etc}/service.switch')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confDONT_BLAME_SENDMAIL', `TrustStickyBit')dnl
define(`confTO_IDENT', `0')dnl
define(`confTO_CONNECT', `5s')dnl
define(`confTO_HOSTSTATUS', `0s')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confMIN_FREE_BLOCKS', `0')dnl
define(`confSAFE_QUEUE', `{safe_queue}')dnl
define(`confDELIVERY_MODE', `{delivery_mode}')dnl
define(`confLOG_LEVEL', `14')dnl
define(`confMILTER_LOG_LEVEL', `14')dnl
define(`SMART_HOST', `esmtp:[127.0.0.1]')dnl
define(`ESMTP_MAILER_ARGS', `TCP $h {smart_port}')dnl
FEATURE(`no_default_msa')dnl
DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=127.0.0.1, Port={port}')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`accept_unqualified_senders')dnl
FEATURE(`mailertable', `hash {etc}/mailertable')dnl
"""
MAILERS = """\
MAILER(`local')dnl
MAILER(`smtp')dnl
"""

# A library that is loaded before all others. Without it Sendmail sleeps for a minute if the host name has no dot, looks the name up
# otherwise, and logs to a syslogd that does not run.
SHIM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char path[4096];

__attribute__((constructor)) static void remember_path(void) /* sendmail clears its environment */
{
    const char *value = getenv("SPLIT_RIG_MAILLOG");
    snprintf(path, sizeof path, "%s", value == NULL ? "" : value);
}

static void write_line(const char *format, va_list values)
{
    int saved = errno;
    char text[3800], line[4096];
    int fd = path[0] == '\0' ? -1 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

    errno = saved; /* for %m */
    vsnprintf(text, sizeof text, format, values);
    int length = snprintf(line, sizeof line, "%ld sendmail[%d]: %s\n", (long)time(NULL), (int)getpid(), text);
    if (fd >= 0) {
        if (write(fd, line, (size_t)length) != length)
            abort();
        close(fd);
    }
    errno = saved;
}

void openlog(const char *name, int option, int facility) { (void)name, (void)option, (void)facility; }
void closelog(void) {}
void vsyslog(int priority, const char *format, va_list values) { (void)priority; write_line(format, values); }
void __vsyslog_chk(int priority, int flag, const char *format, va_list values)
{
    (void)priority, (void)flag;
    write_line(format, values);
}
void syslog(int priority, const char *format, ...)
{
    va_list values;
    (void)priority;
    va_start(values, format);
    write_line(format, values);
    va_end(values);
}
void __syslog_chk(int priority, int flag, const char *format, ...)
{
    va_list values;
    (void)priority, (void)flag;
    va_start(values, format);
    write_line(format, values);
    va_end(values);
}
int gethostname(char *name, size_t size)
{
    snprintf(name, size, "%s", "127.0.0.1");
    return 0;
}
"""


def sendmail_root():
    """The directory into which `./dev deps` has unpacked Sendmail, or Skip."""
    root = os.environ.get("SPLIT_SENDMAIL_ROOT") or os.path.join(TOP, "build", "sendmail")
    if not os.path.exists(os.path.join(root, "usr/libexec/sendmail/sendmail")):
        raise Skip(f"Sendmail is not unpacked in {root}; ./dev deps does that")
    need_tools("m4", "gcc")
    return root


def _shim(session):
    """The library that is loaded before all others. It is compiled once for each run of a test script."""
    path = os.path.join(session.directory, "shim.so")
    if not os.path.exists(path):
        subprocess.run(["gcc", "-O", "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=SHIM.encode(), check=True)
    return path


class Sendmail:
    """One instance, listening on `address`.

    split: the lines of sendmail.mc for splitmilter, as `splitctl setup-sendmail` prints them; mc: further lines before them.
    mailertable: its text. smart_port: the port for all mail without another route. queue_only: messages stay in the queue until
    flush(). safe: messages are synced to disk.
    """

    def __init__(self, rig, name, split="", mc="", mailertable="", aliases="", smart_port=1, queue_only=False, safe=True):
        self.rig = rig
        self.name = name
        self.root = sendmail_root()
        self.directory = rig.path(f"sm-{name}")
        self.etc = os.path.join(self.directory, "etc")
        self.queue_directory = os.path.join(self.directory, "queue")
        self.maillog = os.path.join(self.directory, "maillog")
        self.address = ("127.0.0.1", rig.free_port())
        self.configuration = os.path.join(self.etc, "sendmail.cf")
        self.base = {
            "etc": self.etc,
            "queue": self.queue_directory,
            "name": name,
            "smart_port": smart_port,
            "port": self.address[1],
            "safe_queue": "True" if safe else "False",
            "delivery_mode": "queueonly" if queue_only else "background",
        }
        self.interval = None if queue_only else "1s"
        self.popen = None
        os.mkdir(self.directory, 0o755)
        os.mkdir(self.etc, 0o755)
        os.mkdir(self.queue_directory, 0o700)
        self.env = dict(os.environ, SPLIT_RIG_MAILLOG=self.maillog)
        self.env["LD_LIBRARY_PATH"] = os.path.join(self.root, f"usr/lib/{platform.machine()}-linux-gnu")
        rig.show_on_failure(f"maillog of {name}", self.maillog)
        rig.on_close(self.stop)
        self.write("service.switch", "hosts files\naliases files\n")
        self.write("statistics", "")
        self.write_configuration(split, mc)
        self.set_mailertable(mailertable)
        self.write("aliases", f"postmaster: root\nroot: root@sender.test\n{aliases}")
        self.run("-bi")

    def write(self, name, text):
        """Write a file in etc. Returns its path."""
        path = os.path.join(self.etc, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o644)
        return path

    def m4(self, mc, check=True):
        """Run m4 over these lines. Returns the completed process, with sendmail.cf on stdout."""
        cf = os.path.join(self.root, "usr/share/sendmail/cf/")
        return subprocess.run(
            ["m4", f"-D_CF_DIR_={cf}", f"{cf}m4/cf.m4", "-"], input=mc.encode(), capture_output=True, check=check
        )

    def write_configuration(self, split, mc=""):
        """Write sendmail.mc and sendmail.cf. m4 must print no warning."""
        text = BASE.format(**self.base) + mc + split + MAILERS
        self.write("sendmail.mc", text)
        done = self.m4(text)
        if done.stderr:
            raise Failure(f"m4 for {self.name}: {done.stderr.decode()}")
        self.write("sendmail.cf", done.stdout.decode())

    def set_mailertable(self, text):
        """Make the table with makemap(8). A running Sendmail uses it at once."""
        path = self.write("mailertable", text)
        with open(path, "rb") as f:
            self._run([self.program("makemap"), "-C", self.configuration, "hash", path], stdin=f)

    def program(self, name):
        return os.path.join(self.root, "usr/libexec/sendmail", name)

    def _run(self, argv, check=True, **options):
        env = dict(self.env, LD_PRELOAD=_shim(self.rig.session))
        options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, timeout=60, check=False, **options
        )
        text = done.stdout.decode("utf-8", "replace")
        if check and done.returncode != 0:
            raise Failure(f"{' '.join(argv)}: exit {done.returncode}: {text}")
        return text

    def run(self, *arguments, check=True, **options):
        """Run sendmail(8) with this instance's configuration. Returns its output."""
        return self._run([self.program("sendmail"), "-C", self.configuration, *arguments], check, **options)

    def resolve(self, address):
        """(mailer, host, user) to which Sendmail resolves an address, from `sendmail -bt`."""
        text = self.run("-bt", input=f"/parse {address}\n".encode())
        found = re.search(r"^mailer (\S+?)(?:, host (\S+))?, user (.*)$", text, re.MULTILINE)
        if not found:
            raise Failure(f"sendmail -bt has no mailer for {address}: {text}")
        return found.groups()

    def start(self):
        """Start, and wait until it takes connections."""
        argv = [self.program("sendmail"), "-C", self.configuration, "-bD"]
        with open(os.path.join(self.directory, "output"), "ab") as log:
            self.popen = subprocess.Popen(
                argv + ([f"-q{self.interval}"] if self.interval else []),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.env, LD_PRELOAD=_shim(self.rig.session)),
                cwd=self.queue_directory,
                start_new_session=True,
            )
        self.rig.session.record_process(self.popen.pid, f"sendmail-{self.name}")
        wait_for(lambda: self._alive() and accepts(self.address), 15, f"sendmail {self.name}", self.log)

    def _alive(self):
        if self.popen.poll() is not None:
            with open(os.path.join(self.directory, "output"), encoding="utf-8", errors="replace") as f:
                raise Failure(f"sendmail {self.name} ended with {self.popen.returncode}: {f.read()}\n{self.log()[-3000:]}")
        return True

    def flush(self):
        """Do one queue run, and wait for its end."""
        self.run("-q")

    def _children(self):
        """All processes that work in the queue directory. (Deliveries in the background have sessions of their own.)"""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/cwd") == self.queue_directory:
                    found.append(int(pid))
            except OSError:
                continue
        return found

    def stop(self):
        """Stop the daemon and all deliveries."""
        popen, self.popen = self.popen, None
        if popen is None:
            return
        popen.terminate()
        end = time.monotonic() + 5
        while popen.poll() is None or self._children():
            if time.monotonic() > end:
                popen.kill()
                for pid in self._children():
                    if start_time(pid) is not None:
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def log(self):
        try:
            with open(self.maillog, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log_lines(self, pattern):
        """The log lines in which the regular expression is found."""
        found = re.compile(pattern)
        return [ln for ln in self.log().split("\n") if found.search(ln)]

    def wait_log(self, pattern, seconds=15, count=1):
        def there():
            lines = self.log_lines(pattern)
            return lines if len(lines) >= count else None

        return wait_for(there, seconds, f"{count} lines /{pattern}/ in the log of {self.name}")

    def queue_files(self):
        """The paths of all messages in the queue, in any state."""
        return [os.path.join(self.queue_directory, n) for n in os.listdir(self.queue_directory) if n[:2] in ("qf", "df", "Qf")]

    def queued_recipients(self):
        """The recipients in the queue, as the queue files have them."""
        found = []
        for path in self.queue_files():
            if not os.path.basename(path).startswith("qf"):
                continue
            try:
                with open(path, encoding="utf-8", errors="surrogateescape") as f:
                    found += re.findall(r"^R[^:\n]*:<?(.*?)>?$", f.read(), re.MULTILINE)
            except FileNotFoundError:
                continue
        return sorted(found)

    def wait_empty(self, seconds=20):
        wait_for(lambda: not self.queue_files(), seconds, f"an empty queue of {self.name}", lambda: self.run("-bp"))
