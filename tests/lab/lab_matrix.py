#!/usr/bin/env -S python3 -B
"""Every kind of NAT on both sides: a file from each to each, over the path that is to be expected, verified by its hash.

All listeners are up at the same time, with presence on one relay. The sender knows the listener's address as the relay sees it. It gets
through to those that are open to strangers; to all others the relay carries, since nobody looks for better paths here (that is what
lab_upgrade.py does). Where the direct way works, the relay is tried as well, by its circuit address."""
import os
from concurrent.futures import ThreadPoolExecutor

from harness import check, main, make_file, say, send, verify
from nodes import circuit, multiaddr, now
from topology import NATS, OPEN

SIZE = 8 * 1024 * 1024
AT_ONCE = 2
RELAY_CONFIG = "[transport]\nrelay_bandwidth_limit = 33554432\n"
NODE_CONFIG = "[transport]\nupgrade = false\n"


def start_listener(world, relay, nat, number):
    node = world.behind(f"to-{nat}", nat, number, NODE_CONFIG)
    node.process = node.listen("--relay", relay.addr)
    announced = node.process.wait("announced", relay=relay.id)
    check(announced["addr"].startswith(node.outside + ":"), f"{nat} is seen at {announced['addr']}, not {node.outside}")
    node.direct = multiaddr(announced["addr"])
    return node


def transfer(world, relay, sender, listener, forced):
    """One file; returns a line about it."""
    way = "relay" if forced or listener.nat not in OPEN else "direct"
    name = f"{sender.nat}-{listener.nat}-{'forced' if forced else 'found'}.bin"
    path = os.path.join(world.work, name)
    digest = make_file(path, SIZE)
    target = circuit(relay.addr, listener.id) if forced else listener.id
    extra = [] if forced else ["--relay", relay.addr, "--addr", listener.direct]
    began = now()
    process = send(sender, target, "--file", path, *extra)
    (sent,) = process.all("sent")
    check(sent["path"] == way, f"{name}: path {sent['path']}, expected {way}\n{process.story()}")
    check(sent["bytes"] == SIZE, f"{name}: {sent['bytes']} bytes sent")
    verify(listener, name, digest)
    os.unlink(path)
    os.unlink(os.path.join(listener.inbox, name))
    return f"{sender.nat:>16} -> {listener.nat:16} {way:6} {SIZE / sent['seconds'] / 1e6:7.1f} MB/s {now() - began:5.2f} s in all"


def check_received(listeners, runs):
    """The listeners tell the same as the senders."""
    for listener in listeners:
        mine = [r for r in runs if r[1] is listener]
        files = listener.process.all("file")
        direct = [f for f in files if f["path"] == "direct"]
        expected = len([r for r in mine if not r[2]]) if listener.nat in OPEN else 0
        check(len(files) == len(mine), f"{listener.host} tells of {len(files)} files, not {len(mine)}")
        check(len(direct) == expected, f"{listener.host} tells of {len(direct)} direct ones, not {expected}")


def body(world):
    began = now()
    relay = world.start_relay(RELAY_CONFIG)
    listeners = [start_listener(world, relay, nat, 1 + i) for i, nat in enumerate(NATS)]
    senders = [world.behind(f"from-{nat}", nat, 11 + i, NODE_CONFIG) for i, nat in enumerate(NATS)]
    say(f"{len(world.lab.hosts)} hosts and routers, {now() - began:.1f} s")
    runs = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # in one round every sender has another listener: an identity is on the relay once at a time
        for shift in range(len(NATS)):
            pairs = [(sender, listeners[(i + shift) % len(NATS)]) for i, sender in enumerate(senders)]
            for forced in (False, True):
                these = [(s, l, forced) for s, l in pairs if not forced or l.nat in OPEN]
                for line in pool.map(lambda run: transfer(world, relay, *run), these):
                    say(line)
                runs += these
    check_received(listeners, runs)
    say(f"{len(runs)} transfers, {now() - began:.1f} s")


if __name__ == "__main__":
    main(body)
