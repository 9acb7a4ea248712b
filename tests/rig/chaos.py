# SPDX-License-Identifier: ISC
"""A hook for a sink that misbehaves at random: refusals, 421, closed connections, half replies, double replies, garbage."""

import random
import threading
import time

from .sink import CLOSE, RESET, Raw

# Replies before the end of the content. A 2xx is not among them, because a client could not tell that it is false.
EARLY = ("452 4.3.1 full", "554 5.6.0 I do not like it", "421 4.3.2 bye")


class Chaos:
    """The hook. seed: of the random numbers; share: the fraction of replies that are wrong."""

    def __init__(self, seed, share=0.06):
        self.random = random.Random(seed)
        self.share = share
        self.lock = threading.Lock()

    def __call__(self, stage, conn, _arg):
        with self.lock:
            if self.random.random() > self.share or stage == "quit":
                return None
            if stage == "body":
                return self.random.choice((CLOSE, RESET, *EARLY))
            what = self.random.choice(("4", "5", "421", "several", "slow", "twice", "close", "half", "reset", "garbage", "part", "class"))
            pause = self.random.random() / 20
        if what == "4":
            return "450-4.2.1 later\r\n450 4.2.1 or never"
        if what == "5":
            return "550 5.1.1 no"
        if what == "421":
            return "421 4.3.2 going down"
        if what == "several":
            good = {"data": "354", "connect": "220", "helo": "250"}.get(stage, "250")
            return f"{good}-one\r\n{good} two"
        if what == "slow":
            time.sleep(pause)  # a slow server; the test waits for nothing with it
            return None
        if what == "twice" and stage in ("mail", "rcpt", "rset", "data"):
            return "250 2.0.0 Ok\r\n250 2.0.0 Ok" if stage != "data" else "354 Go on\r\n250 2.0.0 Ok"
        if what == "half":
            conn.sock.sendall(b"250 2.0.")
            return CLOSE
        if what == "part":
            return Raw(b"25")
        if what == "class":
            return {"data": "250 2.0.0 Ok"}.get(stage, "354 Go on")
        return {"close": CLOSE, "reset": RESET, "garbage": "lovely weather"}.get(what)
