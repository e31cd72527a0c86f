#!/usr/bin/env -S python3 -B
"""enable_relay = false towards a node behind a symmetric NAT: the dial fails, says why for each address, and sends the relay nothing;
given as an option and in the configuration file. Without it the same dial gets through."""
import os

from harness import Capture, check, main, say, send
from nodes import circuit, multiaddr

TIMEOUT = "3"


def attempts(process, addresses):
    """What the sender says about each address it was given, and in its last error about all of them."""
    errors = process.all("error")
    last = errors[-1]
    for address in addresses:
        reasons = [e for e in errors if e.get("addr", "").startswith(address)]
        check(reasons and reasons[0].get("text") and reasons[0].get("code"), f"no reason for {address}\n{process.story()}")
        check(address.split("/p2p/")[0] in last["text"], f"{address} is not in the last error: {last}")
    return last["text"]


def body(world):
    relay = world.start_relay()
    listener = world.behind("left", "symmetric", 1)
    sender = world.behind("right", "symmetric", 2)
    process = listener.listen("--relay", relay.addr)
    seen = process.wait("announced")["addr"]
    addresses = [multiaddr(seen), "/ip4/192.168.1.2/udp/4001/quic-v1"]
    options = [word for address in addresses for word in ("--addr", address)]

    capture = Capture(world.lab, "relay", "eth0", os.path.join(world.work, "relay.pcap"), f"udp and host {sender.outside}")
    forbidden = send(sender, listener.id, "--relay", relay.addr, "--no-relay", "--timeout", TIMEOUT, *options, "text", code=1)
    say(f"--no-relay: {attempts(forbidden, addresses)}")
    sender.configure(f'[network]\nrelays = ["{relay.addr}"]\n[transport]\nenable_relay = false\n')
    forbidden = send(sender, listener.id, "--timeout", TIMEOUT, *options, "text", code=1)
    say(f"enable_relay = false: {attempts(forbidden, addresses)}")
    check(sender.run("send", circuit(relay.addr, listener.id), "text")[0] != 0, "a circuit address got through")
    code, _, complaints = sender.run("send", listener.id, "text")
    check(code == 1, f"without any address: {code} {complaints}")
    say(f"no address: {complaints.strip()}")
    data, packets = capture.stop()
    check(packets == 0, f"{packets} packets between the sender and the relay")
    check(not process.all("message"), "a message arrived")

    sender.configure(f'[network]\nrelays = ["{relay.addr}"]\n')
    capture = Capture(world.lab, "relay", "eth0", os.path.join(world.work, "relay.pcap"), f"udp and host {sender.outside}")
    allowed = send(sender, listener.id, *options, "text")
    check(allowed.all("sent")[0]["path"] == "relay", allowed.story())
    process.wait("message", text="text")
    packets = capture.stop()[1]
    check(packets > 0, "the capture does not see the packets of the sender")
    say(f"allowed: path relay, {packets} packets")


if __name__ == "__main__":
    main(body)
