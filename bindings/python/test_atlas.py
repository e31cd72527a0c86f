"""Nodes and a relay in one Python program, over loopback."""
import asyncio
import gc
import os
import pathlib
import socket
import sys
import tempfile
import threading
import time
import unittest

import atlas
from atlas import Candidate, Err, NatKind, NatMapping, Path, Relay, _objects

LOCAL = {"ipv6": 0, "bind4": "127.0.0.1"}
# libp2p specs, peer-ids/peer-ids.md, test vector of Ed25519
SEED = bytes.fromhex("7e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d")
SEED_ID = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"


def port_of(context):
    return context.local_addrs()[0].split("/")[4]


class Case(unittest.TestCase):
    def assertCode(self, code, function, *args, **kwargs):
        with self.assertRaises(atlas.AtlasError) as caught:
            function(*args, **kwargs)
        self.assertEqual(Err(caught.exception.code), code)
        return caught.exception


class Values(Case):
    def test_keys(self):
        with tempfile.TemporaryDirectory() as tmp, atlas.Key.from_seed(SEED) as key:
            path = pathlib.Path(tmp) / "node.key"
            self.assertEqual(key.peer_id, SEED_ID)
            key.save(path)
            self.assertEqual(atlas.Key.load(path).public, key.public)
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            error = self.assertCode(Err.EXISTS, key.save, path)
            self.assertEqual((error.name, error.category), ("ATLAS_ERR_EXISTS", "general"))
            self.assertIn("ATLAS_ERR_EXISTS", str(error))
            with atlas.Context(key) as node:
                key.close()
                self.assertEqual(node.peer_id, SEED_ID)
            self.assertCode(Err.CLOSED, lambda: key.peer_id)
            self.assertCode(Err.NOT_FOUND, atlas.Key.load, path / "none")
        self.assertRaises(ValueError, atlas.Key.from_seed, b"short")
        self.assertNotEqual(atlas.Key.generate().peer_id, atlas.Key.generate().peer_id)

    def test_addresses(self):
        text = f"/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{SEED_ID}"
        info = atlas.parse_target(text)
        self.assertEqual((info.path, info.peer, info.relay, info.transport),
                         (Path.DIRECT, SEED_ID, "", "/ip4/192.0.2.1/udp/4001/quic-v1"))
        self.assertEqual(atlas.normalize_multiaddr(text), text)
        self.assertEqual(atlas.normalize_peer_id(
            "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6"), SEED_ID)
        self.assertCode(Err.ADDRESS, atlas.parse_target, "/nonsense")
        self.assertRaises(ValueError, atlas.normalize_multiaddr, "/ip4/192.0.2.1\0/udp/1")

    def test_options_and_config(self):
        with atlas.Context(options={**LOCAL, atlas.Opt.MAX_STREAMS: 9}) as node:
            self.assertEqual(node.get("max_streams"), 9)
            self.assertCode(Err.INVALID, node.set, "idle_timeout_ms", -1)
            warnings = node.config_parse("[transport]\nidle_timeout = 7\nidel_timeout = 8\n", "here")
            self.assertEqual([(w.code, w.file, w.line) for w in warnings], [(0, "here", 3)])
            self.assertEqual(node.get(atlas.Opt.IDLE_TIMEOUT_MS), 7000)
            with tempfile.TemporaryDirectory() as tmp:
                path = pathlib.Path(tmp) / "atlas.toml"
                path.write_text("[transport]\nidle_timeout = x\n", encoding="utf-8")
                error = self.assertCode(Err.CONFIG, node.config_load, path)
                self.assertIn("atlas.toml:2", error.text)
                self.assertEqual(error.complaints[0].line, 2)
                self.assertCode(Err.NOT_FOUND, node.config_load, path / "none")

    def test_load(self):
        self.assertIs(atlas.load(), atlas.load(os.environ["ATLAS_LIBRARY"]))
        self.assertRaises(RuntimeError, atlas.load, "/elsewhere/libatlas.so")
        self.assertRegex(atlas.version(), r"^\d+\.\d+\.\d+$")

    def test_hooks(self):
        lines, calls = [], []

        def now():
            calls.append("now")
            return time.monotonic_ns()

        with atlas.Context(options=LOCAL, log=lambda level, text: lines.append((level, text)),
                           now=now, wall=lambda: 1, random=os.urandom,
                           interest=lambda fd, events: calls.append((fd, events)),
                           timer=lambda deadline: calls.append("timer")) as node:
            node.listen()
            node.dial(f"/ip4/127.0.0.1/udp/9/quic-v1/p2p/{SEED_ID}")
            watched = node.fds()
            self.assertTrue(set(watched) <= set(calls))
            self.assertTrue({"now", "timer"} <= set(calls))
            node.run_once(0.01)
        for fd, _ in watched:
            self.assertEqual(calls.count((fd, 0)), 1)
        self.assertTrue(all(1 <= level <= 5 for level, _ in lines))


