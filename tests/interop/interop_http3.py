#!/usr/bin/env python3
"""interop_http3.py SERVER CACHE: the registry and the relay's reports, read and written by an independent HTTP/3 client (aioquic),
with records that are made by hand, and metrics that Prometheus' own parser reads. SERVER is registry_server; below CACHE the client
is installed once, with pinned hashes. Exits with 77 (skipped) where it cannot be had."""
import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import ssl
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
SKIP = 77


def install(cache):
    """A virtual environment with the client in it: its interpreter. None when that fails."""
    # Debian's own interpreter sees Debian's Prometheus client
    python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
    version = subprocess.run([python, "--version"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + version).hexdigest()[:16]
    where = pathlib.Path(cache) / f"interop-{digest}"
    stamp = where / "complete"
    pathlib.Path(cache).mkdir(parents=True, exist_ok=True)
    with open(pathlib.Path(cache) / "interop.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            steps = [[python, "-m", "venv", "--clear", "--system-site-packages", str(where)],
                     [str(where / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                      "--no-input", "--require-hashes", "--only-binary", ":all:", "-r", str(REQUIREMENTS)]]
            for step in steps:
                done = subprocess.run(step, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    print(f"{' '.join(step)}:\n{done.stdout}{done.stderr}")
                    return None
            stamp.touch()
    return str(where / "bin" / "python")


def main_outside(server, cache):
    """Goes on in the virtual environment."""
    python = install(cache)
    if python is None:
        print("skipped: the HTTP/3 client cannot be installed here")
        return SKIP
    if subprocess.run([python, "-c", "import prometheus_client.parser"], capture_output=True, check=False).returncode != 0:
        print("skipped: there is no prometheus_client (scripts/install-packages)")
        return SKIP
    return subprocess.run([python, __file__, "--inside", server], check=False, timeout=100).returncode


# ---- from here on in the virtual environment ----


class Answer:
    """What came back."""

    def __init__(self, headers, body):
        self.headers = {name.decode(): value.decode() for name, value in headers}
        self.status = int(self.headers[":status"])
        self.body = body

    def json(self):
        """The body as JSON."""
        check(self.headers["content-type"] == "application/json", "content-type", self.headers)
        return json.loads(self.body)


def check(condition, what, got=None):
    """Ends the test."""
    if not condition:
        raise AssertionError(f"{what}: {got!r}")


def make_client():
    """The protocol class; aioquic is importable only here."""
    # pylint: disable=import-outside-toplevel,import-error
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.h3.connection import H3Connection
    from aioquic.h3.events import DataReceived, HeadersReceived

    class Http(H3Connection):
        """Takes the length that an answer to HEAD tells for what it is (RFC 9114 section 4.1.2), as aioquic does not."""

        def __init__(self, quic):
            super().__init__(quic)
            self.heads = set()

        def _check_content_length(self, stream):
            if stream.stream_id not in self.heads:
                super()._check_content_length(stream)

    class Client(QuicConnectionProtocol):
        """Requests over one connection."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.http = Http(self._quic)
            self.waiting = {}

        def quic_event_received(self, event):
            """Events of all streams."""
            for part in self.http.handle_event(event):
                if isinstance(part, (HeadersReceived, DataReceived)) and part.stream_id in self.waiting:
                    future, headers, body = self.waiting[part.stream_id]
                    if isinstance(part, HeadersReceived):
                        headers += part.headers
                    else:
                        body += part.data
                    if part.stream_ended:
                        del self.waiting[part.stream_id]
                        future.set_result(Answer(headers, bytes(body)))

        async def ask(self, method, path, body=None, pieces=1):
            """A request; its body may come in pieces."""
            stream = self._quic.get_next_available_stream_id()
            future = asyncio.get_running_loop().create_future()
            self.waiting[stream] = (future, [], bytearray())
            if method == "HEAD":
                self.http.heads.add(stream)
            self.http.send_headers(stream, [(b":method", method.encode()), (b":scheme", b"https"), (b":authority", b"localhost"),
                                            (b":path", path.encode()), (b"user-agent", b"aioquic")], end_stream=body is None)
            if body is not None:
                size = max(1, -(-len(body) // pieces))
                for at in range(0, max(len(body), 1), size):
                    self.http.send_data(stream, body[at:at + size], end_stream=at + size >= len(body))
                    self.transmit()
                    if pieces > 1:
                        await asyncio.sleep(0.002)
            self.transmit()
            return await asyncio.wait_for(future, 10)

    return Client


def varint(data, at):
    """RFC 9000 section 16: the number, and where it ends."""
    size = 1 << (data[at] >> 6)
    value = int.from_bytes(data[at:at + size], "big") & ((1 << (8 * size - 2)) - 1)
    return value, at + size


def read_page(body):
    """Cursor and records of a page."""
    cursor, at = varint(body, 0)
    records = []
    while at < len(body):
        size, at = varint(body, at)
        check(at + size <= len(body), "a record is cut")
        records.append(body[at:at + size])
        at += size
    return cursor, records


class Scenario:
    """The tests, in this order on one connection."""

    BASE = "/.well-known/atlas/records"

    def __init__(self, client, node, records):
        self.client = client
        self.node = node
        self.records = records  # what makes others' records
        self.now = int(time.time())

    def path(self, node):
        """Of a node's record."""
        return f"{self.BASE}/{node.id}"

    async def put_and_get(self):
        """A record goes in and comes out."""
        ask = self.client.ask
        path = self.path(self.node)
        record = self.node.record(7, self.now, [self.records.quic_address("192.0.2.1", 4001)], offers=1)
        got = await ask("GET", path)
        check(got.status == 404 and got.json()["error"] == "not found", "before", got.body)
        got = await ask("PUT", path, record)
        check(got.status == 200 and got.json() == {"ttl": 3600}, "put", got.body)
        got = await ask("PUT", path, record, pieces=20)
        check(got.status == 200, "put in pieces", got.body)
        got = await ask("GET", path)
        check(got.status == 200 and got.body == record, "get", got.status)
        check(got.headers["content-type"] == "application/libp2p-peer-record", "content-type", got.headers)
        age = re.fullmatch(r"max-age=(\d+)", got.headers["cache-control"])
        check(age and 3590 <= int(age.group(1)) <= 3600, "cache-control", got.headers)
        got = await ask("HEAD", path)
        check(got.status == 200 and got.body == b"" and got.headers["content-length"] == str(len(record)), "head", got.headers)

    async def refusals(self):
        """Each status that a client without certificate can meet."""
        other = self.records.Node(b"\x02" * 32)
        good = other.record(5, self.now)
        forged = good[:-1] + bytes([good[-1] ^ 1])
        rows = [
            ("PUT", self.path(self.node), self.node.record(6, self.now), 409, "old"),
            ("PUT", self.path(other), forged, 400, "signature"),
            ("PUT", self.path(other), b"", 400, "malformed"),
            ("PUT", self.path(self.node), good, 400, "malformed"),
            ("PUT", self.path(other), other.record(5, self.now, tag=b"\x03\x02"), 400, "malformed"),
            ("PUT", self.path(other), other.record(5, self.now - 4000), 400, "expired"),
            ("PUT", self.path(other), other.record(5, self.now + 1000), 400, "future"),
            ("PUT", self.path(other), bytes(2049), 413, "too large"),
            ("PUT", self.path(other), bytes(100000), 413, "too large"),
            ("PUT", self.BASE + "/nobody", good, 400, "malformed"),
            ("DELETE", self.path(self.node), None, 401, "identity"),
            ("POST", self.path(self.node), b"x", 405, "method"),
            ("GET", self.BASE, None, 400, "malformed"),
            ("GET", self.BASE + "?offer=relay&limit=101", None, 400, "malformed"),
            ("GET", self.path(other), None, 404, "not found"),
        ]
        for method, path, body, status, name in rows:
            got = await self.client.ask(method, path, body)
            check(got.status == status and got.json()["error"] == name and got.json()["text"], f"{method} {path}",
                  (got.status, got.body))
            if name == "old":
                check(got.json()["seq"] == 7, "seq", got.body)
            if status == 405:
                check("PUT" in got.headers["allow"], "allow", got.headers)
        got = await self.client.ask("GET", "/nothing/here")
        check(got.status == 404, "a path of nobody", got.status)

    async def lists(self):
        """Pages, samples, JSON."""
        ask = self.client.ask
        want = {self.node.record(7, self.now, [self.records.quic_address("192.0.2.1", 4001)], offers=1)}
        for i in range(4):
            node = self.records.Node(bytes([3 + i]) * 32)
            record = node.record(9, self.now, [self.records.quic_address("198.51.100.7", 4433 + i)], offers=1)
            got = await ask("PUT", self.path(node), record)
            check(got.status == 200, "put", got.body)
            want.add(record)
        seen, cursor = [], 0
        while True:
            got = await ask("GET", f"{self.BASE}?offer=relay&limit=2&after={cursor}")
            check(got.status == 200 and got.headers["content-type"] == "application/x-atlas-records", "list", got.headers)
            cursor, records = read_page(got.body)
            seen += records
            if cursor == 0:
                break
            check(len(records) == 2, "a page that is not full", len(records))
        check(len(seen) == 5 and set(seen) == want, "list", len(seen))
        got = await ask("GET", self.BASE + "?offer=relay&random=1&limit=3")
        check(len(set(read_page(got.body)[1]) & want) == 3, "sample")
        got = await ask("GET", self.BASE + "?offer=bootstrap")
        check(got.body == b"\0", "nobody", got.body)
        got = (await ask("GET", self.BASE + "?offer=relay&format=json&limit=1")).json()
        check(got["records"] == [{"peer": self.node.id, "seq": 7, "addrs": [f"/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{self.node.id}"]}],
              "json", got)
        check(isinstance(got["next"], int) and got["next"] > 0, "next", got)

    async def page(self):
        """The page for people."""
        got = await self.client.ask("GET", "/")
        check(got.status == 200 and got.headers["content-type"] == "text/html; charset=utf-8", "page", got.headers)
        text = got.body.decode("utf-8")
        check("<th>records</th><td>5</td>" in text and "<script" not in text, "page", text)
        check("default-src 'none'" in got.headers["content-security-policy"], "policy", got.headers)

    async def metrics(self):
        """The relay's metrics, read by Prometheus' own parser."""
        # pylint: disable=import-outside-toplevel,import-error
        from prometheus_client.parser import text_string_to_metric_families

        got = await self.client.ask("GET", "/.well-known/atlas/relay/metrics")
        check(got.status == 200 and got.headers["content-type"].startswith("text/plain; version=0.0.4"), "metrics", got.headers)
        families = {f.name: f for f in text_string_to_metric_families(got.body.decode("ascii"))}
        check(len(families) >= 10, "families", sorted(families))
        check(families["atlas_relay_sessions"].type == "gauge", "type", families["atlas_relay_sessions"].type)
        check(families["atlas_relay_sessions"].samples[0].value == 1, "this connection", families["atlas_relay_sessions"].samples)
        refused = families["atlas_relay_refused"]
        check(refused.type == "counter" and {"nodes", "rate"} <= {s.labels["reason"] for s in refused.samples}, "refused", refused)
        for family in families.values():
            check(family.type in ("gauge", "counter") and family.samples, "family", family)
        health = (await self.client.ask("GET", "/.well-known/atlas/relay/health")).json()
        check(health["status"] == "ok", "health", health)

    async def many(self):
        """Requests at the same time are answered each for itself."""
        nodes = [self.records.Node(bytes([40 + i]) * 32) for i in range(24)]
        got = await asyncio.gather(*[self.client.ask("PUT", self.path(n), n.record(1, self.now)) for n in nodes])
        check([g.status for g in got] == [200] * len(nodes), "puts at once", [g.status for g in got])
        got = await asyncio.gather(*[self.client.ask("GET", self.path(n)) for n in nodes])
        check([g.body for g in got] == [n.record(1, self.now) for n in nodes], "gets at once")


async def run(port):
    """Connects and goes through the tests."""
    # pylint: disable=import-outside-toplevel,import-error
    from aioquic.asyncio.client import connect
    from aioquic.quic.configuration import QuicConfiguration
    import peer_record

    vector = peer_record.Node(bytes.fromhex("7e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"))
    check(vector.id == "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq", "libp2p's own vector", vector.id)
    # the server's certificate is libp2p's, which aioquic cannot judge
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE)
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=make_client()) as client:
        scenario = Scenario(client, vector, peer_record)
        for step in (scenario.put_and_get, scenario.refusals, scenario.lists, scenario.page, scenario.metrics, scenario.many):
            await step()
            print(f"ok: {step.__name__}: {step.__doc__}", flush=True)


@contextlib.contextmanager
def started(server):
    """The server's port."""
    with subprocess.Popen([server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield int(child.stdout.readline().split()[0])
        finally:
            child.stdin.close()
            child.wait(timeout=10)
            check(child.returncode == 0, "the server's exit code", child.returncode)


def main_inside(server):
    """The test."""
    sys.path.insert(0, str(HERE))
    with started(server) as port:
        asyncio.run(run(port))
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        sys.exit(main_inside(sys.argv[2]))
    sys.exit(main_outside(sys.argv[1], sys.argv[2]))
