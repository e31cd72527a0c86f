#!/usr/bin/env -S python3 -B
"""atlas stun --nat from behind each kind of NAT, with our own relay and its two addresses as the server: what the NAT does, which
peers are said to be reached, how long mappings live; and the verdict where UDP is blocked, where the server has one address, and
where it is another's (coturn)."""
from harness import RELAY_PORT, check, main, say
from lab_stun import start_coturn
from topology import BLOCKED, NATS, PUBLIC, punchable

ENDPOINT, ADDRESS, PORT = "endpoint-independent", "address-dependent", "address-and-port-dependent"
# kind of NAT -> the verdict, mapping, filtering, and whether ports are kept
BEHAVES = {
    "none": ("none", "none", "none", "yes"),
    "full-cone": ("full-cone", ENDPOINT, ENDPOINT, "yes"),
    "address-restricted": ("address-restricted", ENDPOINT, ADDRESS, "yes"),
    "port-restricted": ("port-restricted", ENDPOINT, PORT, "yes"),
    "symmetric": ("symmetric", PORT, PORT, "no"),
    "cgnat": ("port-restricted", ENDPOINT, PORT, "yes"),
}
ALTERNATE = f"{PUBLIC}.12"
TIMEOUT = 4  # seconds that the home router remembers a mapping with, where that is looked for


def start_relay(world):
    """A relay with two public addresses; what to give to --nat."""
    address = world.lab.public_host("relay", 2)
    world.lab.ip("relay", f"addr add {ALTERNATE}/24 dev eth0")
    world.node("relay").relay("--port", RELAY_PORT, "-4", "--stun-alternate", ALTERNATE)
    return f"{address}:{RELAY_PORT}"


def probe(node, *args):
    return node.start("stun", "-4", "--nat", "--timeout", "2", *args)


def verdict(process, code=0):
    process.expect(code, 40)
    (result,) = process.all("nat")
    return result


def compare(nat, result, outside):
    """The result is what that NAT does."""
    found = tuple(result[key] for key in ("kind", "mapping", "filtering", "port_preservation"))
    check(found == BEHAVES[nat], f"{nat}: {found} instead of {BEHAVES[nat]}: {result}")
    check(result["addr"].startswith(f"{outside}:"), f"{nat}: seen at {result['addr']} instead of {outside}")
    check(result["hairpinning"] == ("unknown" if nat == "none" else "no"), f"{nat}: {result}")
    reached = sorted(other for other in NATS if punchable(nat, other))
    check(sorted(result["reaches"]) == reached, f"{nat}: reaches {result['reaches']} instead of {reached}")
    check(result["perhaps"] == [], f"{nat}: {result}")
    say(f"{nat:18} {result['verdict']}")


def lifetime(world, server, number):
    """A router that forgets soon: the lifetime lies where it was set."""
    node = world.behind("forgetful", "port-restricted", number)
    world.lab.run("forgetful-home", f"sysctl -qw net.netfilter.nf_conntrack_udp_timeout={TIMEOUT}")
    return probe(node, "--lifetime", "18", server)


def check_lifetime(process):
    result = verdict(process)
    low, high = result["lifetime"], result["lifetime_end"]
    # the kernel sweeps expired entries when it looks at them, and counts in ticks
    check(low <= TIMEOUT + 0.3 and high >= TIMEOUT - 0.3 and high - low < 1, f"mappings live {low} to {high} s, not {TIMEOUT}")
    heard = [event["text"] for event in process.all("progress") if "silence" in event["text"]]
    check(len(heard) >= 2, f"no progress: {process.all('progress')}")
    say(f"mappings live      {low:.1f} to {high:.1f} s of silence; the router says {TIMEOUT}")


def others(world, nodes):
    """Servers of other kinds: coturn with two addresses, one server with one address, two such servers."""
    started = [start_coturn(world), start_coturn(world, "twice", 5, 15)]
    plain, twice = (address for _, address in started)
    world.start_relay("", "another", 6)
    pair = [plain, f"{PUBLIC}.6:{RELAY_PORT}"]
    asked = [(probe(nodes[nat], twice), probe(nodes[nat], plain), probe(nodes[nat], *pair)) for nat in ("port-restricted", "symmetric")]
    for nat, mapping, (both, one, two) in zip(("port-restricted", "symmetric"), (ENDPOINT, ADDRESS), asked):
        compare(nat, verdict(both), nodes[nat].outside)
        result = verdict(one)
        check(result["mapping"] == "unknown" and "symmetric" in result["perhaps"] and "none" in result["reaches"], f"one: {result}")
        say(f"one address        {result['verdict']}")
        result = verdict(two)
        check((result["mapping"], result["method"]) == (mapping, "servers"), f"compared: {result}")
        say(f"compared           {result['verdict']}")
    for process, _ in started:
        process.terminate()
        process.wait()


def nobody(world, server):
    """Behind a router that lets no UDP through; and without any server."""
    blocked = world.behind("blocked", BLOCKED, 20)
    result = verdict(probe(blocked, server), code=1)
    check(result["kind"] == "blocked" and result["reaches"] == [] and result["code"], f"blocked: {result}")
    say(f"blocked            {result['verdict']}")
    code, _, complaints = blocked.run("stun", "--nat")
    check(code == 2 and "no STUN server" in complaints, f"no server: {code}, {complaints}")


def body(world):
    server = start_relay(world)
    nodes = {nat: world.behind(nat, nat, number) for number, nat in enumerate(NATS, 1)}
    forgets = lifetime(world, server, 19)
    for nat, process in [(nat, probe(node, server)) for nat, node in nodes.items()]:
        compare(nat, verdict(process), nodes[nat].outside)
    others(world, nodes)
    nobody(world, server)
    check_lifetime(forgets)


if __name__ == "__main__":
    main(body)
