"""A file on its way while the network changes under it: how long nothing arrived, over which paths it went, and whether all of it came."""
import os
import threading
import time

from harness import check, hash_of
from nodes import Failed, now, path_kind, relay_options

MIB = 1024 * 1024
EVERY = 0.004  # seconds between two looks at the receiver's file
SECONDS = 120  # that a transfer may take


class Transfer:
    """atlas send --file under way. What has arrived is read from the size of the receiver's temporary file."""

    def __init__(self, world, sender, receiver, size, relays, *options):
        self.world, self.sender, self.receiver, self.size = world, sender, receiver, size
        self.sample, self.digest = world.sample(size)
        self.grown = []  # (when, how much there was): each look that found more
        self.ended = threading.Event()
        for name in os.listdir(receiver.inbox):
            os.unlink(os.path.join(receiver.inbox, name))
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()
        self.run = sender.start("send", receiver.id, "--file", self.sample, *relay_options(relays), *options)
        self.connected = self.run.see(lambda e: e["event"] == "connected", 20, "connection")

    def look(self):
        """The thread that watches."""
        path = None
        last = 0
        while not self.ended.wait(EVERY):
            try:
                if path is None:
                    parts = [name for name in os.listdir(self.receiver.inbox) if name.endswith(".part")]
                    path = os.path.join(self.receiver.inbox, parts[0]) if parts else None
                    continue
                size = os.stat(path).st_size
            except FileNotFoundError:  # it has its name
                size = self.size
            if size != last:
                last = size
                self.grown.append((now(), size))

    def arrived(self):
        return self.grown[-1][1] if self.grown else 0

    def wait_share(self, share, seconds=60):
        """Until this part of the file is there."""
        end = now() + seconds
        while self.arrived() < share * self.size:
            if now() > end or self.run.proc.poll() is not None:
                raise Failed(f"{self.arrived()} of {self.size} bytes arrived\n{self.run.story()}")
            time.sleep(EVERY)
        check(self.arrived() < self.size, "the transfer is over too soon")

    def wait_path(self, kind, seconds, since=0.0):
        """Both ends tell of that path; seconds from `since` (or from the connection) to the later of them."""
        mine = self.run.see_path(kind, seconds, since)
        theirs = self.receiver.process.see_path(kind, seconds, since or self.connected["at"] - 1, self.sender.id)
        return max(mine["at"], theirs["at"]) - (since or self.connected["at"])

    def stall(self, since, until=None):
        """The longest time without progress that reached into what came after `since`."""
        longest = 0.0
        grown = list(self.grown)
        for (before, _), (after, _) in zip(grown, grown[1:]):
            if after > since and (until is None or before < until):
                longest = max(longest, after - max(before, since))
        if grown and grown[-1][1] < self.size:
            longest = max(longest, now() - max(grown[-1][0], since))
        return longest

    def finish(self, seconds=SECONDS):
        """All of it is there, as it was sent; what the sender says about it."""
        try:
            self.run.expect(0, seconds)
        finally:
            self.ended.set()
            self.thread.join()
        path = os.path.join(self.receiver.inbox, os.path.basename(self.sample))
        check(os.path.exists(path), f"the file is not in the inbox of {self.receiver.host}: {os.listdir(self.receiver.inbox)}")
        check(os.path.getsize(path) == self.size and hash_of(path) == self.digest,
              f"the file arrived on {self.receiver.host} with another hash")
        os.unlink(path)
        (sent,) = self.run.all("sent")
        check(sent["bytes"] == self.size, f"{sent['bytes']} bytes sent")
        return sent

    def paths(self):
        """The changes that the sender told, in one line."""
        changes = [(e, path_kind(e)) for e in self.run.log if e["event"] == "path"]
        return ", ".join(f"{e['at'] - self.connected['at']:.2f} s {kind} ({e.get('reason') or e.get('text')})" for e, kind in changes)


class Pair:
    """A node that listens and one that sends to it, each behind a NAT of its own, with these relays in common."""

    def __init__(self, world, tag, nats, number, relays, config=""):
        self.world, self.relays = world, relays
        self.sender = world.behind(f"s{tag}", nats[0], number, config)
        self.receiver = world.behind(f"r{tag}", nats[1], number + 1, config)
        for node in (self.sender, self.receiver):
            node.options = ["-4"]
        self.receiver.process = self.receiver.listen(*relay_options(relays))
        for relay in relays:
            self.receiver.process.see(lambda e, relay=relay: e["event"] == "announced" and e["relay"] == relay.id, 20,
                                      f"presence on {relay.host}")

    def transfer(self, size, *options):
        return Transfer(self.world, self.sender, self.receiver, size, self.relays, *options)

    def reach(self, caller, text, relays=None, seconds=5):
        """A message from somebody else by id; how long it took from the start of that program to the arrival."""
        since = now()
        run = caller.start("send", self.receiver.id, text, "--timeout", str(seconds), *relay_options(relays or self.relays))
        run.expect(0, seconds + 5)
        caller.started.remove(run)
        arrived = self.receiver.process.see(lambda e: e["event"] == "message" and e["text"] == text, 5, f"message {text}", since)
        return arrived["at"] - since
