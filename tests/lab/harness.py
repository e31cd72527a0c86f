"""What the tests of the lab share: a place to run in, checks, files, and an end that leaves nothing behind."""
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback

import nodes
import sandbox
import topology

SKIPPED = 77
RELAY_PORT = "4001"


def check(condition, text):
    if not condition:
        raise nodes.Failed(text)


def say(text):
    print(text, flush=True)


def make_file(path, size):
    """A file of random bytes; returns its hash."""
    data = os.urandom(size)
    with open(path, "wb") as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def hash_of(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class World:
    """A lab with relays, and nodes on its hosts."""

    def __init__(self, program, work=sandbox.WORK, rate=""):
        self.program, self.work = program, work
        self.lab = topology.Lab(rate)
        self.nodes = []
        self.samples = {}
        self.lock = threading.Lock()  # several scenarios may run at once

    def sample(self, size):
        """A file of random bytes, the same each time: its path and its hash."""
        with self.lock:
            if size not in self.samples:
                path = os.path.join(self.work, f"sample-{size}")
                self.samples[size] = path, make_file(path, size)
            return self.samples[size]

    def node(self, host, config=""):
        """An identity on a host that exists."""
        node = nodes.Node(self.program, os.path.join(self.work, f"{host}-{len(self.nodes)}"), self.lab, host, config)
        self.nodes.append(node)
        return node

    def behind(self, name, nat, number, config=""):
        """A new host behind such a NAT, and an identity on it; .outside is its public address."""
        outside = self.lab.node(name, nat, number)
        node = self.node(name, config)
        node.outside, node.nat = outside, nat
        return node

    def start_relay(self, config="", name="relay", last=2, *options):
        """A new public host with a relay that runs; .addr is its multiaddr, .process what runs."""
        address = self.lab.public_host(name, last)
        node = self.node(name, config)
        node.address = address
        node.process, node.addr = node.relay("--port", RELAY_PORT, "-4", *options)
        return node

    def stop(self):
        """A clean end of everything; what ends badly is a failure."""
        for node in self.nodes:
            for process in node.started:
                if process.proc.poll() is None:
                    process.stop()

    def kill(self):
        for node in self.nodes:
            node.stop_all()


class Capture:
    """tcpdump on a device of a host, from when the object is made until stop()."""

    def __init__(self, lab, host, device, path, what="udp"):
        self.path = path
        argv = ["tcpdump", "-i", device, "-n", "-U", "-s", "0", "--immediate-mode", "-B", "65536", "-w", path, *what.split()]
        if os.geteuid() == 0:
            argv[1:1] = ["-Z", "root"]  # it would become somebody who may not write there
        self.proc = subprocess.Popen(lab.argv(host, argv), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        line = self.proc.stderr.readline()
        while line and "listening on" not in line:
            line = self.proc.stderr.readline()
        check(line, f"tcpdump does not start on {host}")

    def stop(self):
        """The bytes of the capture, and how many packets it has: all that there were."""
        size = -1
        while size != os.path.getsize(self.path):
            size = os.path.getsize(self.path)
            time.sleep(0.2)
        self.proc.send_signal(signal.SIGINT)
        report = self.proc.communicate(timeout=30)[1]
        with open(self.path, "rb") as file:
            data = file.read()
        counts = {what: int(n) for n, what in re.findall(r"(\d+) packets? (captured|received|dropped)", report)}
        check(counts.get("dropped") == 0 and counts.get("captured") == counts.get("received"), f"tcpdump lost packets: {report}")
        return data, counts["captured"]


def send(sender, target, *args, code=0, seconds=90):
    """atlas send; the process, which has ended with that code."""
    process = sender.start("send", target, *args)
    process.expect(code, seconds)
    return process


def verify(receiver, name, digest):
    """The file is in the inbox, whole."""
    path = os.path.join(receiver.inbox, name)
    check(os.path.exists(path), f"{name} is not in the inbox of {receiver.host}: {os.listdir(receiver.inbox)}")
    check(hash_of(path) == digest, f"{name} arrived on {receiver.host} with another hash")


def stop_here(number, frame):
    raise KeyboardInterrupt


def main(body, rate=""):
    """Runs body(world) inside a lab with such lines. The program is the first argument. Exits with 0, 1, or 77 when this machine has
    no lab."""
    if len(sys.argv) != 2 or not os.access(sys.argv[1], os.X_OK):
        sys.exit(f"usage: {sys.argv[0]} ATLAS_PROGRAM")
    reason = sandbox.enter()
    if reason:
        say(f"cannot run here: {reason}")
        sys.exit(1 if os.environ.get("ATLAS_REQUIRE_ALL") == "1" else SKIPPED)
    signal.signal(signal.SIGTERM, stop_here)
    world = World(os.path.abspath(sys.argv[1]), rate=rate)
    code = 1
    try:
        body(world)
        world.stop()
        code = 0
    except (nodes.Failed, topology.LabError) as failure:
        say(f"FAILED: {failure}")
        for node in world.nodes:
            for process in node.started[-4:]:
                say(process.story())
    except KeyboardInterrupt:
        say("interrupted")
    except Exception:
        traceback.print_exc()
    finally:
        world.kill()
    if code == 0:
        say("passed")
    sys.exit(code)
