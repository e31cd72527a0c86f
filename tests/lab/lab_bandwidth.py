#!/usr/bin/env -S python3 -B
"""relay_bandwidth_limit: a transfer through a relay that allows 1 MiB a second completes, and is not faster than that."""
import os

from harness import Capture, check, main, make_file, say, send, verify
from nodes import circuit

LIMIT = 1048576
SIZE = 8 * 1024 * 1024
BURST = 0.1  # seconds' worth of bytes that a bucket and its queue may hold


def body(world):
    relay = world.start_relay(f"[transport]\nrelay_bandwidth_limit = {LIMIT}\n")
    receiver = world.behind("left", "symmetric", 1)
    sender = world.behind("right", "symmetric", 2)
    process = receiver.listen("--relay", relay.addr)
    process.wait("announced")
    path = os.path.join(world.work, "file.bin")
    digest = make_file(path, SIZE)
    run = send(sender, circuit(relay.addr, receiver.id), "--file", path)
    verify(receiver, "file.bin", digest)
    (sent,) = run.all("sent")
    check(sent["path"] == "relay", run.story())
    rate = SIZE / sent["seconds"]
    say(f"{SIZE} bytes in {sent['seconds']:.2f} s: {rate / LIMIT:.3f} of the limit of {LIMIT} bytes a second")
    check(rate <= 1.1 * LIMIT, "more than 10 % above the limit")
    check(rate >= 0.5 * LIMIT, "less than half of the limit")
    relay.process.stop()
    (stats,) = relay.process.all("stats")
    say(f"the relay forwarded {stats['bytes']} bytes in {stats['packets']} packets and dropped {stats['dropped']}")
    check(stats["bytes"] > SIZE, "the relay has not counted the file")
    check(stats["dropped"] < stats["packets"] / 5, "more than a fifth of the packets was dropped")


if __name__ == "__main__":
    main(body)
