# SPDX-License-Identifier: ISC
"""splitrelay with much queued: start, memory, orders, stop; draining; ten destinations of which one hangs."""

import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import rig  # noqa: E402
from measure import Table, Target, relay_configuration, wait_sent  # noqa: E402


DESTINATIONS = [f"d{i}" for i in range(10)]
HANGS = DESTINATIONS[-1]
WINDOW = 10000  # copies that are counted in one turn


def fill(r, count, size, destinations=("archive",)):
    print(f"  (filling a queue with {count} copies of {size} bytes)")
    rig.queue.fill(r.path("spool"), count, size, destinations)
    os.sync()


def ten_destinations(r, address, spool, sink):
    """A configuration with a sink for nine destinations, and for the tenth a server that takes connections and never says a word."""
    silent = socket.create_server(("127.0.0.1", 0), backlog=500)
    r.on_close(silent.close)
    ports = {name: silent.getsockname()[1] if name == HANGS else sink.address[1] for name in DESTINATIONS}
    return (
        f'log {{ target = "stderr" }}\nrelay {{ listen = {{ "inet:{address[1]}@127.0.0.1" }} hostname = "relay.test" min_free_space = "1M"\n'
        f'spool_directory = "{spool}" }}\n'
        + "".join(f'destination {name} {{ relay_to = {{ "[127.0.0.1]:{port}" }} }}\n' for name, port in ports.items())
    )


def timed_splitctl(r, configuration, *args):
    """Seconds of a command, and what it wrote."""
    start = time.monotonic()
    _, out, _ = rig.run_splitctl(r, configuration, *args)
    return time.monotonic() - start, out


def window(log, seconds=120):
    """Copies per second to all but the one that hangs, of what is delivered from now on."""
    log.seek(0, os.SEEK_END)
    wait_sent(log, 500, seconds)  # what was on its way
    start = time.monotonic()
    wait_sent(log, WINDOW, seconds)
    return WINDOW / (time.monotonic() - start)


def show_windows(r, relay, log, rounds):
    """The other nine's rate while the tenth hangs, against that while nothing is sent to the tenth."""
    names = {"suspend": "the tenth is suspended", "resume": "the tenth hangs"}
    table = Table("Nine of ten destinations, draining", names["suspend"])
    table.rates = {name: [] for name in names.values()}
    for number in range(rounds + 1):
        for order in sorted(names, reverse=number % 2 == 1):
            rig.run_splitctl(r, relay.configuration_path, order, HANGS)
            rate = window(log)
            if number:  # round 0 is a warm-up
                table.add(names[order], rate)
    table.rates = {name: table.rates[name] for name in names.values()}
    table.show()
    return table.ratio(names["resume"], names["suspend"])


