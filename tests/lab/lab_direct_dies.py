#!/usr/bin/env -S python3 -B
"""The direct path of a transfer dies without a word: it goes on over the relay. The path is mended: it goes on directly again."""
import time

from harness import check, main, say
from transfers import MIB, Pair

SIZE = 256 * MIB
RATE = "160mbit"
CONFIG = "[transport]\nrelay_bandwidth_limit = 67108864\n"
STALL = 1.0
SLACK = 2
UPGRADE = 5.0
AGAIN = 30.0  # attempts come with growing pauses


def dies(pair, size=SIZE, mended_after=None):
    """The longest time without progress, and how long it took to be direct again after it was mended."""
    lab = pair.world.lab
    transfer = pair.transfer(size)
    transfer.wait_path("direct", UPGRADE)
    transfer.wait_share(0.2)
    since = time.monotonic()
    lab.cut(pair.sender.host, pair.receiver.host)
    fell = transfer.wait_path("relay", 10, since)
    again = None
    if mended_after is not None:
        time.sleep(mended_after)
        mended = time.monotonic()
        lab.mend(pair.sender.host, pair.receiver.host)
        again = transfer.wait_path("direct", AGAIN, mended)
    transfer.finish()
    if mended_after is None:
        lab.mend(pair.sender.host, pair.receiver.host)
    stall = transfer.stall(since)
    say(f"cut: {size // MIB} MiB, hash verified, {stall:.2f} s without progress, both ends on the relay after {fell:.2f} s; "
        f"{transfer.paths()}")
    if again is not None:
        say(f"mended: direct again after {again:.2f} s")
    check(stall <= STALL * SLACK, f"more than {SLACK} times {STALL} s")
    return stall, again


def body(world):
    relay = world.start_relay(CONFIG)
    pair = Pair(world, "", ("port-restricted", "port-restricted"), 1, [relay])
    dies(pair, mended_after=2)


if __name__ == "__main__":
    main(body, RATE)
