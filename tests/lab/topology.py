"""Hosts and NATs out of network namespaces and nftables.

A public network (203.0.113.0/24, a bridge in a namespace of its own; servers may be in other networks of it) with servers on it, and nodes that are either on it themselves or
behind a router that translates addresses. sandbox.py has made room for it: names are the lab's own.

Routers can be made to forget, to take another address, and to lose packets; nodes can move to another router."""
import shlex
import subprocess

PUBLIC = "203.0.113"
# Other networks of the same public bridge, with a router between them, for servers that are to be independent of one another.
ELSEWHERE = ("198.51.100", "192.0.2", "198.18.1", "198.18.2", "198.18.3", "198.18.4")
CARRIER = "100.64"

# What a router does to UDP. Its input policy is drop: an unsolicited packet that were accepted would change the mapping that the
# node behind gets towards that peer.
NATS = ("none", "full-cone", "address-restricted", "port-restricted", "symmetric", "cgnat")
# Whether a node behind it is reached by those it has not written to.
OPEN = ("none", "full-cone")
# Lets UDP through only to the addresses that Lab.allow() names; not in NATS, since hardly anything works behind it.
BLOCKED = "blocked"
# Kinds whose mapping depends on the destination, and those that let packets in only from the very port they were sent to.
SYMMETRIC = ("symmetric",)
PORT_FILTERING = ("port-restricted", "symmetric", "cgnat")


class LabError(Exception):
    """The lab could not be built."""


def punchable(a, b):
    """Whether two nodes behind such NATs can become connected directly, without guessing ports."""
    if BLOCKED in (a, b):
        return False
    return not (a in SYMMETRIC and b in PORT_FILTERING or b in SYMMETRIC and a in PORT_FILTERING)


# The key of the map that an open NAT learns, as (its type, of a packet that leaves, of one that comes): the mapped port alone lets
# everybody in, with the remote address only those that were written to, from whichever port.
LEARNED = {
    "full-cone": ("inet_service", "udp sport", "udp dport"),
    "address-restricted": ("ipv4_addr . inet_service", "ip daddr . udp sport", "ip saddr . udp dport"),
}