def bench_backlog(r, options):
    """A start with very many copies queued for ten destinations, one of which hangs."""
    sink = rig.SmtpSink(r, "archive")
    address = ("127.0.0.1", r.free_port())
    print(f"\nStart with {options.backlog} copies queued for ten destinations, one of which hangs")
    fill(r, options.backlog, 1000, DESTINATIONS)
    relay = rig.start_splitrelay(r, ten_destinations(r, address, r.path("spool"), sink), None, is_awaited=False)
    start = time.monotonic()
    with open(relay.log_path, "rb") as log:
        wait_sent(log, 1, 60, pause=0.001)
        first = time.monotonic() - start
        print(f"  first delivery {first:.3f} s after the start, {relay.rss_kb()} kB")
        wait_sent(log, min(options.backlog // 4, 20000))
        print(f"  {'at most, until 20,000 were delivered':44} {relay.rss_kb(peak=True) / 1024:.1f} MB")
        rounds = min(options.rounds, (options.backlog // 2) // (2 * (WINDOW + 500)) - 1)
        share = show_windows(r, relay, log, rounds) if rounds > 0 else None
    nobody = f"r{options.backlog - 1}@example.com"  # the last of all, of the destination that hangs
    waits, out = timed_splitctl(r, relay.configuration_path, "queue", "--to", nobody, "--limit", "5")
    if nobody not in out:
        raise rig.Failure(f"splitctl queue --to {nobody} does not find it:\n{out}")
    rss = relay.rss_kb(peak=True) / 1024
    start = time.monotonic()
    relay.stop()
    stop = time.monotonic() - start
    print(f"  splitctl queue --to ... --limit 5: {waits:.2f} s; stop: {stop:.2f} s; memory at most {rss:.1f} MB")
    targets = [
        Target("memory in MB", rss, 64, at_most=True),
        Target("first delivery after the start, s", first, 0.1, at_most=True),
        Target("splitctl queue --to ... --limit 5, s", waits, 2, at_most=True),
        Target("a clean stop, s", stop, 2, at_most=True),
    ]
    return targets if share is None else [*targets, Target("nine destinations while the tenth hangs / is suspended", share, 0.95)]


def drain_splitrelay(r, options, sink):
    """The copies per second that splitrelay delivers of a full queue."""
    address = ("127.0.0.1", r.free_port())
    fill(r, options.drain, options.size)
    start = time.monotonic()
    relay = rig.start_splitrelay(r, relay_configuration(r, address, sink.address), address)
    with open(relay.log_path, "rb") as log:
        wait_sent(log, options.drain, 1800)
    return options.drain / (time.monotonic() - start)


def drain_postfix(r, options, sink):
    """The messages per second that Postfix with default settings delivers of a queue that was held, to the same sink."""
    as_it_comes = {"in_flow_delay": "1s", "queue_run_delay": "300s", "minimal_backoff_time": "300s", "maximal_backoff_time": "4000s"}
    hold = {"in_flow_delay": "0", "smtpd_recipient_restrictions": "static:HOLD, permit_mynetworks, reject"}
    postfix = rig.Postfix(r, "drain", {"relayhost": sink.bracketed, **as_it_comes, **hold})
    postfix.start()
    print(f"  (filling the queue of a Postfix with {options.drain} messages)")
    rig.smtp_source(postfix.address, options.drain, 20, options.size, flags=("-d",), seconds=1800)
    postfix.set(**as_it_comes, smtpd_recipient_restrictions="")
    postfix.reload()
    with open(postfix.maillog, "rb") as log:
        log.seek(0, os.SEEK_END)
        postfix.run("postsuper", "-H", "ALL")
        start = time.monotonic()  # what it delivered before is counted in its favour
        postfix.flush()
        wait_sent(log, options.drain, 1800)
    rate = options.drain / (time.monotonic() - start)
    postfix.stop()
    return rate


def bench_drain(r, options):
    """Measure the delivery of the same backlog to the same smtp-sink by splitrelay and by Postfix."""
    sink = rig.SmtpSink(r, "archive")
    print(f"\nDraining {options.drain} queued copies")
    try:
        own = drain_splitrelay(r, options, sink)
    except rig.Skip as e:
        print(f"SKIP splitrelay: {e}")
        return []
    print(f"  {'splitrelay':44} {own:8.0f} per second")
    other = drain_postfix(r, options, sink)
    print(f"  {'Postfix, default settings':44} {other:8.0f} per second")
    return [Target("draining a backlog, splitrelay / Postfix", own / other, 8)]


class Ten:
    """splitrelay with ten destinations. The last one works, or accepts connections and never sends a byte."""

    def __init__(self, r, name, sink, is_well):
        self.silent = socket.create_server(("127.0.0.1", 0), backlog=500)
        self.address = ("127.0.0.1", r.free_port())
        os.mkdir(r.path(f"spool-{name}"), 0o700)
        last = sink.address[1] if is_well else self.silent.getsockname()[1]
        text = (
            'log { target = "stderr" }\n'
            f'relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" min_free_space = "1M"\n'
            f'spool_directory = "{r.path(f"spool-{name}")}" }}\n'
        ) + "".join(f'destination d{i} {{ relay_to = {{ "[127.0.0.1]:{last if i == 9 else sink.address[1]}" }} }}\n' for i in range(10))
        relay = rig.start_splitrelay(r, text, self.address, name=f"splitrelay-{name}")
        self.log = open(relay.log_path, "rb")  # noqa: SIM115
        r.on_close(self.log.close)
        r.on_close(self.silent.close)

    def send(self, count):
        with rig.SmtpClient(self.address) as c:
            commands = "".join(f"RCPT TO:<a@example.com.d{i}.copy.split.invalid>\r\n" for i in range(10))
            for _ in range(count):
                c.write(f"MAIL FROM:<s@sender.test>\r\n{commands}DATA\r\n")
                for _ in range(12):
                    c.read()
                c.write(b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n.\r\n")
                c.read()

    def rate(self, count):
        """The copies per second to the other nine, for messages over four connections."""
        self.log.seek(0, os.SEEK_END)
        start, seen, rest = time.monotonic(), 0, b""
        senders = [threading.Thread(target=self.send, args=(count // 4,)) for _ in range(4)]
        for sender in senders:
            sender.start()
        while seen < count // 4 * 4 * 9:
            *lines, rest = (rest + self.log.read()).split(b"\n")
            seen += sum(b"status=sent" in line and b"dest=d9," not in line for line in lines)
            time.sleep(0.005)
            if time.monotonic() > start + 300:
                raise rig.Failure(f"only {seen} copies within 300 s")
        for sender in senders:
            sender.join()
        return seen / (time.monotonic() - start)


def bench_starvation(r, options):
    """Measure how much a destination that hangs slows nine others down."""
    sink = rig.SmtpSink(r, "nine")
    try:
        ten = {"all ten are well": Ten(r, "well", sink, True), "the tenth hangs": Ten(r, "sick", sink, False)}
    except rig.Skip as e:
        print(f"SKIP splitrelay: {e}")
        return []
    table = Table("Nine destinations", "all ten are well")
    for number in range(options.rounds + 1):
        for name, relay in sorted(ten.items(), reverse=number % 2 == 1):
            rate = relay.rate(1000 if number else 200)
            if number:  # round 0 is a warm-up
                table.add(name, rate)
    table.show()
    return [Target("nine destinations while the tenth hangs / while it is well", table.ratio("the tenth hangs", table.baseline), 0.95)]
