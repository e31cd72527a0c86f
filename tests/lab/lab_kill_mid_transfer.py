#!/usr/bin/env -S python3 -B
"""Killed in the middle of a file. The relay: the sender gives up with an error within its idle timeout, the receiver keeps nothing. The
sender: the receiver keeps nothing, and goes on receiving from others."""
import os
import time

from harness import RELAY_PORT, check, main, make_file, say, send, verify
from nodes import Failed, circuit, now

IDLE = 4
MARGIN = 3  # what may pass beyond the idle timeout: the last packet before the kill, closing, a slow machine
AGAIN = 10  # until a node is reached through a relay that is back
SIZE = 24 * 1024 * 1024
CONFIG = f"[transport]\nidle_timeout = {IDLE}\nrelay_bandwidth_limit = 2097152\n"


def parts(receiver):
    return [name for name in os.listdir(receiver.inbox) if name.endswith(".part")]


def wait_for(condition, seconds, text):
    end = now() + seconds
    while not condition():
        if now() > end:
            raise Failed(text)
        time.sleep(0.05)


def begin(world, sender, receiver, relay):
    """Starts a transfer and returns in the middle of it."""
    run = sender.start("send", "--file", os.path.join(world.work, "large.bin"), circuit(relay.addr, receiver.id))
    run.wait("connected", path="relay")
    wait_for(lambda: any(os.path.getsize(os.path.join(receiver.inbox, name)) > 1000000 for name in parts(receiver)), 20,
             f"no transfer begins\n{run.story()}")
    return run


def nothing_kept(receiver, since, *codes):
    wait_for(lambda: not os.listdir(receiver.inbox), IDLE + MARGIN, f"the receiver keeps {os.listdir(receiver.inbox)}")
    say(f"  the receiver removed its temporary file after {now() - since:.2f} s")
    broken = receiver.process.wait("error", seconds=2, file="large.bin")
    say(f"  and says: {broken['text']} ({broken.get('code')})")
    check(broken.get("code") in codes, f"not one of {codes}")
    check(not receiver.process.all("file"), "a part was taken for a file")


def kill_relay(world, sender, receiver, relay):
    run = begin(world, sender, receiver, relay)
    since = now()
    relay.process.kill()
    run.expect(1, IDLE + MARGIN)
    took = now() - since
    error = run.all("error")[-1]
    check(not run.all("sent"), "it says that the file was sent")
    say(f"relay killed: the sender ended after {took:.2f} s: {error['text']} ({error.get('code')})")
    nothing_kept(receiver, since, "ATLAS_ERR_RELAY_LOST", "ATLAS_ERR_IDLE_TIMEOUT")


def kill_sender(world, sender, receiver, relay):
    run = begin(world, sender, receiver, relay)
    since = now()
    run.kill()
    say("sender killed:")
    nothing_kept(receiver, since, "ATLAS_ERR_RELAY_CIRCUIT_CLOSED", "ATLAS_ERR_IDLE_TIMEOUT")


def reached_again(sender, receiver, relay):
    since = now()
    while sender.run("send", circuit(relay.addr, receiver.id), "there?", "--timeout", "2")[0] != 0:
        check(now() - since < AGAIN, f"the receiver is not reached within {AGAIN} s")
        time.sleep(0.1)  # the relay allows so many requests a second
    return now() - since


def body(world):
    relay = world.start_relay(CONFIG)
    receiver = world.behind("left", "symmetric", 1, CONFIG)
    sender = world.behind("right", "symmetric", 2, CONFIG)
    make_file(os.path.join(world.work, "large.bin"), SIZE)
    receiver.process = receiver.listen("--relay", relay.addr)
    receiver.process.wait("announced")
    kill_relay(world, sender, receiver, relay)
    relay.process, _ = relay.relay("--port", RELAY_PORT, "-4")
    took = reached_again(sender, receiver, relay)
    say(f"the relay is back: the receiver is reached through it after {took:.2f} s")
    kill_sender(world, sender, receiver, relay)

    small = os.path.join(world.work, "small.bin")
    digest = make_file(small, 100000)
    send(sender, circuit(relay.addr, receiver.id), "--file", small)
    verify(receiver, "small.bin", digest)
    say("afterwards a file arrives as ever")


if __name__ == "__main__":
    main(body)
