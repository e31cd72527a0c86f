"""Runs the atlas program on the hosts of a lab (or on this machine) and reads its JSON lines."""
import json
import os
import queue
import signal
import subprocess
import threading
import time


class Failed(Exception):
    """What was waited for did not come."""


class Process:
    """One running atlas command; its events can be waited for."""

    def __init__(self, argv, name):
        self.name = name
        self.events = []
        self.errors = []
        self.queue = queue.Queue()
        self.proc = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
        for stream, sink in ((self.proc.stdout, self.on_line), (self.proc.stderr, self.errors.append)):
            threading.Thread(target=self.pump, args=(stream, sink), daemon=True).start()

    @staticmethod
    def pump(stream, sink):
        for line in stream:
            sink(line.rstrip("\n"))

    def on_line(self, line):
        self.queue.put(json.loads(line))

    def wait(self, event, seconds=15, **fields):
        """The next event of that name whose fields are as given."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise Failed(f"{self.name}: no event {event} {fields} within {seconds} s; had {self.events[-8:]}; {self.errors[-5:]}")
            try:
                got = self.queue.get(timeout=min(left, 0.5))
            except queue.Empty:
                if self.proc.poll() is not None and self.queue.empty():
                    raise Failed(f"{self.name} ended with {self.proc.returncode} while waiting for {event} {fields}; "
                                 f"had {self.events[-8:]}; {self.errors[-5:]}") from None
                continue
            self.events.append(got)
            if got.get("event") == event and all(got.get(k) == v for k, v in fields.items()):
                return got

    def finish(self, seconds=60):
        """Waits for the end and gives the exit code."""
        try:
            return self.proc.wait(seconds)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            raise Failed(f"{self.name} did not end within {seconds} s; had {self.events[-8:]}; {self.errors[-5:]}") from None

    def stop(self, seconds=15):
        """SIGTERM and a clean end."""
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
        return self.finish(seconds)

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()


class Node:
    """An identity of the program: a directory with a key, on a host of the lab (None: this machine)."""

    def __init__(self, lab, host, program, directory):
        self.lab, self.host, self.program, self.dir = lab, host, program, directory
        os.makedirs(directory, exist_ok=True)
        self.started = []
        self.run("init")
        self.id = self.run("id")[1].strip().split()[-1]

    def argv(self, *args):
        command = [self.program, args[0], "--dir", self.dir, *args[1:]]
        return command if self.lab is None or self.host is None else self.lab.argv(self.host, command)

    def run(self, *args, seconds=60):
        """Runs a command to its end: exit code, what it printed, and its complaints."""
        done = subprocess.run(self.argv(*args), capture_output=True, text=True, errors="replace", timeout=seconds, check=False)
        return done.returncode, done.stdout, done.stderr

    def start(self, *args):
        process = Process(self.argv(*args, "--json"), f"{args[0]} on {self.host or 'this host'}")
        self.started.append(process)
        return process

    def stop_all(self):
        for process in self.started:
            process.kill()
        self.started = []


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.strip()]
