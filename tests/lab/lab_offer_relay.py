#!/usr/bin/env -S python3 -B
"""A node that offers to be a relay and is public becomes one that others find: a private node is reached through it. When its router
begins to drop what nobody has asked for it is no longer listed, and whom it served stops naming it; when the router lets packets in again
it is a relay again. One that offers the same and is not public is never listed."""
import finding
from finding import circuits, is_published, is_verdict
from harness import check, main, say
from nodes import now, path_kind

FOUND = 10.0  # seconds from the start of the program that offers
GONE = 10.0  # from the moment at which it looks again: a round takes one or two, a record is put within one
ARRIVES = 10.0


def offer(world, name, nat, number, boot):
    node = world.behind(name, nat, number)
    node.process = node.listen("-4", "--offer-relay", "--bootstrap", boot.addr)
    return node


def look_again(world, node, last):
    """An address of the host comes: a reason to find out about its reachability before the next round. When that was."""
    world.lab.ip(node.host, f"addr add 192.168.{node.number}.{last}/24 dev eth0")
    return now()


def listed(asker, boots, node):
    """Whether the bootstrap nodes list it as a relay: all of them, none of them, or None while they disagree."""
    found = {node.id in finding.offering(asker, boot) for boot in boots}
    return found.pop() if len(found) == 1 else None


def becomes_relay(asker, boots, node, since, what):
    finding.until(lambda: listed(asker, boots, node) is True, FOUND, f"{node.host} is listed by all bootstrap nodes")
    say(f"{what}: listed as a relay {now() - since:.2f} s later")


def through(sender, target, boot, relay, text):
    """A message by id alone; it goes through that relay."""
    since = now()
    run = sender.start("send", target.id, text, "-4", "--no-upgrade", "--bootstrap", boot.addr, "--timeout", f"{ARRIVES:.0f}")
    run.expect(0, 30)
    connected = next(e for e in run.log if e["event"] == "connected")
    check(path_kind(connected) == "relay" and connected["relay"] == relay.id, f"not through {relay.host}: {connected}")
    arrived = target.process.see(lambda e: e["event"] == "message" and e["text"] == text, 5, "message", since)["at"] - since
    say(f"{'':4}a message through it by id alone: connected after {1000 * (connected['at'] - since):.0f} ms, arrived after "
        f"{1000 * arrived:.0f} ms")


def serves(target, relay, since=0.0):
    """The node names that relay, and it alone, in its record."""
    target.process.see(lambda e: is_published(e) and circuits(e["addrs"]) == {relay.id}, 20, f"record that names {relay.host}", since)


def body(world):
    boots = finding.bootstrap_nodes(world, second=2)
    asker = world.behind("asker", "none", 50)
    finding.are_listed(asker, boots, [])
    since = now()
    relay = offer(world, "offers", "full-cone", 1, boots[0])
    hidden = offer(world, "hidden", "port-restricted", 2, boots[1])
    relay.number = 1
    becomes_relay(asker, boots, relay, since, "public, from the start")
    target = world.behind("target", "port-restricted", 3)
    sender = world.behind("sender", "symmetric", 4)
    target.process = target.listen("-4", "--bootstrap", boots[1].addr)
    serves(target, relay)
    through(sender, target, boots[0], relay, "first")
    hidden.process.see(lambda e: is_verdict(e, "private"), 10, "verdict private")
    check(not listed(asker, boots, hidden), "a node that nobody reaches is listed as a relay")

    closed_at = now()
    world.lab.set_filter(relay.host, True)
    since = look_again(world, relay, 3)
    private = relay.process.see(lambda e: is_verdict(e, "private"), GONE, "verdict private", closed_at)["at"] - since
    finding.until(lambda: listed(asker, boots, relay) is False, GONE, "no bootstrap node lists it")
    gone = now() - since
    target.process.see(lambda e: is_published(e) and not circuits(e["addrs"]), GONE, "record that does not name it", closed_at)
    say(f"its router filters: private after {private:.2f} s, no longer listed after {gone:.2f} s, no longer named by the node that it "
        f"served after {now() - since:.2f} s")
    check(gone <= GONE, f"listed for {gone:.2f} s")
    told = target.process.see(lambda e: e["event"] == "error" and e.get("relay") == relay.id, 5, "word of the relay's end", closed_at)
    say(f"{'':4}what it said: {told['text']} ({told['code']})")

    opened_at = now()
    world.lab.set_filter(relay.host, False)
    since = look_again(world, relay, 4)
    becomes_relay(asker, boots, relay, since, "its router lets packets in again")
    serves(target, relay, opened_at)
    through(sender, target, boots[1], relay, "second")


if __name__ == "__main__":
    main(body)
