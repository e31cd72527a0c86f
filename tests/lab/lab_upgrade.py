#!/usr/bin/env -S python3 -B
"""Relayed connections that become direct: every kind of NAT on both sides, dialled by id through one relay.

Pairs that can be punched are direct on both ends soon after they were connected. All others stay relayed, and say why. With UDP
blocked on one side but for the relay, the relay carries; with all of it blocked, the dial fails and says so."""
import time
from concurrent.futures import ThreadPoolExecutor

import nodes
from harness import check, main, say
from nodes import now, path_kind, relay_options
from topology import BLOCKED, NATS, punchable

BOUND = 5.0  # seconds from connected to direct, on both ends
FAILS = 20.0  # and to the report of an attempt that came to nothing
STAYS = 0.5  # for so long after that no direct path may appear
AT_ONCE = 3
SHORT = {"none": "none", "full-cone": "full", "address-restricted": "address", "port-restricted": "port", "symmetric": "symm.",
         "cgnat": "CGNAT", BLOCKED: "blocked"}


def listener(world, relay, nat, number):
    node = world.behind(f"to-{nat}", nat, number)
    if nat == BLOCKED:
        world.lab.allow(node.host, relay.address)
    node.process = node.listen("--relay", relay.addr)
    node.process.wait("announced", relay=relay.id)
    return node


def upgraded(run, dialler, listening):
    """Seconds from connected until both ends say direct."""
    connected = run.see(lambda e: e["event"] == "connected", 20, "connection")
    mine = run.see_path("direct", BOUND, connected["at"] - 0.1)
    theirs = listening.process.see_path("direct", BOUND, connected["at"] - 1, dialler.id)
    took = max(mine["at"], theirs["at"]) - connected["at"]
    check(took <= BOUND, f"direct only after {took:.2f} s")
    attempts = [e for e in run.log if e["event"] == "upgrade" and e.get("code", "ATLAS_OK") == "ATLAS_OK"]
    text = f"{attempts[0]['pairs']} pairs, {attempts[0]['answers']} answers" if attempts else ""
    return took, f"direct after {1000 * took:5.0f} ms  to {mine.get('remote') or mine['addr']}  {text}"


def refused(run, dialler, listening):
    """The connection stays relayed, and both are told why."""
    connected = run.see(lambda e: e["event"] == "connected", 20, "connection")
    check(path_kind(connected) == "relay", f"connected over {path_kind(connected)}")
    attempt = run.see(lambda e: e["event"] == "upgrade", FAILS, "report of an attempt")
    check(attempt.get("code") not in (None, "ATLAS_OK") and attempt.get("text"), f"no reason: {attempt}")
    time.sleep(STAYS)
    direct = [e for e in run.log if path_kind(e) == "direct"]
    direct += [e for e in list(listening.process.log)
               if path_kind(e) == "direct" and e.get("peer") == dialler.id and e["at"] > connected["at"] - 1]
    check(not direct, f"direct all the same: {direct}")
    return None, f"relayed: {attempt['text']} ({attempt['code']}; {attempt['pairs']} pairs, {attempt['answers']} answers)"


def one(relay, dialler, listening):
    """What came of a pair: seconds to direct, None for relayed, or a complaint."""
    run = dialler.start("connect", listening.id, "--relay", relay.addr)
    try:
        took, text = (upgraded if punchable(dialler.nat, listening.nat) else refused)(run, dialler, listening)
        run.stop()
    except nodes.Failed as failure:
        took, text = str(failure), f"FAILED: {failure}\n{run.story()}"
        run.kill()
    dialler.started.remove(run)
    say(f"{dialler.nat:>18} -> {listening.nat:18} {text}")
    return took


def cell(found, pair):
    took = found.get(pair, "")
    return "-" if took is None else "FAILED" if isinstance(took, str) and took else took if took == "" else f"{1000 * took:.0f}"


def table(found):
    kinds = list(NATS) + [BLOCKED]
    say("\nms from connected to direct on both ends; dialling side on the left, - stays relayed")
    say(f"{'':10}" + "".join(f"{SHORT[kind]:>9}" for kind in kinds))
    for a in kinds:
        say(f"{SHORT[a]:10}" + "".join(f"{cell(found, (a, b)):>9}" for b in kinds))


def blocked(world, relay, listening):
    """A side where all UDP is dropped."""
    node = world.behind("walled-in", BLOCKED, 40)
    run = node.start("connect", listening.id, "--timeout", "3", *relay_options([relay]))
    since = now()
    run.expect(1, 10)
    error = run.all("error")[-1]
    check(error.get("text") and error.get("code"), f"no reason: {error}")
    say(f"\nall UDP blocked: the dial failed after {now() - since:.1f} s: {error['text']}")


def all_pairs(world, relay):
    """What came of each pair; and somebody who listens."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        listeners = list(pool.map(lambda i: listener(world, relay, NATS[i], 1 + i), range(len(NATS))))
    diallers = [world.behind(f"from-{nat}", nat, 11 + i) for i, nat in enumerate(NATS)]
    walled = world.behind("from-blocked", BLOCKED, 21)
    world.lab.allow(walled.host, relay.address)
    found = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # in one round every node is in one pair
        for shift in range(len(NATS)):
            pairs = [(d, listeners[(i + shift) % len(NATS)]) for i, d in enumerate(diallers)]
            pairs += [(walled, listeners[0])] if shift == 1 else []
            for (a, b), took in zip(pairs, pool.map(lambda pair: one(relay, *pair), pairs)):
                found[a.nat, b.nat] = took
    table(found)
    return found, listeners[0]


def body(world):
    relay = world.start_relay()
    found, listening = all_pairs(world, relay)
    failed = [f"{a} -> {b}: {took}" for (a, b), took in found.items() if isinstance(took, str)]
    check(not failed, f"{len(failed)} of {len(found)} pairs:\n" + "\n".join(failed))
    blocked(world, relay, listening)


if __name__ == "__main__":
    main(body)
