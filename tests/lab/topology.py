"""Hosts and NATs out of network namespaces and nftables.

A public network (203.0.113.0/24, a bridge in a namespace of its own) with servers on it, and nodes that are either on it themselves or
behind a router that translates addresses. Everything is made by this process and removed by it; names carry its number, so that labs can
run side by side."""
import os
import shutil
import subprocess

PUBLIC = "203.0.113"
CARRIER = "100.64"

# What a router does to UDP. Its input policy is drop: an unsolicited packet that were accepted would change the mapping that the
# node behind gets towards that peer.
NATS = ("none", "full-cone", "port-restricted", "symmetric", "cgnat")


class LabError(Exception):
    """The lab could not be built."""


def have_namespaces():
    """Whether this machine lets us make namespaces and NATs; the reason when not."""
    if os.geteuid() != 0:
        return "not root"
    for tool in ("ip", "nft", "conntrack"):
        if shutil.which(tool) is None and not os.path.exists(f"/usr/sbin/{tool}"):
            return f"no {tool}"
    name = f"atl{os.getpid()}t"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return made.stderr.strip()
    rules = "table ip t {\n chain c {\n type nat hook postrouting priority 100;\n masquerade fully-random\n }\n}\n"
    nat = subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return nat.stderr.strip() if nat.returncode != 0 else ""


def nat_rules(kind):
    """The nftables rules of a router whose inside is `lan` and whose outside is `wan`."""
    flags = " fully-random" if kind == "symmetric" else ""
    cone = kind == "full-cone"
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
        {'iifname "wan" meta l4proto udp dnat ip to udp dport map @peers' if cone else ''}
    }}
    chain postrouting {{
        type nat hook postrouting priority 100;
        oifname "wan" masquerade{flags}
    }}
    chain learn {{
        type filter hook postrouting priority 200;
        {'oifname "wan" meta l4proto udp update @peers { udp sport : ct original ip saddr . ct original proto-src }' if cone else ''}
    }}
}}
"""


class Lab:
    """One public network and what hangs on it. Use it as a context manager."""

    def __init__(self):
        self.prefix = f"atl{os.getpid()}"
        self.spaces = []
        self.links = 0

    def __enter__(self):
        self.inet = self.space("inet")
        self.run("inet", "ip link add br0 type bridge")
        self.run("inet", "ip link set br0 up")
        self.run("inet", f"ip addr add {PUBLIC}.1/24 dev br0")
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        for name in reversed(self.spaces):
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout.split()
            if pids:
                subprocess.run(["kill", "-9", *pids], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        self.spaces = []

    def full(self, name):
        return f"{self.prefix}{name}"

    def space(self, name):
        self.sh(f"ip netns add {self.full(name)}")
        self.spaces.append(self.full(name))
        self.run(name, "ip link set lo up")
        return name

    @staticmethod
    def sh(command, text=None):
        done = subprocess.run(command.split(), input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"{command}: {done.stderr.strip()}")
        return done.stdout

    def run(self, name, command, text=None):
        return self.sh(f"ip netns exec {self.full(name)} {command}", text)

    def argv(self, name, argv):
        """The command line that runs `argv` on that host."""
        return ["ip", "netns", "exec", self.full(name), *argv]

    def cable(self, a, a_dev, b, b_dev):
        self.links += 1
        x, y = f"v{os.getpid() % 100000}a{self.links}", f"v{os.getpid() % 100000}b{self.links}"
        self.sh(f"ip link add {x} type veth peer name {y}")
        for end, host, dev in ((x, a, a_dev), (y, b, b_dev)):
            self.sh(f"ip link set {end} netns {self.full(host)}")
            self.run(host, f"ip link set {end} name {dev}")
            self.run(host, f"ip link set {dev} up")

    def plug(self, name, dev, address, port):
        """A device of `name` on the public bridge."""
        self.cable(name, dev, "inet", f"p{port}")
        self.run("inet", f"ip link set p{port} master br0")
        self.run(name, f"ip addr add {address}/24 dev {dev}")

    def public_host(self, name, last):
        """A host with a public address."""
        self.space(name)
        self.plug(name, "eth0", f"{PUBLIC}.{last}", last)
        self.run(name, f"ip route add default via {PUBLIC}.1")
        return f"{PUBLIC}.{last}"

    def router(self, name, kind):
        self.space(name)
        self.run(name, "sysctl -qw net.ipv4.ip_forward=1")
        self.run(name, "nft -f -", nat_rules(kind))

    def node(self, name, nat, number):
        """A node behind a NAT of that kind (or none); `number` 1..9 keeps addresses apart. Returns its own address."""
        if nat == "none":
            return self.public_host(name, 50 + number)
        router = f"r{name}"
        self.router(router, "port-restricted" if nat == "cgnat" else nat)
        self.space(name)
        self.cable(name, "eth0", router, "lan")
        self.run(router, f"ip addr add 192.168.{number}.1/24 dev lan")
        self.run(name, f"ip addr add 192.168.{number}.2/24 dev eth0")
        self.run(name, f"ip route add default via 192.168.{number}.1")
        if nat == "cgnat":
            carrier = f"c{name}"
            self.router(carrier, "port-restricted")
            self.cable(router, "wan", carrier, "lan")
            self.run(carrier, f"ip addr add {CARRIER}.{number}.1/24 dev lan")
            self.run(router, f"ip addr add {CARRIER}.{number}.2/24 dev wan")
            self.run(router, f"ip route add default via {CARRIER}.{number}.1")
            router = carrier
        self.plug(router, "wan", f"{PUBLIC}.{20 + number}", 20 + number)
        return f"192.168.{number}.2"
