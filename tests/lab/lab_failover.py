#!/usr/bin/env -S python3 -B
"""The relay that carries a file is killed, or stopped, without a word: the transfer goes on through the other one.

Two symmetric NATs, so that there is no direct way. While the relay is dead, a dial of somebody else is not held up by it; when it is
back, it is used again."""
import time
from concurrent.futures import ThreadPoolExecutor

from harness import RELAY_PORT, check, main, say
from nodes import path_kind
from transfers import MIB, Pair

SIZE = 256 * MIB
RATE = "240mbit"
CONFIG = "[transport]\nrelay_bandwidth_limit = 67108864\n"
STALL = 2.0  # seconds without progress
SLACK = 2  # times that, on a machine that does other things
DIAL = 0.7  # seconds that a dead relay may add to a dial
BACK = 10.0  # until a node is announced on a relay that came back


def relay_of(relays, event):
    return next(relay for relay in relays if relay.id == event["relay"])


def silence(relay, how):
    (relay.process.kill if how == "SIGKILL" else relay.process.freeze)()


def restore(relay, how):
    if how == "SIGKILL":
        relay.process, addr = relay.relay("--port", RELAY_PORT, "-4")
        check(addr == relay.addr, f"the relay came back as {addr}")
    else:
        relay.process.thaw()


def others_dial(pair, caller, dead, how):
    """Somebody with a choice of relays, of which the first is dead, and with the dead one first."""
    before = pair.reach(caller, f"before {how}", [r for r in pair.relays if r is not dead])
    after = pair.reach(caller, f"during {how}", [dead] + [r for r in pair.relays if r is not dead])
    say(f"{how}: a dial with only the living relay {before:.2f} s, with the dead one first {after:.2f} s")
    check(after <= before + DIAL, "the dead relay holds up a dial")


def used_again(pair, caller, dead, how, since):
    """The relay is back: the listener is announced there again, and somebody reaches it through nothing else."""
    listener = pair.receiver.process
    if how == "SIGKILL":
        took = listener.see(lambda e: e["event"] == "announced" and e["relay"] == dead.id, BACK, "presence again", since)["at"] - since
        say(f"{how}: the listener is announced on it again after {took:.2f} s")
    end = time.monotonic() + BACK
    while True:
        try:
            took = pair.reach(caller, f"again {how} {time.monotonic()}", [dead], 2)
            break
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)  # the relay allows so many requests a second
    say(f"{how}: a new dial uses the relay that is back, {took:.2f} s")


def fail_over(pair, how, caller=None, size=SIZE):
    """The longest time without progress."""
    transfer = pair.transfer(size)
    check(path_kind(transfer.connected) == "relay", f"connected over {path_kind(transfer.connected)}")
    transfer.wait_share(0.25)
    active = relay_of(pair.relays, transfer.connected)
    since = time.monotonic()
    silence(active, how)
    if caller is not None:
        time.sleep(STALL)
        others_dial(pair, caller, active, how)
    transfer.finish()
    stall = transfer.stall(since)
    say(f"{how} of {active.host}: {size // MIB} MiB, hash verified, {stall:.2f} s without progress; {transfer.paths()}")
    moved = transfer.run.see(lambda e: path_kind(e) == "relay" and e["relay"] != active.id, 1, "other relay", since)
    check(moved["relay"] in [relay.id for relay in pair.relays], f"moved to {moved}")
    check(stall <= STALL * SLACK, f"more than {SLACK} times {STALL} s")
    since = time.monotonic()
    restore(active, how)
    if caller is not None:
        used_again(pair, caller, active, how, since)
    return stall


def body(world):
    relays = [world.start_relay(CONFIG, f"relay{i}", 2 + i) for i in range(4)]
    nats = ("symmetric", "symmetric")
    pairs = [Pair(world, how, nats, number, relays[first:first + 2])
             for how, number, first in (("SIGKILL", 1, 0), ("SIGSTOP", 3, 2))]
    callers = [world.behind(f"caller{i}", "none", 10 + i) for i in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fail_over, pairs, ("SIGKILL", "SIGSTOP"), callers))


if __name__ == "__main__":
    main(body, RATE)
