# SPDX-License-Identifier: ISC
"""A headless Chromium, controlled through chromedriver (W3C WebDriver), without a Python package."""

import base64
import contextlib
import http.client
import json
import os
import shutil
import time

from .base import Failure, Skip, TIME_FACTOR, wait_for
from .daemons import TOP, Daemon, accepts

AXE = ("node_modules/axe-core/axe.min.js", "package/axe.min.js")  # below build/axe, as npm install and npm pack leave it


def axe_source():
    """The text of axe-core: the file SPLIT_AXE, or below build/axe (`npm install --prefix build/axe axe-core`); or Skip."""
    for path in filter(None, [os.environ.get("SPLIT_AXE"), *(os.path.join(TOP, "build", "axe", p) for p in AXE)]):
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                return f.read()
    raise Skip("axe-core is not there: npm install --prefix build/axe axe-core")


class Browser:
    """A browser with one window. Its profile is below the directory of the test."""

    def __init__(self, r, width=1280, height=1000):
        driver, chromium = (shutil.which(x, path=f"{os.environ['PATH']}:/usr/lib/chromium") for x in ("chromedriver", "chromium"))
        if driver is None or chromium is None:
            raise Skip("chromium and chromium-driver are not installed")
        self.rig = r
        self.address = ("127.0.0.1", r.free_port())
        self.daemon = Daemon(r, "chromedriver", [driver, f"--port={self.address[1]}", "--allowed-ips=127.0.0.1"], env={"HOME": r.directory, "TMPDIR": r.directory})
        self.session = None
        self.daemon.start(lambda: accepts(self.address), 60)
        r.on_close(self._close)  # before the driver is stopped
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run",
                     "--disable-component-update", "--force-prefers-reduced-motion", "--disable-extensions", f"--user-data-dir={r.path('profile')}", f"--window-size={width},{height}"]
        options = {"binary": chromium, "args": arguments}
        answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}})
        self.session = answer["sessionId"]

    def _ask(self, method, path, body=None):
        c = http.client.HTTPConnection(*self.address, timeout=120 * TIME_FACTOR)
        try:
            c.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            answer = json.loads(c.getresponse().read())["value"]
        finally:
            c.close()
        if isinstance(answer, dict) and "error" in answer:
            raise Failure(f"{method} {path}: {answer['error']}: {answer['message'][:2000]}")
        return answer

    def _do(self, path, body, method="POST"):
        return self._ask(method, f"/session/{self.session}/{path}", body)

    def _close(self):
        if self.session is not None:
            self._ask("DELETE", f"/session/{self.session}")
            self.session = None
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            self._ask("GET", "/shutdown")  # after SIGTERM its exit status would not be 0
        self.daemon.popen.wait(timeout=20 * TIME_FACTOR)

    def open(self, url):
        self._do("url", {"url": url})

    def script(self, text, *arguments):
        """Run the body of a function with these arguments; the value that it returns."""
        return self._do("execute/sync", {"script": text, "args": list(arguments)})

    def wait(self, text, seconds=20, *arguments):
        """Wait until the expression is true; its value."""
        return wait_for(lambda: self.script(f"return {text}", *arguments), seconds, text, lambda: self.script("return document.body.innerText")[:4000])

    def wait_promise(self, text, *arguments):
        """Run the body of an async function; the value of its promise."""
        return self._do("execute/async", {"script": f"const done = arguments[arguments.length - 1]; (async (...arguments_) => {{ {text} }})(...arguments).then(done, (e) => done({{ fault: String(e) }}));", "args": list(arguments)})

    def find(self, css):
        return next(iter(self._do("element", {"using": "css selector", "value": css}).values()))

    def click(self, css):
        self._do(f"element/{self.find(css)}/click", {})

    def type(self, css, text):
        """Replace the content of a field."""
        e = self.find(css)
        self._do(f"element/{e}/clear", {})
        self._do(f"element/{e}/value", {"text": text})

    def keys(self, text):
        """Press keys, wherever the focus is."""
        actions = [x for k in text for x in ({"type": "keyDown", "value": k}, {"type": "keyUp", "value": k})]
        self._do("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def console(self):
        """The console's messages since the last call: (level, text)."""
        return [(m["level"], m["message"]) for m in self._do("se/log", {"type": "browser"})]

    def devtools(self, command, **parameters):
        return self._do("goog/cdp/execute", {"cmd": command, "params": parameters})

    def look(self, width, height, is_dark=False):
        """Change the size of the window, and the colours that the user prefers."""
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}])

    def screenshot(self, name):
        """Keep a picture of the whole page in the directory SPLIT_SCREENSHOTS, if that is set."""
        directory = os.environ.get("SPLIT_SCREENSHOTS")
        if directory:
            os.makedirs(directory, exist_ok=True)
            data = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, format="png")["data"]
            with open(os.path.join(directory, f"{name}.png"), "wb") as f:
                f.write(base64.b64decode(data))

    def axe(self, source):
        """The findings of axe-core, as texts."""
        self.script(source + "; window.axe = axe;")
        result = self.wait_promise("const r = await axe.run(document); return r.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.target.join(' ') + ' ' + n.failureSummary).join(' | ').slice(0, 600)}`);")
        if isinstance(result, dict):
            raise Failure(result["fault"])
        return result

    def wait_quiet(self, seconds=2):
        """Let the page refresh itself for a while, since there is nothing to wait for."""
        end = time.monotonic() + seconds
        wait_for(lambda: time.monotonic() > end, seconds + 10, "a while")
