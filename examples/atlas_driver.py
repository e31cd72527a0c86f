"""What tests of the atlas program share: running it, and reading the events that it prints."""
import hashlib
import json
import pathlib
import queue
import resource
import signal
import subprocess
import sys
import threading
import time

ATLAS, HOSTILE = (sys.argv[1:] + [None])[:2]
ID_OTHER = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
EVENTS = {"ready", "stun", "announced", "connected", "path", "upgrade", "message", "file", "pong", "sent",
          "closed", "error", "record", "reach", "autorelay", "advertise", "bootstrap"}
CANDIDATES = {"host", "server-reflexive", "peer-reflexive", "relay", "unknown"}
PATIENCE = 20  # seconds, for machines with a lot to do

checks = [0]


def check(condition, what):
    checks[0] += 1
    if not condition:
        raise AssertionError(what)


def run(*args, code=0, program=ATLAS, env=None):
    done = subprocess.run([program, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=PATIENCE * 2, check=False, env=env)
    out = done.stdout.decode("utf-8")
    err = done.stderr.decode("utf-8")
    check(done.returncode == code, f"atlas {' '.join(args)}: exit {done.returncode}, not {code}\n{out}{err}")
    return out, err


def run_json(*args, code=0):
    out, _ = run(*args, "--json", code=code)
    events = [json.loads(line) for line in out.splitlines()]
    check(all(e["event"] in EVENTS and e.get("path") in (None, "direct", "relay") for e in events), events)
    return events


def one(events, name):
    found = [e for e in events if e["event"] == name]
    check(len(found) == 1, f"expected one {name}: {events}")
    return found[0]


class Running:
    """A command that goes on, and the events that it prints."""

    all = []

    def __init__(self, *args, limit=None):
        self.args = args
        self.seen = []
        self.lines = queue.Queue()
        self.process = subprocess.Popen([ATLAS, *args, "--json"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if limit is not None:
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        self.errors = []
        Running.all.append(self)
        threading.Thread(target=self._read, daemon=True).start()
        self.error_thread = threading.Thread(
            target=lambda: self.errors.extend(self.process.stderr.readlines()), daemon=True)
        self.error_thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def wait(self, name, **fields):
        """The next event of this name with these fields."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"atlas {' '.join(self.args)}: no {name} {fields}; "
                                     f"seen {self.seen[-20:]}, {self.errors[-20:]}")
            event = json.loads(line)
            self.seen.append(event)
            check(event.get("path") in (None, "direct", "relay"), event)
            if event["event"] == name and all(event.get(k) == v for k, v in fields.items()):
                return event

    def peek(self):
        """The name of the next event, which stays the next one."""
        line = self.lines.get(timeout=PATIENCE)
        self.lines.queue.appendleft(line)
        return json.loads(line)["event"]

    def stop(self, number=signal.SIGTERM, code=0):
        self.process.send_signal(number)
        got = self.process.wait(PATIENCE)
        self.error_thread.join(PATIENCE)
        check(got == code, f"atlas {' '.join(self.args)}: exit {got} after signal {number}; {self.errors}")


def check_path(event, kind):
    """The event "path" has all of a path."""
    check(event["kind"] == kind and event["candidate"] in CANDIDATES and event["reason"] and event["mtu"] >= 1200, event)
    # a path that has just been moved to has no measurement yet, and no "rtt_ms"
    check(event.get("rtt_ms", 1) > 0 and event["remote"].startswith("127.0.0.1:"), event)
    check(("relay" in event) == (kind == "relay") and (event["candidate"] != "relay" or kind == "relay"), event)


def sha(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def write(path, text):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_text(text, encoding="utf-8")
    return str(path)


def make(tmp, name):
    directory = str(tmp / name)
    return {"dir": directory, "id": run("init", "--dir", directory)[0].strip()}
