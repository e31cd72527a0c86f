#!/usr/bin/env -S python3 -B
"""atlas stun from behind each kind of NAT: the same address as coturn's client gets, the NAT's kind seen in the ports of two
servers, and what is said where there is no server or it is dead."""
import re
import subprocess
import time

from harness import check, main, say
from nodes import json_lines, now
from topology import NATS, PUBLIC


def start_coturn(world, host="coturn", last=3, second=None):
    """coturn on a new public host; with the last byte of a second address it answers as RFC 5780 says."""
    address = world.lab.public_host(host, last)
    listen = ["-L", address]
    if second is not None:
        world.lab.ip(host, f"addr add {PUBLIC}.{second}/24 dev eth0")
        listen += ["-L", f"{PUBLIC}.{second}"]
    argv = ["turnserver", "-n", "-S", *listen, "-p", "3478", "--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout",
            "--pidfile", f"/run/{host}.pid", "--userdb", f"{world.work}/{host}"]
    proc = subprocess.Popen(world.lab.argv(host, argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = now() + 20
    while ":3478" not in world.lab.run(host, "ss -Huln"):
        check(now() < until and proc.poll() is None, "coturn does not start")
        time.sleep(0.05)
    return proc, f"{address}:3478"


def coturn_client(node, server):
    """The address that coturn's client is told. Behind NATs that filter it hangs afterwards, in its second test."""
    host, port = server.split(":")
    argv = ["timeout", "2", "stdbuf", "-o0", "turnutils_stunclient", "-p", port, host]
    found = None
    for _ in range(5):  # it asks once, and coturn drops what comes before all its threads have started
        done = subprocess.run(node.lab.argv(node.host, argv), capture_output=True, text=True, check=False)
        found = re.search(r"reflexive addr: ([0-9.]+):\d+", done.stdout)
        if found:
            break
    check(found, f"coturn's client on {node.host} got no answer: {done.stdout}{done.stderr}")
    return found.group(1)


def stun(node, *args, code=0):
    got, text, complaints = node.run("stun", "--json", "-4", *args)
    check(got == code, f"atlas stun on {node.host} ended with {got}: {text}{complaints}")
    return json_lines(text)


def ask_two(node, servers):
    results = [line for line in stun(node, *servers) if line["event"] == "stun"]
    check(sorted(r["server"] for r in results) == sorted(servers), f"one answer from each: {results}")
    return [r["addr"] for r in sorted(results, key=lambda r: servers.index(r["server"]))]


def body(world):
    relay = world.start_relay()
    coturn, coturn_address = start_coturn(world)
    servers = [coturn_address, f"{relay.address}:4001"]
    for number, nat in enumerate(NATS, 1):
        node = world.behind(nat, nat, number)
        expected = coturn_client(node, coturn_address)
        check(expected == node.outside, f"the lab is wrong: {expected} instead of {node.outside}")
        first, second = ask_two(node, servers)
        check({first.split(":")[0], second.split(":")[0]} == {expected}, f"{nat}: {first}, {second} instead of {expected}")
        moves = first != second
        check(moves == (nat == "symmetric"), f"{nat}: mapped to {first} and to {second}")
        say(f"{nat:16} coturn's client {expected:14} atlas {first} and {second}")
    unhappy(world, node, servers[0])
    coturn.terminate()
    coturn.wait()


def unhappy(world, node, server):
    (only,) = stun(node)
    check(only["local"].startswith("192.168.") and "no STUN server is configured" in only["text"], f"nothing configured: {only}")
    say(f"nothing configured: {only['local']}, {only['text']}")

    dead = f"{PUBLIC}.99:3478"
    results = {line["server"]: line for line in stun(node, "--timeout", "2", dead, server) if line["event"] == "stun"}
    check("code" not in results[server] and results[server]["addr"].startswith(node.outside), f"one of two is dead: {results}")
    check("code" in results[dead] and "addr" not in results[dead], f"the dead one: {results}")
    say(f"one of two dead: {results[dead]['code']}, {results[dead]['text']}; {results[server]['addr']}")

    lines = stun(node, "--timeout", "1", dead, code=1)
    check(any(line.get("code") for line in lines), f"all dead, without a reason: {lines}")
    check(lines[-1]["event"] == "stun" and lines[-1]["local"].startswith("192.168."), f"all dead, no local address: {lines}")
    say(f"all dead: {lines[0].get('code')}; {lines[-1]['local']}, {lines[-1]['text']}")

    node.configure(f'[stun]\nservers = ["{server}"]\n')
    (only,) = stun(node)
    check(only["addr"].startswith(node.outside), f"configured in the file: {only}")
    world.lab.run(node.host, "ip route del default")
    lines = stun(node, "--timeout", "1", code=1)
    check(any(line.get("code") for line in lines), f"no route, without a reason: {lines}")
    say(f"no route: {lines[0].get('code')}, {lines[0].get('text')}")


if __name__ == "__main__":
    main(body)
