#!/usr/bin/env -S python3 -B
"""atlas reach behind each kind of NAT and behind none, against bootstrap nodes with two addresses each: the verdict, and what it rests
on; a forwarded port; and what is said where UDP is blocked, where nobody serves, and
where nobody is named.

Where the majority of servers has one address, a NAT that filters by address looks public: docs/discovery.md says so, and why."""
import finding
from harness import RELAY_PORT, check, main, say
from nodes import multiaddr, now, with_id
from topology import BLOCKED, NATS, PUBLIC

VERDICT = {"none": "public", "full-cone": "public", "address-restricted": "private", "port-restricted": "private", "symmetric": "private",
           "cgnat": "private"}
BOOTS = 3
WITHIN = 6.0  # seconds, with the end of the round; 3 are promised for the verdict
PORT = "4777"


def ask(node, *boots):
    """Starts atlas reach there, with these bootstrap nodes."""
    process = node.start("reach", "-4", *(word for boot in boots for word in ("--bootstrap", boot.addr)))
    process.since = now()
    return process


def verdict(process, code=0, seconds=20):
    """What it has said of IPv4, and the seconds until its end."""
    process.expect(code, seconds)
    found = process.all("reach")
    check(len(found) == 1 and found[0]["family"] == 4, f"{process.name}: {found}")
    return found[0], found[0]["at"] - process.since


def compare(nat, node, result, took):
    """The verdict is right, as is what each server has found."""
    check(result["verdict"] == VERDICT[nat], f"{nat}: {result}")
    check(result["servers"] >= 2 and result["addrs"], f"{nat}: {result}")
    addrs = {a["addr"].rsplit(":", 1)[0] for a in result["addrs"]}
    check(addrs == {node.outside}, f"{nat}: {addrs} were tried instead of {node.outside}")
    public = VERDICT[nat] == "public"
    for said in result["evidence"]:
        if said["result"] == "public":
            check(public and said["source"].rsplit(":", 1)[0] != said["server_addr"].rsplit(":", 1)[0] and said["other_address"],
                  f"{nat}: {said}")
        elif said["result"] == "private":
            # behind a NAT that filters by address the datagram of the known address comes, and the other one does not
            check(not public and bool(said.get("source")) == (nat == "address-restricted"), f"{nat}: {said}")
    check(any(said["result"] == result["verdict"] for said in result["evidence"]), f"{nat}: no evidence: {result}")
    check(took <= WITHIN, f"{nat}: only after {took:.2f} s")
    say(f"{nat:20} {result['verdict']:8} {took:5.2f} s  {result['text']}")


def forwarded(world, boots):
    """A port that the owner of a port-restricted NAT has forwarded: public at that port, and private at any other."""
    node = world.behind("forwarded", "port-restricted", 10)
    world.lab.run("forwarded-home", "nft -f -", f"""
add rule ip lab prerouting iifname "wan" udp dport {PORT} dnat ip to 192.168.10.2
add rule ip lab forward ct status dnat accept
""")
    for options, wanted in ((("--port", PORT), "public"), ((), "private")):
        process = node.start("reach", "-4", *options, "--bootstrap", boots[0].addr)
        process.since = now()
        result, took = verdict(process)
        check(result["verdict"] == wanted, f"forwarded port, {options}: {result}")
        say(f"{'forwarded port' if options else 'another port':20} {result['verdict']:8} {took:5.2f} s")


def nobody(world, boots):
    """Behind a router that lets no UDP through; at a bootstrap node that is dead; without any."""
    blocked = world.behind("blocked", BLOCKED, 20)
    dead = finding.Server(world, "dead", 60)
    other = world.node("none")
    runs = [("UDP is blocked", ask(blocked, boots[0])), ("nobody serves", ask(other, dead))]
    for what, process in runs:
        process.expect(1, 30)
        told = process.all("reach")
        errors = process.all("error")
        check(all(e["verdict"] == "unknown" for e in told), f"{what}: {told}")
        for said in [s for e in told for s in e["evidence"]]:
            check(said["result"] == "unknown" and said["code"] in ("ATLAS_ERR_TIMEOUT", "ATLAS_ERR_REFUSED"), f"{what}: {said}")
        check(len(errors) == 1 and "no server has answered" in errors[0]["text"], f"{what}: {errors}")
        say(f"{what:20} {'unknown':8} {errors[0]['at'] - process.since:5.2f} s  {errors[0]['text']}")
    code, text, complaints = other.run("reach", "-4", "--json")
    check(code == 2 and "no bootstrap node is known" in complaints + text, f"nobody named: {code}, {text}{complaints}")
    wrong = with_id(multiaddr(f"{PUBLIC}.2:{RELAY_PORT}"), other.id)
    code, text, complaints = blocked.run("reach", "-4", "--json", "--timeout", "3", "--bootstrap", wrong)
    check(code == 1, f"another id: {code}, {text}{complaints}")


def body(world):
    boots = finding.bootstrap_nodes(world, BOOTS, BOOTS)
    nodes = {nat: world.behind(nat, nat, number) for number, nat in enumerate(NATS, 1)}
    finding.are_listed(nodes["none"], boots, [])
    asked = [(nat, ask(node, boots[number % BOOTS])) for number, (nat, node) in enumerate(nodes.items())]
    for nat, process in asked:
        compare(nat, nodes[nat], *verdict(process))
    forwarded(world, boots)
    nobody(world, boots)


if __name__ == "__main__":
    main(body)
