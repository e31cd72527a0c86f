#!/usr/bin/env -S python3 -B
"""The relay forwards what it cannot read: tcpdump on its only device finds nothing of a known message or of a known file.

That the search can find something is shown by the same text sent past libatlas in one datagram; that the packets were all there, by
their number and their bytes."""
import os

from harness import Capture, check, hash_of, main, say, send, verify
from nodes import circuit

LINE = "the quick brown fox %06d jumps over the lazy dog of this known file\n"
LINES = 20000
MESSAGE = "a known message that nobody but its receiver shall read"
# Parts that would show: of the message, of the lines, of the file's name, and a line as a whole.
SECRETS = [MESSAGE.encode(), b"nobody but its", b"quick brown", b"lazy dog", b"known-name", (LINE % 17).encode()]


def control(sender, relay, text):
    """The text as it is, to a port of the relay where nobody listens."""
    sender.lab.run(sender.host, f"bash -c 'echo -n \"{text}\" > /dev/udp/{relay.address}/9'")


def body(world):
    relay = world.start_relay("[transport]\nrelay_bandwidth_limit = 16777216\n")
    receiver = world.behind("left", "symmetric", 1)
    sender = world.behind("right", "symmetric", 2)
    path = os.path.join(world.work, "known-name.txt")
    with open(path, "w", encoding="ascii") as file:
        file.writelines(LINE % n for n in range(LINES))
    size = os.path.getsize(path)

    capture = Capture(world.lab, "relay", "eth0", os.path.join(world.work, "relay.pcap"))
    process = receiver.listen("--relay", relay.addr)
    process.wait("announced")
    target = circuit(relay.addr, receiver.id)
    for arguments in ([target, "--file", path], [target, MESSAGE]):
        run = sender.start("send", *arguments)
        run.expect(0)
        check(run.all("sent")[0]["path"] == "relay", run.story())
    check(process.wait("message")["text"] == MESSAGE, "the message came as another")
    verify(receiver, "known-name.txt", hash_of(path))
    control(sender, relay, "control: lazy dog")
    data, packets = capture.stop()

    check(len(data) > 2 * size, f"the capture of {len(data)} bytes cannot hold a file of {size} twice, in and out")
    check(data.count(b"control: lazy dog") == 1, "the search does not find what was sent in the clear")
    data = data.replace(b"control: lazy dog", b"")
    for secret in SECRETS:
        check(secret not in data, f"the relay saw {secret}")
    say(f"{packets} packets, {len(data)} bytes at the relay; a file of {size} bytes and a message went through, nothing of them shows")


if __name__ == "__main__":
    main(body)