def nat_rules(kind):
    """The nftables rules of a router whose inside is `lan` and whose outside is `wan`."""
    flags = " fully-random" if kind == "symmetric" else ""
    key, leaves, comes = LEARNED.get(kind, ("inet_service", "", ""))
    mapped = f'iifname "wan" meta l4proto udp dnat ip to {comes} map @peers' if leaves else ""
    learned = (f'oifname "wan" meta l4proto udp update @peers {{ {leaves} : ct original ip saddr . ct original proto-src }}'
               if leaves else "")
    return f"""
table ip lab {{
    map peers {{
        type {key} : ipv4_addr . inet_service
        flags dynamic, timeout
        timeout 5m
    }}
    set allowed {{
        type ipv4_addr
    }}
    chain input {{
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iifname "lan" accept
        ip protocol icmp accept
    }}
    chain forward {{
        type filter hook forward priority 0; policy drop;
        {'iifname "lan" meta l4proto udp ip daddr != @allowed drop' if kind == BLOCKED else ''}
        ct state established,related accept
        iifname "lan" oifname "wan" accept
        {'ct status dnat accept' if leaves else ''}
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


class Access:
    """How a host reaches the public network at present."""

    def __init__(self, nat, number, device, routers):
        self.nat, self.number, self.device = nat, number, device
        self.routers = routers  # the home router first, the one with the public address last; none on the public network itself
        self.outside = f"{PUBLIC}.{100 + number}"


class Lab:
    """One public network and what hangs on it. `rate` (tc's words, such as "160mbit"): how fast nodes, or their routers, are sent to."""

    def __init__(self, rate=""):
        self.rate = rate
        self.hosts = []
        self.access = {}
        self.rebound = 0
        self.networks = {PUBLIC}
        self.space("inet")
        # an address of its own: it would take the lowest of its ports', and those who know the former one lose their router
        self.ip("inet", "link add br0 address 02:00:00:00:00:01 type bridge", "link set br0 up", f"addr add {PUBLIC}.1/24 dev br0")

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

    def open_network(self, network):
        """Makes that network of the public bridge, if it is not there."""
        if network not in self.networks:
            self.networks.add(network)
            self.run("inet", "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.br0.send_redirects=0")
            self.ip("inet", f"addr add {network}.1/24 dev br0")

    def plug(self, name, dev, last, rate="", network=PUBLIC):
        """A device of `name` on the public bridge, with that last byte of the address."""
        port = f"p{last}" if network == PUBLIC else f"p{network.replace('.', '')}{last}"
        self.cable(name, dev, "inet", port)
        self.ip("inet", f"link set {port} master br0")
        if rate:
            sh(f"tc -n inet qdisc add dev {port} root tbf rate {rate} burst 64k latency 20ms")
        self.ip(name, f"addr add {network}.{last}/24 dev {dev}")
        return f"{network}.{last}"

    def public_host(self, name, last, rate="", network=PUBLIC):
        """A host with a public address, which is returned."""
        self.open_network(network)
        self.space(name)
        address = self.plug(name, "eth0", last, rate, network)
        self.ip(name, f"route add default via {network}.1")
        return address

    def router(self, name, kind):
        self.space(name)
        self.run(name, "sysctl -qw net.ipv4.ip_forward=1")
        self.run(name, "nft -f -", nat_rules(kind))

    def node(self, name, nat, number):
        """A host behind a NAT of that kind (or none); `number` 1..99 keeps addresses apart. Returns its public address: its own,
        or that of the outermost router."""
        if nat == "none":
            outside = self.public_host(name, 100 + number, self.rate)
            self.access[name] = Access(nat, number, "eth0", [])
            return outside
        self.space(name)
        access = self.attach(name, nat, number, "eth0", name)
        self.ip(name, *self.settle(access))
        self.access[name] = access
        return access.outside

    def attach(self, name, nat, number, device, prefix):
        """A cable from that host to new routers of that kind, which are on the public network. The host has no address yet."""
        router = f"{prefix}-home"
        self.router(router, "port-restricted" if nat == "cgnat" else nat)
        self.cable(name, device, router, "lan")
        self.ip(router, f"addr add 192.168.{number}.1/24 dev lan")
        routers = [router]
        if nat == "cgnat":
            carrier = f"{prefix}-carrier"
            self.router(carrier, "port-restricted")
            self.cable(router, "wan", carrier, "lan")
            self.ip(carrier, f"addr add {CARRIER}.{number}.1/24 dev lan")
            self.ip(router, f"addr add {CARRIER}.{number}.2/24 dev wan", f"route add default via {CARRIER}.{number}.1")
            routers.append(carrier)
        self.plug(routers[-1], "wan", 100 + number, self.rate)
        self.ip(routers[-1], f"route add default via {PUBLIC}.1")
        return Access(nat, number, device, routers)

    @staticmethod
    def settle(access):
        """What ip(8) is told on the host, to use it."""
        return (f"addr add 192.168.{access.number}.2/24 dev {access.device}", f"route add default via 192.168.{access.number}.1")

    # ---- faults ----

    def edge(self, name):
        """Where the public address of that host is: its outermost router, or the host itself."""
        access = self.access.get(name)
        return access.routers[-1] if access and access.routers else name

    def outside(self, name):
        """The public address of that host at present."""
        return self.access[name].outside

    def allow(self, name, *addresses):
        """The router of a host, of kind blocked, lets UDP through to these."""
        self.run(self.access[name].routers[0], "nft -f -", f"add element ip lab allowed {{ {', '.join(addresses)} }}")

    def flush(self, name):
        """The routers of that host forget all that they know of connections. Where a port is free they will take the same again."""
        for router in self.access[name].routers:
            self.run(router, "conntrack -F")

    def set_filter(self, name, on):
        """The router of a host, of an open kind, lets in nothing any more that nobody has asked for; or does so again."""
        if on:
            self.run(self.edge(name), "nft -f -", """
table ip closed {
    chain strangers {
        type filter hook prerouting priority -150;
        iifname "wan" meta l4proto udp ct state new drop
    }
}
""")
        else:
            self.run(self.edge(name), "nft delete table ip closed")

    def rebind(self, name):
        """The same, and every mapping gets another port than before."""
        self.rebound += 1
        first = 20000 + 1000 * (self.rebound % 40)
        edge = self.edge(name)
        kind = self.access[name].nat
        flags = " fully-random" if kind == "symmetric" else ""
        self.run(edge, "nft -f -", f"""flush chain ip lab postrouting
add rule ip lab postrouting oifname "wan" meta l4proto udp masquerade to :{first}-{first + 999}{flags}
add rule ip lab postrouting oifname "wan" masquerade
""")
        self.run(edge, "conntrack -F")

    def readdress(self, name, number):
        """Another public address, that of `number`; mappings of the old one are gone. Returns it."""
        access = self.access[name]
        edge = self.edge(name)
        device = "wan" if access.routers else access.device
        old, new = access.outside, f"{PUBLIC}.{100 + number}"
        self.ip(edge, f"addr del {old}/24 dev {device}", f"addr add {new}/24 dev {device}", f"route add default via {PUBLIC}.1")
        if access.routers:
            self.run(edge, "conntrack -F")
        access.outside = new
        return new

    def prepare(self, name, nat, number):
        """A second network for that host, behind a new router, not in use yet: for move()."""
        device = f"eth{number}"
        access = self.attach(name, nat, number, device, f"{name}-{number}")
        self.ip(name, f"link set {device} down")
        return access

    def move(self, name, access):
        """From Wi-Fi to cellular: the old device is gone, the new one has another address and another router."""
        old = self.access[name]
        self.ip(name, f"link del {old.device}", f"link set {access.device} up", *self.settle(access))
        self.access[name] = access

    def cut(self, a, b):
        """Nothing passes any more between the public addresses of these two, without a word."""
        for here, there in ((a, b), (b, a)):
            self.run(self.edge(here), "nft -f -", f"""
table ip cut {{
    chain lost {{
        type filter hook prerouting priority -400;
    }}
}}
add rule ip cut lost ip saddr {self.address(there)} drop
""")

    def mend(self, *names):
        for name in names:
            self.run(self.edge(name), "nft delete table ip cut")

    def address(self, name):
        """The public address of a node or of a public host."""
        if name in self.access:
            return self.outside(name)
        return sh(["ip", "-n", name, "-o", "-4", "addr", "show", "dev", "eth0"]).split()[3].split("/")[0]
