#!/usr/bin/env python3
"""A relay is killed and started again under two listening nodes: both can be reached again within 5 s. Measured with messages, which
arrive only when the nodes can really be reached."""
from concurrent.futures import ThreadPoolExecutor

from harness import RELAY_PORT, check, main, say
from nodes import Failed, circuit, now

LIMIT = 5.0
ROUNDS = 3


def reach(sender, relay, listener, text, since):
    """Tries until a message arrives; seconds since then."""
    while True:
        attempt = sender.start("send", "--timeout", "2", circuit(relay.addr, listener.id), text)
        code = attempt.finish()
        sender.started.remove(attempt)
        if code == 0:
            got = listener.process.wait("message", text=text)
            return got["at"] - since
        if now() - since > 4 * LIMIT:
            raise Failed(f"{listener.host} is not reachable again\\n{attempt.story()}")


def restart(relay):
    """SIGKILL, and the same relay again; when it was ready."""
    relay.process.kill()
    relay.process, addr = relay.relay("--port", RELAY_PORT, "-4")
    check(addr == relay.addr, f"the relay came back as {addr}")
    return relay.process.events[-1]["at"]


def body(world):
    relay = world.start_relay()
    listeners = [world.behind("left", "symmetric", 1), world.behind("right", "port-restricted", 2)]
    senders = [world.behind("third", "none", 3), world.behind("fourth", "none", 4)]
    for listener in listeners:
        listener.process = listener.listen("--relay", relay.addr)
    for listener in listeners:
        listener.process.wait("announced", relay=relay.id)
    for number in range(1, ROUNDS + 1):
        text = f"round {number}"
        since = restart(relay)
        with ThreadPoolExecutor(2) as pool:
            took = list(pool.map(lambda pair: reach(pair[0], relay, pair[1], text, since), zip(senders, listeners)))
        say(f"round {number}: reachable again after {took[0]:.2f} s (symmetric) and {took[1]:.2f} s (port-restricted)")
        check(max(took) < LIMIT, f"more than {LIMIT} s")


if __name__ == "__main__":
    main(body)
