#!/usr/bin/env -S python3 -B
"""Four nodes behind different NATs, each knowing one bootstrap address and nothing else: what they find out about themselves, which
relays they choose, and that they message one another by id alone while relays are killed and come back. Records are corrected."""
import time
from concurrent.futures import ThreadPoolExecutor

import finding
from finding import circuits, is_published, is_verdict, network_of
from harness import check, main, say
from nodes import Failed, now, path_kind

NATS = {"full-cone": "public", "port-restricted": "private", "symmetric": "private", "cgnat": "private"}
WANTED = 3  # relays that a private node keeps
# Seconds; what is promised is 3, 4 and 5 at 50 ms of RTT, and 5 for a record to be corrected. The machine does other things.
VERDICT, SERVED, PUBLISHED, CORRECTED = 6.0, 8.0, 10.0, 10.0
ARRIVES = 10.0  # a message, from the start of the program that sends it
DOWN = 2.0  # seconds that a relay is away at least
AT_ONCE = 3


def took(node, wanted, bound, text):
    """Seconds from the node's start to the first such event."""
    seconds = node.process.see(wanted, bound + 10, text)["at"] - node.since
    check(seconds <= bound, f"{node.host}: {text} after {seconds:.2f} s")
    return seconds


def arrive(node, relays):
    """The node has found out what it is, and is where it should be; the times that it took."""
    private = NATS[node.nat] == "private"
    times = [took(node, is_verdict, VERDICT, "verdict")]
    verdict = node.process.see(is_verdict, 1, "verdict")["verdict"]
    check(verdict == NATS[node.nat], f"{node.host} is said to be {verdict}")
    if private:
        times.append(took(node, lambda e: e["event"] == "autorelay" and e["serving"] >= WANTED, SERVED, f"presence on {WANTED} relays"))
    times.append(took(node, lambda e: is_published(e) and len(circuits(e["addrs"])) == (WANTED if private else 0) and
                      e["nodes"] == e["nodes_total"] == 2, PUBLISHED, "record on both bootstrap nodes"))
    named = relays_of(node)
    check(named <= {relay.id for relay in relays}, f"{node.host} names {named}")
    networks = {network_of(relay.address) for relay in relays if relay.id in named}
    check(len(networks) == len(named), f"{node.host} has chosen two relays of one network")
    return times


def relays_of(node):
    """Ids of the relays in the record that the node has published last."""
    return circuits([event for event in node.process.log if is_published(event)][-1]["addrs"])


def message(sender, target, boot, text):
    """One message by id alone, from a program of its own: seconds until it has arrived, until it was connected, and the path."""
    since = now()
    run = sender.start("send", target.id, text, "--bootstrap", boot.addr, "--timeout", f"{ARRIVES:.0f}")
    try:
        arrived = target.process.see(lambda e: e["event"] == "message" and e["text"] == text, ARRIVES, f"message {text}", since)["at"]
    except Failed as failure:
        raise Failed(f"{failure}\n{run.story()}") from None
    run.expect(0, 20)
    connected = next(e for e in run.log if e["event"] == "connected")
    sender.started.remove(run)
    return arrived - since, connected["at"] - since, path_kind(connected)


def everybody(pool, listeners, boots, name, goes_on=lambda: False):
    """Every node messages every other one, again and again as long as that is so."""
    pairs = [(a, b) for a in listeners for b in listeners if a is not b]
    found = []
    while not found or goes_on():
        jobs = [pool.submit(message, a.sender, b, boots[(len(found) + i) % 2], f"{name}: {a.host} to {b.host}, {len(found) + i}")
                for i, (a, b) in enumerate(pairs)]
        found += [job.result() for job in jobs]
    arrived, connected, ways = zip(*found)
    say(f"{name:25} {len(found)} messages, connected after {1000 * min(connected):.0f} to {1000 * max(connected):.0f} ms, "
        f"arrived after at most {1000 * max(arrived):.0f} ms; first path: {ways.count('direct')} direct, {ways.count('relay')} relayed")


def corrected(asker, boot, node, relay, since):
    """Seconds until the bootstrap node no longer hands out a record that names the relay."""
    while relay.id in circuits(finding.lookup(asker, node.id, boot) or []):
        check(now() - since < CORRECTED, f"{node.host}: after {CORRECTED} s its record still names {relay.name}")
        time.sleep(0.05)
    return now() - since


def kill_and_return(pool, asker, listeners, relay, boots):
    """A relay is dead at the next moment, and back some time later; messages arrive all the time. How many have used it."""
    users = [node for node in listeners if relay.id in relays_of(node)]
    since = now()
    relay.kill()
    looks = [pool.submit(corrected, asker, boots[i % 2], node, relay, since) for i, node in enumerate(users)]
    everybody(pool, listeners, boots, f"{relay.name} is killed", lambda: not all(look.done() for look in looks))
    for node, look in zip(users, looks):
        say(f"{'':25} {node.nat}: no longer named after {look.result():.2f} s")
    time.sleep(max(0.0, DOWN - (now() - since)))
    relay.start()
    relay.ready()
    everybody(pool, listeners, boots, f"{relay.name} is back")
    for node in users:
        again = node.process.see(lambda e: is_published(e) and len(circuits(e["addrs"])) == WANTED, 60,
                                 f"record with {WANTED} relays again", since)["at"]
        say(f"{'':25} {node.nat}: {WANTED} relays again {again - since:.2f} s after the kill")
    return len(users)


def body(world):
    boots = finding.bootstrap_nodes(world)
    relays = finding.relays(world, boots)
    asker = world.behind("asker", "none", 50)
    finding.are_listed(asker, boots, relays)
    listeners = []
    for number, nat in enumerate(NATS, 1):
        node = world.behind(nat, nat, number)
        node.sender = world.node(nat)
        node.sender.options = ["-4"]
        node.since = now()
        node.process = node.listen("-4", "--bootstrap", boots[number % 2].addr)
        listeners.append(node)
    for node in listeners:
        times = arrive(node, relays)
        parts = zip(("verdict", *([f"{WANTED} relays"] if len(times) == 3 else []), "published"), times)
        say(f"{node.nat:25} {NATS[node.nat]}: " + ", ".join(f"{what} {seconds:.2f} s" for what, seconds in parts))
    with ThreadPoolExecutor(AT_ONCE + len(NATS)) as pool:
        everybody(pool, listeners, boots, "all relays serve")
        used = [kill_and_return(pool, asker, listeners, relay, boots) for relay in relays]
    check(sum(map(bool, used)) >= 2, f"relays were used by {used} nodes when they were killed")


if __name__ == "__main__":
    main(body)
