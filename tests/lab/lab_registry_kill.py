#!/usr/bin/env -S python3 -B
"""A bootstrap node with a file is killed again and again under a load of puts, and comes back: every record that it has acknowledged is
there, nodes go on as if nothing had been, one that was started meanwhile is found as well, and the file is whole. Its metrics are read
over HTTP and parsed by Prometheus' own parser."""
import json
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import finding
from finding import circuits, is_published
from harness import SKIPPED, check, main, say
from nodes import Failed, Node, now

KILLS = 5
LOAD = (0.8, 2.0)  # seconds between two kills
DOWN = 3.0  # seconds that it stays away the last time
BACK = 5.0  # seconds until it serves again
PUT = 30.0  # until a node that was started while it was away is found
WORKERS = 3
METRICS = "http://127.0.0.1:9464"
PARSE = """
import json, sys
from prometheus_client.parser import text_string_to_metric_families as families
json.dump([[f.name, f.type, [[s.name, s.labels, s.value] for s in f.samples]] for f in families(sys.stdin.read())], sys.stdout)
"""


def find_parser():
    """A Python that has Prometheus' parser: the distribution's, where this one has not."""
    for directory in [os.path.dirname(sys.executable), *os.environ.get("PATH", "").split(":"), "/usr/bin"]:
        python = os.path.join(directory, "python3")
        if os.access(python, os.X_OK) and subprocess.run([python, "-c", "import prometheus_client.parser"], capture_output=True,
                                                         check=False).returncode == 0:
            return python
    return None


class Load:
    """Nodes that come, are published, and are gone without a word: what was acknowledged to them."""

    def __init__(self, world, boot):
        self.world, self.boot = world, boot
        self.acked = {}  # peer -> the number of its record that the node knows to be there
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.hosts = [f"load{i}" for i in range(WORKERS)]
        for i, host in enumerate(self.hosts):
            world.lab.public_host(host, 70 + i)
        self.threads = [threading.Thread(target=self.work, args=(host,), daemon=True) for host in self.hosts]
        for thread in self.threads:
            thread.start()

    def work(self, host):
        """One after the other, on that host."""
        number = 0
        while not self.ended.is_set():
            number += 1
            node = Node(self.world.program, os.path.join(self.world.work, f"{host}-{number}"), self.world.lab, host)
            process = node.listen("-4", "--no-relay", "--bootstrap", self.boot.addr)
            try:
                event = process.see(is_published, 3, "record")
                with self.lock:
                    self.acked[node.id] = event["seq"]
            except Failed:
                pass  # the bootstrap node was away just then
            node.stop_all()

    def so_far(self):
        with self.lock:
            return dict(self.acked)

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


def scrape(world, boot, parser):
    """Its metrics: (name, labels as a sorted tuple) -> value. Everything in them is as Prometheus wants it."""
    text = world.lab.run(boot.name, f"curl -sf --max-time 5 {METRICS}/metrics")
    done = subprocess.run([parser, "-c", PARSE], input=text, capture_output=True, text=True, check=False)
    check(done.returncode == 0, f"the metrics are not understood: {done.stderr}\n{text}")
    values = {}
    for name, kind, samples in json.loads(done.stdout):
        check(kind in ("counter", "gauge") and samples, f"{name} is of type {kind}, with {len(samples)} samples")
        check(f"# TYPE {name} {kind}" in text or f"# TYPE {name}_total {kind}" in text, f"{name} has no type")
        for sample, labels, value in samples:
            key = sample, tuple(sorted(labels.items()))
            check(key not in values and value >= 0, f"{key} is there twice, or {value}")
            check((kind == "counter") == sample.endswith("_total"), f"{sample} is a {kind}")
            values[key] = value
    return values


def lookups(world, boot, asker, pool, acked):
    """Every record that was acknowledged is handed out, or a newer one."""
    def missing(peer):
        found = finding.records(asker, boot, "lookup", peer)
        return None if peer in found and found[peer]["seq"] >= acked[peer] else f"{peer}: {found}, acknowledged was {acked[peer]}"

    lost = [text for text in pool.map(missing, acked) if text]
    check(not lost, f"{len(lost)} of {len(acked)} acknowledged records are lost:\n" + "\n".join(lost[:5]))


def come_back(boot):
    """Starts it again; seconds until it serves."""
    since = now()
    boot.start()
    boot.ready()
    check(now() - since <= BACK, f"it serves only after {now() - since:.2f} s")
    return now() - since


