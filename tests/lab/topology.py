"""Hosts and NATs out of network namespaces and nftables.

A public network (203.0.113.0/24, a bridge in a namespace of its own) with servers on it, and nodes that are either on it themselves or
behind a router that translates addresses. sandbox.py has made room for it: names are the lab's own."""
import shlex
import subprocess

PUBLIC = "203.0.113"
CARRIER = "100.64"

# What a router does to UDP. Its input policy is drop: an unsolicited packet that were accepted would change the mapping that the
# node behind gets towards that peer.
NATS = ("none", "full-cone", "port-restricted", "symmetric", "cgnat")
# Whether a node behind it is reached by those it has not written to.
OPEN = ("none", "full-cone")


class LabError(Exception):
    """The lab could not be built."""


def nat_rules(kind):
    """The nftables rules of a router whose inside is `lan` and whose outside is `wan`."""
    flags = " fully-random" if kind == "symmetric" else ""
    cone = kind == "full-cone"
    mapped = 'iifname "wan" meta l4proto udp dnat ip to udp dport map @peers' if cone else ""
    learned = 'oifname "wan" meta l4proto udp update @peers { udp sport : ct original ip saddr . ct original proto-src }' if cone else ""
    return f"""
table ip lab {{
    map peers {{
        type inet_service : ipv4_addr . inet_service
        flags dynamic, timeout
        timeout 5m
    }}
    chain input {{
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iifname "lan" accept
        ip protocol icmp accept
    }}
    chain forward {{
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "lan" oifname "wan" accept
        {'ct status dnat accept' if cone else ''}
    }}
    chain prerouting {{
        type nat hook prerouting priority -100;
        {mapped}
    }}
    chain postrouting {{
        type nat hook postrouting priority 100;
        oifname "wan" masquerade{flags}
    }}
    chain learn {{
        type filter hook postrouting priority 200;
        {learned}
    }}
}}
"""


def sh(argv, text=None):
    argv = shlex.split(argv) if isinstance(argv, str) else argv
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


class Lab:
    """One public network and what hangs on it."""

    def __init__(self):
        self.hosts = []
        self.space("inet")
        self.ip("inet", "link add br0 type bridge", "link set br0 up", f"addr add {PUBLIC}.1/24 dev br0")

    def space(self, name):
        sh(["ip", "netns", "add", name])
        self.hosts.append(name)
        self.ip(name, "link set lo up")

    @staticmethod
    def ip(name, *commands):
        """Commands of ip(8) on that host."""
        sh(["ip", "-n", name, "-batch", "-"], "\n".join(commands) + "\n")

    @staticmethod
    def argv(name, argv):
        """The command line that runs `argv` on that host."""
        return ["ip", "netns", "exec", name, *argv]

    def run(self, name, command, text=None):
        return sh(self.argv(name, shlex.split(command)), text)

    def cable(self, a, a_dev, b, b_dev):
        sh(f"ip link add {a_dev} netns {a} type veth peer name {b_dev} netns {b}")
        self.ip(a, f"link set {a_dev} up")
        self.ip(b, f"link set {b_dev} up")

    def plug(self, name, dev, last):
        """A device of `name` on the public bridge, with that last byte of the address."""
        self.cable(name, dev, "inet", f"p{last}")
        self.ip("inet", f"link set p{last} master br0")
        self.ip(name, f"addr add {PUBLIC}.{last}/24 dev {dev}")
        return f"{PUBLIC}.{last}"

    def public_host(self, name, last):
        """A host with a public address, which is returned."""
        self.space(name)
        address = self.plug(name, "eth0", last)
        self.ip(name, f"route add default via {PUBLIC}.1")
        return address

    def router(self, name, kind):
        self.space(name)
        self.run(name, "sysctl -qw net.ipv4.ip_forward=1")
        self.run(name, "nft -f -", nat_rules(kind))

    def node(self, name, nat, number):
        """A host behind a NAT of that kind (or none); `number` 1..99 keeps addresses apart. Returns its public address: its own,
        or that of the outermost router."""
        if nat == "none":
            return self.public_host(name, 100 + number)
        router = f"{name}-home"
        self.router(router, "port-restricted" if nat == "cgnat" else nat)
        self.space(name)
        self.cable(name, "eth0", router, "lan")
        self.ip(router, f"addr add 192.168.{number}.1/24 dev lan")
        self.ip(name, f"addr add 192.168.{number}.2/24 dev eth0", f"route add default via 192.168.{number}.1")
        if nat == "cgnat":
            carrier = f"{name}-carrier"
            self.router(carrier, "port-restricted")
            self.cable(router, "wan", carrier, "lan")
            self.ip(carrier, f"addr add {CARRIER}.{number}.1/24 dev lan")
            self.ip(router, f"addr add {CARRIER}.{number}.2/24 dev wan", f"route add default via {CARRIER}.{number}.1")
            router = carrier
        outside = self.plug(router, "wan", 100 + number)
        self.ip(router, f"route add default via {PUBLIC}.1")
        return outside
