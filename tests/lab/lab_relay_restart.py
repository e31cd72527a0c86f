#!/usr/bin/env -S python3 -B
"""A relay is killed and started again under two listening nodes: both can be reached again within 5 s. Measured with messages, which
arrive only when the nodes can really be reached. Then the same with an outage that the nodes notice, while they redial."""
import time
from concurrent.futures import ThreadPoolExecutor

from harness import RELAY_PORT, check, main, say
from nodes import Failed, circuit, now

AT_ONCE = 5.0
# seconds of outage -> seconds after its end; attempts to redial are at most 4 s apart then
ROUNDS = [(0, AT_ONCE), (0, AT_ONCE), (0, AT_ONCE), (4, 10.0)]


def reach(sender, relay, listener, text, since):
    """Tries until a message arrives; seconds since then."""
    while now() - since < 20:
        attempt = sender.start("send", circuit(relay.addr, listener.id), text, "--timeout", "2")
        code = attempt.finish()
        sender.started.remove(attempt)
        if code == 0:
            return listener.process.wait("message", text=text)["at"] - since
        time.sleep(0.1)
    raise Failed(f"{listener.host} is not reachable again\n{attempt.story()}")


def restart(relay, outage):
    """SIGKILL, and the same relay again; when it was ready."""
    relay.process.kill()
    time.sleep(outage)
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
    for number, (outage, limit) in enumerate(ROUNDS, 1):
        since = restart(relay, outage)
        with ThreadPoolExecutor(len(listeners)) as pool:
            pairs = zip(senders, listeners)
            took = list(pool.map(lambda pair: reach(pair[0], relay, pair[1], f"round {number}", since), pairs))
        each = ", ".join(f"{listener.nat} {seconds:.2f} s" for listener, seconds in zip(listeners, took))
        say(f"killed, {outage} s down: reachable again after {each}")
        check(max(took) <= limit, f"more than {limit} s")


if __name__ == "__main__":
    main(body)