def kills(world, boot, asker, load, pool, parser, rng):
    """SIGKILL in the middle of the load, KILLS times."""
    for number in range(1, KILLS + 1):
        time.sleep(rng.uniform(*LOAD))
        before = scrape(world, boot, parser)
        boot.kill()
        acked = load.so_far()
        took = come_back(boot)
        after = scrape(world, boot, parser)
        held = after["atlas_registry_records", ()]
        check(held >= len(acked), f"{held} records after the kill, {len(acked)} were acknowledged")
        lookups(world, boot, asker, pool, dict(list(acked.items())[-24:]))  # the last ones are those that were at risk
        say(f"kill {number}: {before['atlas_registry_taken_total', ()]:.0f} records taken since the last, {len(acked)} acknowledged in all, "
            f"{held:.0f} there again after {took:.2f} s")


def goes_on(world, boot, nodes, relays):
    """It is away for some time, and back: who is there stays found and has changes known; who comes meanwhile is found."""
    boot.kill()
    late = world.behind("late", "none", 30)
    late.process = late.listen("-4", "--bootstrap", boot.addr)
    time.sleep(DOWN)
    come_back(boot)
    since = now()
    late.process.see(is_published, PUT, "record", since)
    say(f"a node that was started while it was away: its record is there {now() - since:.2f} s after the return")
    sender = world.node("late")
    for node in [*nodes, late]:
        run = sender.start("send", node.id, f"to {node.host}", "-4", "--bootstrap", boot.addr, "--timeout", "10")
        run.expect(0, 20)
        node.process.see(lambda e, node=node: e["event"] == "message" and e["text"] == f"to {node.host}", 5, "message")
    gone = max(relays, key=lambda relay: sum(relay.id in named(node) for node in nodes))
    since = now()
    gone.kill()
    for node in nodes:
        finding.until(lambda node=node: gone.id not in circuits(finding.lookup(sender, node.id, boot) or [gone.id]), 15,
                      f"{node.host} no longer names {gone.name}")
    say(f"a relay dies after that: no record names it {now() - since:.2f} s later")


def named(node):
    """Relays in what the node has published last."""
    return circuits([event for event in node.process.log if is_published(event)][-1]["addrs"])


def whole(boot):
    """Nothing is wrong with the file."""
    boot.process.stop()
    done = subprocess.run(["sqlite3", boot.db, "pragma integrity_check"], capture_output=True, text=True, check=False)
    check(done.stdout.strip() == "ok", f"the file: {done.stdout}{done.stderr}")


def body(world, parser):
    seed = random.randrange(1 << 32)
    say(f"seed {seed}")
    boot = finding.Server(world, "boot", 2)
    boot.start("bootstrap", "--db", boot.db, "--stun-alternate", boot.second_address(50))
    boot.ready()
    relays = finding.relays(world, [boot], 3)
    asker = world.behind("asker", "none", 50)
    finding.are_listed(asker, [boot], relays)
    nodes = [world.behind(nat, nat, number) for number, nat in enumerate(("port-restricted", "symmetric"), 1)]
    for node in nodes:
        node.process = node.listen("-4", "--bootstrap", boot.addr)
    for node in nodes:
        node.process.see(lambda e: is_published(e) and len(circuits(e["addrs"])) >= 2, 15, "record with relays")
    load = Load(world, boot)
    with ThreadPoolExecutor(4) as pool:
        kills(world, boot, asker, load, pool, parser, random.Random(seed))
        load.stop()
        acked = load.so_far()
        check(len(acked) >= 4 * KILLS, f"only {len(acked)} records were put")
        lookups(world, boot, asker, pool, acked)
    say(f"all of {len(acked)} are handed out")
    goes_on(world, boot, nodes, relays)
    code = world.lab.run(boot.name, f"curl -s --max-time 5 -o {world.work}/page -w %{{http_code}},%{{content_type}} {METRICS}/")
    check(code.startswith("200,text/html"), f"the page: {code}")
    whole(boot)


def run():
    parser = find_parser()
    if parser is None:
        say("cannot run here: no prometheus_client (scripts/install-packages)")
        sys.exit(1 if os.environ.get("ATLAS_REQUIRE_ALL") == "1" else SKIPPED)
    main(lambda world: body(world, parser))


if __name__ == "__main__":
    run()