class Nodes(Case):
    def setUp(self):
        self.reported, self.accepted, self.got, self.ends = [], [], [], []
        self.hook, sys.unraisablehook = sys.unraisablehook, self.reported.append
        self.a = atlas.Context(options=LOCAL)
        self.b = atlas.Context(options=LOCAL, on_connection=self.accept)
        self.all = [self.a, self.b]
        self.b.listen()

    def tearDown(self):
        for node in self.all:
            node.close()
        sys.unraisablehook = self.hook

    def accept(self, context, conn):
        self.assertIs(context, self.b)
        self.accepted.append(conn)
        conn.on_message = conn.on_datagram = lambda conn, data: self.got.append(data)
        conn.on_stream = self.echo
        conn.on_closed = lambda conn, *end: self.ends.append(end)

    def echo(self, conn, stream):
        pending = bytearray()

        def go(stream):
            while len(pending) < 1 << 20:
                part = stream.read()
                if not part:
                    break
                pending.extend(part)
            taken = stream.write(pending, fin=stream.eof)
            del pending[:taken]

        stream.on_readable = stream.on_writable = go

    def until(self, condition):
        self.assertTrue(atlas.run_until(self.all, condition, 15), "it did not happen")

    def dial(self, target=None, **handlers):
        up = []
        conn = self.a.dial(target or self.b.local_addrs()[0], 10,
                           on_connected=lambda conn: up.append(conn),
                           on_closed=lambda conn, code, app, text: up.append(text), **handlers)
        self.until(lambda: up and self.accepted)
        self.assertIs(up[0], conn)
        return conn

    def test_message_datagram_ping_close(self):
        sent, pongs, paths, ends = [], [], [], []
        conn = self.dial(on_message_sent=lambda conn, *args: sent.append(args),
                         on_pong=lambda conn, *args: pongs.append(args),
                         on_path=lambda conn, path, reason: paths.append((path.kind, reason)))
        self.assertEqual((conn.peer_id, conn.is_dialer), (self.b.peer_id, True))
        self.assertEqual((self.accepted[0].peer_id, self.accepted[0].is_dialer),
                         (self.a.peer_id, False))
        self.assertEqual(conn.path().remote, f"127.0.0.1:{port_of(self.b)}")
        self.assertEqual(paths[0], (Path.DIRECT, "connected"))
        numbers = [conn.send_message(b"a \0 there"), conn.send_message(bytearray())]
        self.assertGreater(conn.max_datagram, 1000)
        conn.send_datagram(memoryview(b"datagram"))
        ping = conn.ping()
        self.until(lambda: len(sent) == 2 and len(self.got) == 3 and pongs)
        self.assertEqual(sorted(sent), [(number, 0) for number in sorted(numbers)])
        self.assertEqual(sorted(self.got), [b"", b"a \0 there", b"datagram"])
        self.assertEqual((pongs[0][0], pongs[0][2]), (ping, Path.DIRECT))
        self.assertGreater(conn.stats().tx_packets, 3)
        self.assertCode(Err.DATAGRAM_TOO_LARGE, conn.send_datagram, bytes(70000))
        self.assertRaises(TypeError, conn.send_message, "text")
        conn.on_closed = lambda conn, *end: ends.append((end, conn.closed))
        conn.close(7, "enough")
        self.until(lambda: ends and self.ends)
        self.assertEqual(ends[0][0][0], 0)
        self.assertFalse(ends[0][1])  # valid until the handler has returned
        self.assertEqual(self.ends, [(Err.PEER_CLOSED, 7, "enough")])
        for call in (conn.ping, conn.path, lambda: conn.send_message(b"x"), conn.open_stream):
            self.assertIn("ended", self.assertCode(Err.CLOSED, call).text)
        self.assertTrue(conn.closed and conn.peer_id == self.b.peer_id)
        self.assertEqual(self.reported, [])

    def test_stream(self):
        conn = self.dial()
        events, data, back, at = [], os.urandom(5 << 20), bytearray(), 0
        stream = conn.open_stream(on_acked=lambda s: events.append("acked"),
                                  on_closed=lambda s, code, app: events.append((code, app)))
        taken = stream.write(data)
        self.assertTrue(0 < taken < len(data))  # the send buffer is smaller
        at = taken

        def go():
            nonlocal at
            if at < len(data):
                part = data[at:at + 262144]
                at += stream.write(part, fin=at + len(part) == len(data))
            seen = stream.peek()
            if seen:
                stream.consume(len(seen) // 2)
                back.extend(seen[:len(seen) // 2])
            back.extend(stream.read() or b"")
            return stream.eof

        self.until(go)
        self.assertEqual(bytes(back), data)
        self.assertEqual((stream.read(), stream.peek()), (b"", b""))
        self.until(lambda: stream.closed)
        self.assertEqual(events, ["acked", (0, 0)])
        self.assertCode(Err.CLOSED, stream.write, b"x")
        self.assertGreaterEqual(stream.id, 0)
        uni, ends = conn.open_stream(uni=True, on_closed=lambda s, *end: ends.append(end)), []
        self.assertCode(Err.STATE, uni.read)
        uni.reset(3)
        self.until(lambda: uni.closed)
        self.assertEqual(len(ends), 1)

    def test_relay_and_stun(self):
        asked, events, results, done, broken = [], [], [], [], []

        def policy(what, peer, target, addr):
            asked.append((what, peer, target))
            if broken:
                raise ZeroDivisionError

        with atlas.Context(options=LOCAL) as relay:
            self.all.append(relay)
            relay.relay_set_policy(policy)
            relay.relay_deny(SEED_ID)
            relay.relay_start()
            addr = relay.local_addrs()[0]
            self.b.on_relay = lambda context, event: events.append(event)
            self.b.relay_add(addr)
            self.b.relay_presence()
            self.until(lambda: events and events[-1].state == Relay.ANNOUNCED)
            self.assertEqual(self.b.relays()[0].relay, relay.peer_id)
            conn = self.dial(f"{addr}/p2p-circuit/p2p/{self.b.peer_id}")
            self.assertEqual((conn.path().kind, conn.path().relay), (Path.RELAY, relay.peer_id))
            conn.send_message(b"through the relay")
            self.until(lambda: self.got)
            self.assertEqual(self.got, [b"through the relay"])
            self.assertIn((atlas.RelayAsk.ANNOUNCE, self.b.peer_id, None), asked)
            self.assertIn((atlas.RelayAsk.CONNECT, self.a.peer_id, self.b.peer_id), asked)
            self.assertEqual((relay.relay_stats().nodes, relay.relay_stats().pairs), (1, 1))
            # a policy that raises refuses
            fails = []
            broken.append(True)
            self.a.dial(f"{addr}/p2p-circuit/p2p/{self.b.peer_id}", 5,
                        on_closed=lambda conn, *end: fails.append(end))
            self.until(lambda: fails)
            self.assertEqual(fails[0][0], Err.DIAL)
            self.assertIs(self.reported[0].exc_type, ZeroDivisionError)
            probe = self.a.stun_probe([f"127.0.0.1:{port_of(relay)}"], timeout=5,
                                      on_result=lambda probe, result: results.append(result),
                                      on_done=lambda probe, status: done.append(status))
            self.until(lambda: done)
            self.assertEqual(done, [0])
            self.assertEqual(results[0].reflexive, f"127.0.0.1:{port_of(self.a)}")
            self.assertCode(Err.CLOSED, probe.cancel)
            self.all.remove(relay)
            self.assertCode(Err.STATE, self.a.relay_stats)
        self.assertCode(Err.NOT_FOUND, self.a.stun_probe)

    def test_idle_and_network(self):
        quiet, upgrades = [], []
        self.a.on_idle = lambda context, quiet_ns: quiet.append(quiet_ns)
        conn = self.dial(on_upgrade=lambda conn, info: upgrades.append(info))
        self.assertIn(conn.path().candidate, set(Candidate))
        self.until(lambda: quiet)
        self.assertGreater(quiet[0], 0)
        self.a.set_idle()
        self.until(lambda: len(quiet) == 2)
        self.assertIsNone(quiet[1])
        self.a.set_idle(False)
        self.a.network_changed()
        conn.send_message(b"awake")
        self.until(lambda: self.got == [b"awake"])
        for info in upgrades:
            self.assertTrue(info.text and info.code in set(Err))

    def test_nat(self):
        results, done, told = [], [], []
        self.b.set("stun_server", 1)
        probe = self.a.nat_probe([f"127.0.0.1:{port_of(self.b)}"], timeout=0.3,
                                 on_progress=lambda probe, event: told.append(event.text),
                                 on_result=lambda probe, event: results.append(event),
                                 on_done=lambda probe, status: done.append(status))
        self.until(lambda: done)
        self.assertEqual((done, probe.closed), ([0], True))
        self.assertEqual((results[0].family, results[0].mapping), (4, NatMapping.NONE))
        self.assertIn(results[0].kind, set(NatKind))
        self.assertEqual(results[0].seen[0].reflexive, results[0].seen[0].local)
        self.assertTrue(results[0].verdict and results[0].text)
        again = self.a.nat_probe(["127.0.0.1:9"], on_done=lambda probe, status: done.append(status))
        again.cancel()
        self.until(lambda: len(done) == 2)
        self.assertEqual(done[1], Err.CANCELLED)

    def test_failures(self):
        self.assertCode(Err.ADDRESS, self.a.dial, "/ip4/127.0.0.1/udp/1/quic-v1")
        self.assertCode(Err.SELF, self.a.dial, f"/ip4/127.0.0.1/udp/9/quic-v1/p2p/{self.a.peer_id}")
        with self.assertRaisesRegex(TypeError, "on_mesage"):
            self.a.dial(self.b.local_addrs()[0], on_mesage=print)
        ends, attempts = [], []
        conn = self.a.dial(f"/ip4/127.0.0.1/udp/{port_of(self.b)}/quic-v1/p2p/{SEED_ID}", 5,
                           on_closed=lambda conn, *end: ends.append(end),
                           on_attempt=lambda conn, addr, code, text: attempts.append(code))
        self.until(lambda: ends)
        self.assertEqual((ends[0][0], attempts), (Err.DIAL, [Err.PEER_MISMATCH]))
        self.assertTrue(conn.closed)
        self.assertEqual(self.a.children, {})

    def test_exceptions(self):
        def broken(*args):
            raise ZeroDivisionError("in a handler")

        conn = self.dial(on_pong=broken)
        conn.ping()
        self.until(lambda: self.reported)
        self.assertIs(self.reported[0].exc_type, ZeroDivisionError)
        self.assertFalse(conn.closed)

        def interrupted(*args):
            raise KeyboardInterrupt

        conn.on_pong = interrupted
        conn.ping()
        with self.assertRaises(KeyboardInterrupt):
            self.until(lambda: False)
        # a handler of inbound connections that raises refuses the peer
        self.b.on_connection, ends = broken, []
        self.a.dial(self.b.local_addrs()[0], 5, on_closed=lambda c, *end: ends.append(end))
        self.until(lambda: ends)
        self.assertEqual(len(self.reported), 2)

    def test_reentrancy_and_free(self):
        caught = []

        def connected(conn):
            for call in (self.a.process, self.a.close):
                try:
                    call()
                except atlas.AtlasError as error:
                    caught.append(error.code)

        conn = self.a.dial(self.b.local_addrs()[0], on_connected=connected)
        self.until(lambda: caught)
        self.assertEqual(caught, [Err.REENTRANT] * 2)
        stream = conn.open_stream()
        self.a.close()
        self.assertTrue(conn.closed and stream.closed and self.a.closed)
        for call in (self.a.open, self.a.process, conn.ping, lambda: stream.write(b"x")):
            self.assertCode(Err.CLOSED, call)
        self.a.close()

    def test_wakeup_from_a_thread(self):
        woken = []
        self.a.on_wakeup = lambda context: woken.append(1)
        self.a.open()
        timer = threading.Timer(0.1, self.a.wakeup)
        timer.start()
        start = time.monotonic()
        while not woken:
            self.a.run_once(10)
        self.assertLess(time.monotonic() - start, 5)
        timer.join()

    def test_shutdown(self):
        self.dial()
        down = []
        self.a.on_shutdown = lambda context: down.append(1)
        self.a.shutdown()
        self.until(lambda: down and self.ends)
        self.assertEqual(self.a.children, {})


class Cycles(Case):
    def census(self):
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(_objects._live)

    def test_thousand_contexts(self):
        before = self.census()
        for i in range(1000):
            node = atlas.Context(options=LOCAL)
            node.listen()
            conn = node.dial(f"/ip4/127.0.0.1/udp/9/quic-v1/p2p/{SEED_ID}")
            stun = node.stun_probe(["127.0.0.1:9"])
            node.bootstrap_add(f"/ip4/127.0.0.1/udp/9/quic-v1/p2p/{SEED_ID}")
            query = node.lookup(SEED_ID)
            if i % 2:
                node.close()
                self.assertTrue(conn.closed and stun.closed and query.closed)
            del node, conn, stun, query  # half of them are freed by the collector alone
        self.assertEqual(self.census(), before)


class Asyncio(Case):
    async def echo(self, node, stream):
        while True:
            data = await node.read(stream)
            await node.write(stream, data, fin=not data)
            if not data:
                return

    async def job(self):
        got, tasks = asyncio.get_running_loop().create_future(), []

        def accept(context, conn):
            conn.on_message = lambda conn, data: got.set_result(data)
            conn.on_stream = lambda conn, stream: tasks.append(
                asyncio.ensure_future(self.echo(context, stream)))

        async with atlas.AsyncContext(options=LOCAL, on_connection=accept) as b, \
                atlas.AsyncContext(options=LOCAL) as a:
            b.set("stun_server", 1)
            b.listen()
            conn = await a.connect(b.local_addrs()[0])
            await a.send(conn, b"hello")
            self.assertEqual(await got, b"hello")
            self.assertGreater(await a.ping(conn), 0)
            results = await a.stun([f"127.0.0.1:{port_of(b)}"], timeout=5)
            self.assertEqual(results[0].reflexive, f"127.0.0.1:{port_of(a)}")
            nats = await a.nat([f"127.0.0.1:{port_of(b)}"], timeout=0.3)
            self.assertEqual([nat.family for nat in nats], [4])
            stream, data, back = conn.open_stream(), os.urandom(3 << 20), bytearray()
            writing = asyncio.ensure_future(a.write(stream, data, fin=True))
            while True:
                part = await a.read(stream)
                if not part:
                    break
                back.extend(part)
            await asyncio.gather(writing, *tasks)
            self.assertEqual(bytes(back), data)
            with self.assertRaises(atlas.AtlasError) as caught:
                await a.connect(f"/ip4/127.0.0.1/udp/9/quic-v1/p2p/{SEED_ID}", 5)
            self.assertEqual(caught.exception.code, Err.DIAL)
            self.assertIn("127.0.0.1", caught.exception.text)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, \
                    self.assertRaises(asyncio.TimeoutError):
                silent.bind(("127.0.0.1", 0))
                servers = [f"127.0.0.1:{silent.getsockname()[1]}"]
                await asyncio.wait_for(a.stun(servers, timeout=5), 0.05)
            pong = conn.wait(("pong", 10**6))  # one that never comes
            conn.close(5)
            with self.assertRaises(atlas.AtlasError):
                await pong
        self.assertTrue(a.closed and b.closed and conn.closed)

    def test_asyncio(self):
        asyncio.run(asyncio.wait_for(self.job(), 30))

    def test_timers_alone(self):
        """A dial that nobody answers ends by the loop's timer."""
        async def job():
            async with atlas.AsyncContext(options=LOCAL) as silent, \
                    atlas.AsyncContext(options=LOCAL) as node:
                silent.open()
                for fd, _ in silent.fds():
                    silent.loop.remove_reader(fd)
                target = silent.local_addrs()[0]
                start = time.monotonic()
                with self.assertRaises(atlas.AtlasError):
                    await node.connect(target, 0.6)
                self.assertTrue(0.5 < time.monotonic() - start < 5)

        asyncio.run(asyncio.wait_for(job(), 30))


if __name__ == "__main__":
    unittest.main()
