#!/usr/bin/env -S python3 -B
"""paths.py ATLAS_PROGRAM: what connections do when their paths change, measured once each with real NATs; rows for docs/performance.md.

Every transfer in it is verified by its hash. Exits with 1 when a row misses its bound."""
import os
import struct
import time

import lab_direct_dies
import lab_failover
import lab_roaming
import lab_upgrade
import nodes
from harness import Capture, check, main, say
from nodes import relay_options
from topology import punchable
from transfers import MIB, Pair

CONFIG = "[transport]\nrelay_bandwidth_limit = 67108864\n"
RATE = "160mbit"
SIZE = 96 * MIB


def first_line(failure):
    return str(failure).split("\n", maxsplit=1)[0]


def first_packet(data):
    """When the first packet of a capture was seen, by the wall clock."""
    seconds, micros = struct.unpack_from("<II", data, 24)
    return seconds + micros / 1e6


def dial(world, caller, target, what, *options):
    """Milliseconds from the first packet to connected."""
    capture = Capture(world.lab, caller.host, "eth0", os.path.join(world.work, f"{what}.pcap"))
    run = caller.start("connect", target.id, *options)
    connected = run.see(lambda e: e["event"] == "connected", 10, "connection")
    run.stop()
    return 1000 * (connected["clock"] - first_packet(capture.stop()[0])), connected


def direct_dial(world):
    target, caller = world.behind("public1", "none", 60), world.behind("public2", "none", 61)
    listening = target.listen("--port", "4001", "-4")
    listening.wait("ready")
    took, connected = dial(world, caller, target, "direct", "-4", "--no-relay", "--addr", f"/ip4/{target.outside}/udp/4001/quic-v1")
    check(nodes.path_kind(connected) == "direct" and took <= 10 + connected.get("rtt_ms", 0), f"{took:.1f} ms")
    return f"{took:.1f} ms"


def relayed_dial(world, relay, listening):
    caller = world.behind("public3", "none", 62)
    took, connected = dial(world, caller, listening, "relayed", "-4", "--relay", relay.addr)
    check(nodes.path_kind(connected) == "relay", f"over {nodes.path_kind(connected)}")
    return f"{took:.1f} ms, the dialling node's own connection to the relay included"


def quiet_bytes(pair, relay):
    """What the relay forwards for a connection without traffic, in its first two seconds."""
    def total():
        return relay.process.see(lambda e: e["event"] == "stats", 5, "counters", nodes.now())["bytes"]
    before = total()
    run = pair.sender.start("connect", pair.receiver.id, *relay_options([relay]))
    run.see(lambda e: e["event"] == "connected", 10, "connection")
    time.sleep(2)
    after = total()
    run.stop()
    return after - before, [e for e in run.log if nodes.path_kind(e) == "direct"]


def upgrade_bytes(world):
    """What an upgrade costs the relay: a connection with it against one without."""
    relay = world.start_relay(CONFIG, "counting", 9, "--stats", "0.1")
    nats = ("port-restricted", "port-restricted")
    plain, direct = quiet_bytes(Pair(world, "plain", nats, 63, [relay], "[transport]\nupgrade = false\n"), relay)
    check(not direct, "direct with upgrade = false")
    upgraded, direct = quiet_bytes(Pair(world, "upgraded", nats, 65, [relay]), relay)
    check(direct, "not direct within 2 s")
    check(upgraded - plain <= 8192, f"{upgraded - plain} bytes")
    return f"{upgraded - plain} bytes ({upgraded} against {plain} without)"


def pairs(found, wanted):
    """How many of the pairs that should have become (or not become) direct did."""
    these = {pair: took for pair, took in found.items() if punchable(*pair) == wanted}
    good = [took for took in these.values() if not isinstance(took, str)]
    check(len(good) == len(these), f"{len(good)} of {len(these)}")
    worst = f", within {1000 * max(good):.0f} ms" if wanted else ""
    return f"{len(good)} of {len(these)}{worst}"


def both_ways(world, relay, number, fault):
    """Client's and server's side, over a direct path and over the relay."""
    found = []
    for way, nats in lab_roaming.WAYS.items():
        for side in ("client", "server"):
            pair = Pair(world, f"{number}", nats, number, [relay])
            try:
                found.append(f"{way}, {side}: {lab_roaming.roam(pair, way, fault, side, number + 2):.2f} s")
            except nodes.Failed as failure:
                found.append(f"{way}, {side}: **missed**: {first_line(failure)}")
            for node in (pair.sender, pair.receiver):
                node.stop_all()
            number += 3
    return "; ".join(found)


def rows(world, relays):
    """(row, its bound, what measures it)."""
    relay = relays[0]
    found, listening = lab_upgrade.all_pairs(world, relay)
    port = ("port-restricted", "port-restricted")
    symmetric = ("symmetric", "symmetric")

    def relay_dies(how, number):
        pair = Pair(world, how, symmetric, number, relays[1:3])
        return f"{lab_failover.fail_over(pair, how, None, SIZE):.2f} s"

    def direct_dies():
        return f"{lab_direct_dies.dies(Pair(world, 'dies', port, 50, [relay]), SIZE)[0]:.2f} s"

    return [
        ("dial, direct, both public", "1 RTT and 10 ms", lambda: direct_dial(world)),
        ("dial through a relay", "3 relay RTTs, warm", lambda: relayed_dial(world, relay, listening)),
        ("relayed to direct, port-restricted with port-restricted", "3 RTTs and 150 ms",
         lambda: pairs({port: found[port]}, True)),
        ("every punchable pair", "becomes direct", lambda: pairs(found, True)),
        ("every other pair", "stays relayed, with the reason", lambda: pairs(found, False)),
        ("direct path dies without a word", "1 s", direct_dies),
        ("relay is killed, second in common", "2 s", lambda: relay_dies("SIGKILL", 52)),
        ("relay is stopped, second in common", "2 s", lambda: relay_dies("SIGSTOP", 54)),
        ("conntrack -F", "1 s", lambda: both_ways(world, relay, 22, "conntrack -F")),
        ("NAT rebinding to other ports", "1 s", lambda: both_ways(world, relay, 67, "other ports")),
        ("other public address", "2 s", lambda: both_ways(world, relay, 34, "other public address")),
        ("other network", "2 s", lambda: both_ways(world, relay, 79, "other network")),
        ("relay traffic spent on an upgrade", "8 KB", lambda: upgrade_bytes(world)),
    ]


def body(world):
    relays = [world.start_relay(CONFIG, f"relay{i}", 2 + i) for i in range(3)]
    lines = []
    missed = 0
    for name, bound, measure in rows(world, relays):
        try:
            lines.append((name, bound, measure()))
        except nodes.Failed as failure:
            lines.append((name, bound, f"**missed**: {first_line(failure)}"))
        missed += "**missed**" in lines[-1][2]
    say("\n| row | at most | in the lab, once |\n|---|---|---|")
    for line in lines:
        say("| " + " | ".join(line) + " |")
    check(missed == 0, f"{missed} rows missed")


if __name__ == "__main__":
    main(body, RATE)
