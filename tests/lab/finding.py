"""Bootstrap nodes and relays whose addresses are known before they run, and what nodes say of their being found."""
import os
import time

from harness import RELAY_PORT, check
from nodes import Failed, json_lines, multiaddr, now, with_id
from topology import ELSEWHERE, PUBLIC


def network_of(address):
    """The /24 of an address."""
    return address.rsplit(".", 1)[0]


class Server:
    """A bootstrap node or a relay on a public host of its own."""

    def __init__(self, world, name, last, network=PUBLIC):
        self.world, self.name = world, name
        self.address = world.lab.public_host(name, last, network=network)
        self.node = world.node(name)
        self.id = self.node.id
        self.addr = with_id(multiaddr(f"{self.address}:{RELAY_PORT}"), self.id)
        self.db = os.path.join(self.node.dir, "records.db")
        self.command = ()
        self.process = None

    def second_address(self, last):
        """One more address for this host, in the same network: it is never the source of what is sent without one."""
        address = f"{network_of(self.address)}.{last}"
        self.world.lab.ip(self.name, f"addr add {address}/24 dev eth0")
        return address

    def start(self, *command):
        """atlas relay, or atlas bootstrap, with these options. Without any: the same as before."""
        self.command = command or self.command
        self.process = self.node.start(*self.command, "--port", RELAY_PORT, "-4")

    def ready(self):
        """Waits until it serves; the event that says so."""
        return self.process.wait("ready")

    def kill(self):
        """SIGKILL."""
        self.process.kill()


def bootstrap_nodes(world, count=2, second=1, options=()):
    """Bootstrap nodes that know one another, each in a network of its own and with a file; the first `second` of them have another
    address for dial-backs."""
    servers = [Server(world, f"boot{i}", 2 + i, network) for i, network in enumerate((PUBLIC, *ELSEWHERE)[:count])]
    for i, server in enumerate(servers):
        alternate = ["--stun-alternate", server.second_address(50 + i)] if i < second else []
        others = [word for other in servers if other is not server for word in ("--bootstrap", other.addr)]
        server.start("bootstrap", "--db", server.db, *alternate, *others, *options)
    for server in servers:
        server.ready()
    return servers


def relays(world, boots, count=4):
    """Relays that tell these bootstrap nodes of themselves, each in a network of its own."""
    servers = [Server(world, f"relay{i}", 20 + i, network) for i, network in enumerate(ELSEWHERE[:count])]
    for server in servers:
        server.start("relay", *(word for boot in boots for word in ("--bootstrap-node", boot.addr)))
    for server in servers:
        server.ready()
    return servers


def is_verdict(event, verdict=None):
    """The event tells what the reachability over IPv4 is."""
    return event["event"] == "reach" and event["family"] == 4 and event["verdict"] in ((verdict,) if verdict else ("public", "private"))


def is_published(event):
    return event["event"] == "advertise" and event["state"] == "published"


def circuits(addrs):
    """Ids of the relays that a record names."""
    return {addr.split("/p2p-circuit")[0].rsplit("/", 1)[1] for addr in addrs if "/p2p-circuit" in addr}


def records(node, boot, *words):
    """What atlas lookup or atlas discover prints, of one bootstrap node: the newest record of each peer. Nothing is remembered."""
    code, text, complaints = node.run(*words, "--bootstrap", boot.addr, "-4", "--json", "--timeout", "5")
    found = [event for event in json_lines(text) if event["event"] == "record" and event["source"] == "bootstrap"]
    check(code == 0 or not found and code == 1, f"atlas {words[0]} ended with {code}: {text}{complaints}")
    newest = {}
    for event in sorted(found, key=lambda event: event["seq"]):
        newest[event["peer"]] = event
    return newest


def lookup(node, peer, boot):
    """The addresses of a peer; None when the bootstrap nodes know nothing of it."""
    found = records(node, boot, "lookup", peer)
    return found[peer]["addrs"] if found else None


def offering(node, boot, what="relay"):
    """Ids of those that offer it."""
    return set(records(node, boot, "discover", "--offer", what, "--limit", "100"))


def until(wanted, seconds, text):
    """Asks until wanted() is true; seconds that it took."""
    since = now()
    while not wanted():
        if now() - since > seconds:
            raise Failed(f"not within {seconds} s: {text}")
        time.sleep(0.1)
    return now() - since


def are_listed(node, boots, servers):
    """Waits until the bootstrap nodes list these relays, and one another."""
    ids = {server.id for server in servers}
    for boot in boots:
        until(lambda boot=boot: offering(node, boot) >= ids, 20, f"{boot.name} lists all relays")
        others = {other.id for other in boots if other is not boot}
        until(lambda boot=boot, others=others: offering(node, boot, "bootstrap") >= others, 20, f"{boot.name} lists the others")
