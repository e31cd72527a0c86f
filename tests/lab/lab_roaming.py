#!/usr/bin/env -S python3 -B
"""Nodes that change address while a file is on its way, on the sending (client's) and on the receiving (server's) side, over a direct path
and over a relay: NATs that forget, that forget and choose other ports, another public address, another network (Wi-Fi to cellular).

After it a node that listens can be dialled by its id at once: its registration has followed. And a node that sleeps for a minute is
still connected afterwards."""
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from harness import check, main, say
from nodes import now, path_kind, relay_options
from transfers import MIB, Pair

SIZES = {"direct": 256 * MIB, "relay": 96 * MIB}
RATE = "160mbit"
CONFIG = "[transport]\nrelay_bandwidth_limit = 67108864\n"
UPGRADE = 5.0
SLACK = 2  # times the bound, on a machine that does other things
SETTLED = 2.0  # after the fault: the connection has noticed it by then
AGAIN = 10.0  # until a direct connection is direct again, if it was not all the time
DIAL = 2.0  # for the program that dials by id after it
AT_ONCE = 3
SLEEP = 60
WAKES = 5.0

# What happens, and how long there may be no progress.
FAULTS = {
    "conntrack -F": (1.0, lambda lab, host, number, spare: lab.flush(host)),
    "other ports": (1.0, lambda lab, host, number, spare: lab.rebind(host)),
    "other public address": (2.0, lambda lab, host, number, spare: lab.readdress(host, number)),
    "other network": (2.0, lambda lab, host, number, spare: lab.move(host, spare)),
}
WAYS = {"direct": ("port-restricted", "port-restricted"), "relay": ("symmetric", "symmetric")}


def direct_again(transfer, since):
    """Waits until the connection is direct; how long after the fault that was, 0 when it has not left the direct path, None when it
    does not become direct."""
    end = since + AGAIN
    while now() < end and transfer.run.proc.poll() is None:
        last = [e for e in transfer.run.log if path_kind(e)][-1]
        if path_kind(last) == "direct" and now() - max(last["at"], since + SETTLED) > 0:
            return max(0.0, last["at"] - since)
        time.sleep(0.05)
    return None


def roam(pair, way, fault, side, number, caller=None, size=0):
    """The longest time without progress."""
    bound, happens = FAULTS[fault]
    lab = pair.world.lab
    node = pair.sender if side == "client" else pair.receiver
    spare = lab.prepare(node.host, node.nat, number) if fault == "other network" else None
    transfer = pair.transfer(size or SIZES[way])
    if way == "direct":
        transfer.wait_path("direct", UPGRADE)
    transfer.wait_share(0.2)
    check(path_kind([e for e in transfer.run.log if path_kind(e)][-1]) == way, f"not {way}: {transfer.paths()}")
    since = now()
    happens(lab, node.host, number, spare)
    dialled = ""
    if caller is not None and side == "server":
        time.sleep(bound)
        took = pair.reach(caller, f"after {fault} {way}")
        dialled = f", dialled by id again in {took:.2f} s"
        check(took <= DIAL, f"{fault}, {side}, {way}: dialled by id only after {took:.2f} s")
    again = direct_again(transfer, since) if way == "direct" else 0.0
    dialled += ", not direct again" if again is None else f", direct again after {again:.2f} s" if again else ""
    transfer.finish()
    stall = transfer.stall(since)
    say(f"{fault:21} {side:6} {way:6} {stall:6.2f} s without progress{dialled}; {transfer.paths()}")
    check(stall <= bound * SLACK, f"{fault}, {side}, {way}: {stall:.2f} s are more than {SLACK} times {bound} s")
    check(again is not None, f"{fault}, {side}, {way}: not direct again within {AGAIN} s")
    return stall


def sleeps(pair, seconds=SLEEP):
    """A listening node is stopped for a minute; a quiet connection, and one with pings, are there afterwards."""
    lab_process = pair.receiver.process
    quiet = pair.sender.start("connect", pair.receiver.id, *relay_options(pair.relays))
    other = pair.other.start("ping", pair.receiver.id, "-i", "1", "-c", "100000", *relay_options(pair.relays))
    for run in (quiet, other):
        run.see(lambda e: e["event"] == "connected", 20, "connection")
    other.see(lambda e: e["event"] == "pong", 10, "answer")
    time.sleep(2)
    lab_process.freeze()
    time.sleep(seconds)
    since = now()
    lab_process.thaw()
    woke = other.see(lambda e: e["event"] == "pong", WAKES, "answer after the sleep", since)["at"] - since
    check(all(run.proc.poll() is None for run in (quiet, other)), "a connection has ended")
    check(not [e for e in lab_process.log if e["event"] == "closed"], "the sleeper has lost a connection")
    took = pair.reach(pair.caller, "awake?")
    say(f"asleep for {seconds} s: pings are answered {woke:.2f} s after waking, dialled by id in {took:.2f} s; "
        f"{len([e for e in quiet.log if e['event'] == 'path'])} changes of path told on the quiet connection")
    check(took <= DIAL, f"dialled by id only after {took:.2f} s")
    for run in (quiet, other):
        run.proc.terminate()
        run.expect(0)


def sleeper(world, relays, number):
    pair = Pair(world, "leep", WAYS["direct"], number, relays)
    pair.other = world.behind("other", "port-restricted", number + 2)
    pair.caller = world.behind("caller", "none", number + 3)
    pair.other.options = ["-4"]
    return pair


def scenario(world, relay, number, case, lock):
    way, fault, side = case
    with lock:  # names and numbers of a network are made one after the other
        pair = Pair(world, str(number), WAYS[way], number, [relay])
        caller = world.behind(f"c{number}", "none", number + 2)
    stall = roam(pair, way, fault, side, number + 3, caller)
    for node in (pair.sender, pair.receiver):
        node.stop_all()
    return case, stall


def body(world):
    relay = world.start_relay(CONFIG)
    cases = [(way, fault, side) for fault in FAULTS for way in WAYS for side in ("client", "server")]
    lock = threading.Lock()
    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        asleep = pool.submit(sleeps, sleeper(world, [relay], 90))
        found = [pool.submit(scenario, world, relay, 1 + 4 * i, case, lock) for i, case in enumerate(cases)]
        failed = [str(f.exception()).split("\n", maxsplit=1)[0] for f in [*found, asleep] if f.exception()]
        for f in [*found, asleep]:
            if f.exception():
                say(str(f.exception()))
    stalls = dict(f.result() for f in found if not f.exception())
    say("\nseconds without progress")
    say(f"{'':22}" + "".join(f"{f'{way}, {side}':>16}" for way in WAYS for side in ("client", "server")))
    for fault in FAULTS:
        row = [stalls.get((way, fault, side)) for way in WAYS for side in ("client", "server")]
        say(f"{fault:22}" + "".join(f"{'FAILED' if s is None else f'{s:.2f}':>16}" for s in row))
    check(not failed, f"{len(failed)} of {len(found) + 1}:\n" + "\n".join(failed))


if __name__ == "__main__":
    main(body, RATE)
