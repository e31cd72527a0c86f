"""Runs the atlas program on the hosts of a lab (or on this machine) and reads its JSON lines."""
import json
import os
import queue
import signal
import subprocess
import threading
import time


class Failed(Exception):
    """What was waited for did not come, or is not what it should be."""


def now():
    return time.monotonic()


class Process:
    """One running atlas command; its events can be waited for, each once and in order."""

    def __init__(self, argv, name):
        self.name = name
        self.events = []  # as they were taken from the queue
        self.log = []  # all of them, as they come: for see(), which several threads may call
        self.errors = []
        self.frozen = False
        self.queue = queue.Queue()
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                     errors="replace")
        self.threads = [threading.Thread(target=self.pump, args=pair, daemon=True)
                        for pair in ((self.proc.stdout, self.on_line), (self.proc.stderr, self.errors.append))]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def pump(stream, sink):
        for line in stream:
            sink(line.rstrip("\n"))

    def on_line(self, line):
        try:
            event = json.loads(line)
        except ValueError:
            self.errors.append(f"no JSON: {line}")
            return
        event["at"] = now()
        event["clock"] = time.time()
        self.log.append(event)
        self.queue.put(event)

    def take(self, seconds):
        """The next event whatever it is; None after so long, or at the end."""
        end = now() + seconds
        while True:
            try:
                event = self.queue.get(timeout=max(0.0, min(end - now(), 0.2)))
            except queue.Empty:
                alive = any(thread.is_alive() for thread in self.threads)
                if now() >= end or (not alive and self.queue.empty()):
                    return None
                continue
            self.events.append(event)
            return event

    def wait(self, event, seconds=20, **fields):
        """The next event of that name whose fields are as given."""
        end = now() + seconds
        while True:
            got = self.take(max(0.0, end - now()))
            if got is None:
                raise Failed(f"{self.name}: no event {event} {fields or ''} within {seconds} s\n{self.story()}")
            if got.get("event") == event and all(got.get(k) == v for k, v in fields.items()):
                return got

    def all(self, event):
        """Every event of that name so far; the process has ended, or what matters was waited for."""
        while not self.queue.empty():
            self.take(0)
        return [e for e in self.events if e["event"] == event]

    def see(self, wanted, seconds, text, since=0.0):
        """The first event after `since` for which wanted(event) holds. Takes nothing from those that wait()."""
        end = now() + seconds
        seen = 0
        while True:
            alive = self.threads[0].is_alive()
            while seen < len(self.log):
                event = self.log[seen]
                seen += 1
                if event["at"] >= since and wanted(event):
                    return event
            if now() > end or not alive:
                raise Failed(f"{self.name}: no {text}" + (f" within {seconds} s" if alive else " before its end"))
            time.sleep(0.005)

    def see_path(self, kind, seconds, since=0.0, peer=None):
        """The first event after `since` that tells of that path, of the connection with that peer."""
        return self.see(lambda e: path_kind(e) == kind and peer in (None, e.get("peer")), seconds, f"path {kind}", since)

    def freeze(self):
        self.frozen = True
        self.proc.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.frozen = False
        self.proc.send_signal(signal.SIGCONT)

    def finish(self, seconds=90):
        """Waits for the end and gives the exit code."""
        try:
            code = self.proc.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"{self.name} did not end within {seconds} s\n{self.story()}") from None
        for thread in self.threads:
            thread.join()
        if any("Sanitizer" in line or "runtime error:" in line for line in self.errors):
            raise Failed(f"{self.name}: found by a sanitizer\n" + "\n".join(self.errors))
        return code

    def expect(self, code, seconds=90):
        got = self.finish(seconds)
        if got != code:
            raise Failed(f"{self.name} ended with {got} instead of {code}\n{self.story()}")

    def stop(self, seconds=20):
        """SIGTERM, and a clean end with exit code 0."""
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            if self.frozen:
                self.thaw()
        self.expect(0, seconds)

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()

    def story(self):
        """What the process said last."""
        self.all("")
        shown = [json.dumps({k: v for k, v in e.items() if k not in ("at", "clock")}) for e in self.events[-10:]]
        return "\n".join(f"    {line}" for line in [f"{self.name}:", *shown, *self.errors[-30:]])


class Node:
    """An identity of the program: a directory with a key, on a host of the lab (None: this machine)."""

    def __init__(self, program, directory, lab=None, host=None, config=""):
        self.program, self.dir, self.lab, self.host = program, directory, lab, host
        self.inbox = os.path.join(directory, "inbox")
        self.started = []
        self.options = []  # for every command that opens a socket
        os.makedirs(directory)
        self.check("init")
        os.makedirs(self.inbox)
        if config:
            self.configure(config)
        self.id = self.check("id").strip()

    def configure(self, text):
        with open(os.path.join(self.dir, "state", "config.toml"), "w", encoding="utf-8") as file:
            file.write(text)

    def argv(self, command, *args):
        argv = [self.program, command, "--dir", self.dir, *args]
        return argv if self.lab is None else self.lab.argv(self.host, argv)

    def run(self, *args, seconds=60):
        """Runs a command to its end: exit code, what it printed, and its complaints."""
        done = subprocess.run(self.argv(*args), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=seconds, check=False)
        return done.returncode, done.stdout, done.stderr

    def check(self, *args, seconds=60):
        code, text, complaints = self.run(*args, seconds=seconds)
        if code != 0:
            raise Failed(f"atlas {args[0]} ended with {code}: {complaints}{text}")
        return text

    def start(self, command, *args):
        process = Process(self.argv(command, *self.options, *args, "--json"), f"{command} on {self.host or 'this host'}")
        self.started.append(process)
        return process

    def relay(self, *args):
        """Starts a relay, and waits until it serves: the process and its multiaddr."""
        process = self.start("relay", *args)
        return process, with_id(process.wait("ready")["addr"], self.id)

    def listen(self, *args):
        """Starts listening; what is received goes to the inbox."""
        return self.start("listen", "--out", self.inbox, *args)

    def stop_all(self):
        for process in self.started:
            process.kill()
        self.started = []


def path_kind(event):
    """The path that an event tells of: direct, relay, none; None of an event about something else."""
    if event["event"] not in ("connected", "path"):
        return None
    return event.get("kind") or event.get("path") or "none"


def relay_options(relays):
    return [word for relay in relays for word in ("--relay", relay.addr)]


def with_id(addr, peer):
    """A multiaddr that ends in the peer's id."""
    return addr if addr.endswith(f"/p2p/{peer}") else f"{addr}/p2p/{peer}"


def multiaddr(address):
    """ADDRESS:PORT as a direct multiaddr."""
    host, port = address.rsplit(":", 1)
    return f"/ip{6 if '[' in host else 4}/{host.strip('[]')}/udp/{port}/quic-v1"


def circuit(relay, peer):
    """The way to that peer through that relay, and no other."""
    return f"{relay}/p2p-circuit/p2p/{peer}"


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.strip()]
