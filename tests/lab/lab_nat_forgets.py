#!/usr/bin/env -S python3 -B
"""NATs that forget their mappings: a node that waits can be reached again within 5 s through its relay, which sees it at another address
then; and a relayed transfer goes on to its end, whichever side's NAT forgets."""
import os
import time

from harness import check, main, make_file, say, verify
from nodes import Failed, circuit, now

LIMIT = 5.0
SIZE = 16 * 1024 * 1024
RATE = 4 * 1024 * 1024
CONFIG = f"[transport]\nrelay_bandwidth_limit = {RATE}\n"


def forget(node):
    """The router of that node loses all its mappings."""
    node.lab.run(f"{node.host}-home", "conntrack -F")


def waiting_node(relay, receiver, sender):
    forget(receiver)
    since = now()
    while True:
        attempt = sender.start("send", circuit(relay.addr, receiver.id), "are you there?", "--timeout", "2")
        if attempt.finish() == 0:
            break
        if now() - since > LIMIT:
            raise Failed(f"not reachable within {LIMIT} s\n{attempt.story()}")
        time.sleep(0.1)
    took = receiver.process.wait("message")["at"] - since
    say(f"the NAT of a waiting node forgets: reachable again after {took:.2f} s")
    check(took <= LIMIT, f"more than {LIMIT} s")


def transfer(world, relay, receiver, sender, forgetful):
    name = f"{forgetful.host}.bin"
    path = os.path.join(world.work, name)
    digest = make_file(path, SIZE)
    run = sender.start("send", circuit(relay.addr, receiver.id), "--file", path)
    run.wait("connected", path="relay")
    time.sleep(1)
    check(run.proc.poll() is None, "the transfer is over too soon")
    forget(forgetful)
    run.expect(0)
    (sent,) = run.all("sent")
    verify(receiver, name, digest)
    say(f"the NAT of {forgetful.host} forgets in the middle: {SIZE} bytes in {sent['seconds']:.2f} s, path {sent['path']}")
    check(sent["path"] == "relay" and sent["seconds"] <= SIZE / RATE + LIMIT, f"more than {LIMIT} s were lost")


def body(world):
    relay = world.start_relay(CONFIG)
    receiver = world.behind("receiver", "symmetric", 1)
    sender = world.behind("sender", "symmetric", 2)
    receiver.process = receiver.listen("--relay", relay.addr)
    receiver.process.wait("announced")
    waiting_node(relay, receiver, sender)
    transfer(world, relay, receiver, sender, receiver)
    transfer(world, relay, receiver, sender, sender)


if __name__ == "__main__":
    main(body)
