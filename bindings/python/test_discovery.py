"""A bootstrap node, a relay and nodes in one Python program, over loopback."""
import asyncio
import os
import pathlib
import re
import socket
import sys
import tempfile
import unittest

import atlas
from atlas import Advertise, AutoRelay, Err, Offer, Reach, Source
from test_atlas import LOCAL, SEED_ID, Case, port_of

METRIC = re.compile(r'(atlas_\w+)(?:\{(\w+="[^"]*",?)*\})? (\d+(?:\.\d+)?)')


def advertise(node):
    """Has it found, and notes whether it is."""
    node.told = []
    node.on_advertise = lambda node, event: node.told.append(event)
    node.advertise()
    return lambda: node.told and node.told[-1].state == Advertise.PUBLISHED


class Discovery(Case):
    def setUp(self):
        self.reported, self.got = [], []
        self.hook, sys.unraisablehook = sys.unraisablehook, self.reported.append
        self.all = []
        self.boot = self.node(bootstrap=False)
        self.boot.bootstrap_start()
        self.boot_addr = self.boot.local_addrs()[0]
        self.a, self.b = self.node(), self.node(on_connection=self.accept)
        self.b.listen()

    def tearDown(self):
        for node in self.all:
            node.close()
        sys.unraisablehook = self.hook
        self.assertEqual(self.reported, [])

    def node(self, options=None, bootstrap=True, **handlers):
        node = atlas.Context(options={**LOCAL, **(options or {})}, **handlers)
        self.all.append(node)
        if bootstrap:
            node.bootstrap_add(self.boot_addr)
        return node

    def accept(self, context, conn):
        conn.on_message = lambda conn, data: self.got.append(data)

    def until(self, condition):
        self.assertTrue(atlas.run_until(self.all, condition, 20), "it did not happen")

    def finish(self, ask, *args, **options):
        """What a query tells: its records, failures, and how it ends."""
        records, failures, done = [], [], []
        query = ask(*args, on_record=lambda query, record: records.append(record),
                    on_failed=lambda query, *failure: failures.append(failure),
                    on_done=lambda query, status: done.append(status), **options)
        self.until(lambda: done)
        self.assertTrue(query.closed)
        self.assertCode(Err.CLOSED, query.cancel)
        return records, failures, done[0]

    def test_found_by_id(self):
        reached = []
        self.b.on_reach = lambda node, event: reached.append(event)
        self.assertEqual(self.b.reach(), Reach.UNKNOWN)
        self.until(advertise(self.b))
        port = port_of(self.b)
        direct = f"/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{self.b.peer_id}"
        event = self.b.told[-1]
        self.assertEqual((event.addrs, event.nodes, event.nodes_total, event.offers, event.code),
                         ((direct,), 1, 1, 0, 0))
        # the verdict that led to it
        verdict = reached[0]
        self.assertEqual((verdict.family, verdict.verdict, verdict.before, verdict.servers),
                         (4, Reach.PUBLIC, Reach.UNKNOWN, 1))
        self.assertEqual(verdict.addrs,
                         (atlas.ReachAddr(f"127.0.0.1:{port}", Reach.PUBLIC, 1, 0),))
        self.assertEqual([(said.server, said.candidate, said.code, said.result)
                          for said in verdict.evidence],
                         [(self.boot.peer_id, f"127.0.0.1:{port}", 0, Reach.PUBLIC)])
        self.assertRegex(verdict.evidence[0].source, r"^127\.0\.0\.1:\d+$")
        self.assertEqual((self.b.reach(), self.b.reach(6)), (Reach.PUBLIC, Reach.UNKNOWN))
        self.b.reach_start()
        self.until(lambda: len(reached) > 1)
        # the record
        records, failures, status = self.finish(self.a.lookup, self.b.peer_id, timeout=5)
        self.assertEqual((len(records), failures, status), (1, [], 0))
        record = records[0]
        self.assertEqual((record.peer, record.addrs, record.seq),
                         (self.b.peer_id, (direct,), event.seq))
        self.assertEqual((record.source, record.from_), (Source.BOOTSTRAP, self.boot_addr))
        self.assertEqual(record.envelope, self.b.record_own())
        self.assertGreater(record.rtt_ns, 0)
        self.assertEqual(record.expires_ms - record.issued_ms, 3600000)
        # the dial, by nothing but the id
        conn = self.a.dial(self.b.peer_id, 10)
        conn.on_connected = lambda conn: conn.send_message(b"found")
        self.until(lambda: self.got)
        self.assertEqual((conn.peer_id, self.got), (self.b.peer_id, [b"found"]))
        # found no more
        self.b.advertise(False)
        self.until(lambda: self.b.told[-1].state == Advertise.OFF
                   and self.boot.registry_stats().deletes)
        self.assertEqual(self.finish(self.a.lookup, self.b.peer_id, fresh=True)[2],
                         Err.RECORD_NOT_FOUND)
        self.assertCode(Err.NOT_FOUND, self.b.record_own)

    def test_relays(self):
        relay = self.node()
        relay.relay_start()
        ready = advertise(relay)
        self.until(lambda: ready() and relay.told[-1].offers & Offer.RELAY)
        addr = relay.local_addrs()[0]
        for offer, options in (("relay", {}), (Offer.RELAY, {"limit": 1, "random": True}),
                               ("DialBack", {"timeout": 5})):
            records, failures, status = self.finish(self.a.discover, offer, **options)
            self.assertEqual([(record.peer, record.addrs) for record in records],
                             [(relay.peer_id, (addr,))])
            self.assertEqual(Offer(records[0].offers), Offer.RELAY | Offer.DIALBACK)
            self.assertEqual((failures, status), ([], 0))
        records, failures, status = self.finish(self.a.discover, Offer.BOOTSTRAP)
        self.assertEqual((records, status), ([], Err.RECORD_NOT_FOUND))
        self.assertEqual([failure[:2] for failure in failures],
                         [(self.boot_addr, Err.RECORD_NOT_FOUND)])
        self.assertCode(Err.INVALID, self.a.discover, Offer.RELAY | Offer.DIALBACK)
        self.assertCode(Err.INVALID, self.a.discover, "relay", limit=1001)
        self.assertRaises(KeyError, self.a.discover, "tea")
        # one that wants a relay whatever it can do without
        chosen = []
        self.b.set("autorelay", 2)
        self.b.set("autorelay_count", 1)
        self.b.on_autorelay = lambda node, event: chosen.append(event)
        advertise(self.b)
        circuit = f"{addr}/p2p-circuit/p2p/{self.b.peer_id}"
        self.until(lambda: self.b.told and circuit in self.b.told[-1].addrs)
        self.assertEqual([(event.what, event.relay, event.addr) for event in chosen],
                         [(what, relay.peer_id, addr)
                          for what in (AutoRelay.CHOSEN, AutoRelay.SERVING)])
        self.assertEqual((chosen[1].serving, chosen[1].code), (1, 0))
        self.assertLess(chosen[1].loss, 100)
        self.assertTrue(chosen[1].rtt_ns and chosen[1].text)
        self.assertEqual(relay.relay_stats().nodes, 1)

    def test_cache(self):
        self.until(advertise(self.b))
        self.assertEqual(self.node().records_export(), self.node(bootstrap=False).records_export())
        other = self.node()
        self.until(advertise(other))
        self.finish(self.a.lookup, other.peer_id)
        self.finish(self.a.lookup, self.b.peer_id)
        kept, own = self.a.records_export(), self.b.record_own()
        self.assertIn(own, kept)
        alone = self.node(bootstrap=False)
        self.assertCode(Err.NO_BOOTSTRAP, alone.lookup, self.b.peer_id)
        self.assertCode(Err.MALFORMED, alone.records_import, b"what is this?")
        error = self.assertCode(Err.TRUNCATED, self.node().records_import, kept[:-1])
        self.assertEqual(error.imported, (1, 0))
        self.assertEqual(alone.records_import(bytearray(kept)), atlas.Imported(2, 0))
        records, failures, status = self.finish(alone.lookup, self.b.peer_id)
        self.assertEqual([(record.envelope, record.source, record.from_) for record in records],
                         [(own, Source.CACHE, "")])
        self.assertEqual((failures, status), ([], 0))
        # one by one
        self.assertCode(Err.EXISTS, alone.record_add, own)
        other = self.node(bootstrap=False)
        spoilt = bytes([*own[:-1], own[-1] ^ 1])
        self.assertCode(Err.SIGNATURE, other.record_add, spoilt)
        self.assertEqual(other.records_import(kept.replace(own, spoilt)), (1, 1))
        other.record_add(memoryview(own))
        self.assertIn(own, other.records_export())

    def test_failures(self):
        for _ in range(2):  # the second time it is known that the node knows nothing
            records, failures, status = self.finish(self.a.lookup, SEED_ID)
            self.assertEqual((records, status), ([], Err.RECORD_NOT_FOUND))
            self.assertEqual([failure[:2] for failure in failures],
                             [(self.boot_addr, Err.RECORD_NOT_FOUND)])
            self.assertTrue(failures[0][2])
        ends = []
        self.a.dial(SEED_ID, 5, on_closed=lambda conn, *end: ends.append(end))
        self.until(lambda: ends)
        self.assertIn(ends[0][0], (Err.DIAL, Err.NO_ADDRESS))
        query = self.a.lookup(SEED_ID, on_failed=print,
                              on_done=lambda query, status: ends.append(status))
        query.cancel()
        self.until(lambda: len(ends) == 2)
        self.assertEqual(ends[1], Err.CANCELLED)
        self.assertCode(Err.PEER_ID, self.a.lookup, "nobody")
        self.assertCode(Err.INVALID, self.a.lookup, SEED_ID, timeout=121)
        self.assertEqual(self.a.children, {})
        with self.assertRaisesRegex(TypeError, "on_recrod"):
            self.a.lookup(SEED_ID, on_recrod=print)
        self.assertCode(Err.EXISTS, self.a.bootstrap_add, self.boot_addr)
        self.assertCode(Err.ADDRESS, self.a.bootstrap_add, "/ip4/127.0.0.1/udp/1/quic-v1")
        self.assertCode(Err.SELF, self.boot.bootstrap_add, self.boot_addr)
        self.assertCode(Err.STATE, self.boot.bootstrap_start)
        self.assertCode(Err.STATE, self.a.registry_stats)
        self.assertCode(Err.NOT_FOUND, self.a.record_own)
        alone = self.node(bootstrap=False)
        for call in (alone.reach_start, alone.advertise):
            self.assertEqual(self.assertCode(Err.NO_BOOTSTRAP, call).category, "discovery")
        # what is under way ends with its context
        query = self.a.lookup(SEED_ID)
        self.a.close()
        self.assertTrue(query.closed)
        self.assertCode(Err.CLOSED, query.cancel)

    def test_metrics(self):
        self.until(advertise(self.b))
        self.finish(self.a.lookup, SEED_ID)
        stats = self.boot.registry_stats()
        self.assertEqual((stats.records, stats.taken, stats.relays), (1, 1, 0))
        self.assertEqual((stats.gets, stats.found, stats.disk_errors), (1, 0, 0))
        self.assertGreater(stats.dialback_datagrams, 0)
        lines = [line for line in self.boot.metrics().splitlines() if not line.startswith("#")]
        found = {}
        for line in lines:
            match = METRIC.fullmatch(line)
            self.assertTrue(match, line)
            found[line.rpartition(" ")[0]] = float(match.group(3))
        self.assertEqual(len(found), len(lines))
        self.assertEqual(found["atlas_registry_records"], 1)
        self.assertEqual(found['atlas_registry_requests_total{method="get"}'], stats.gets)
        self.assertNotIn("atlas_registry_records", self.a.metrics())
        page = self.boot.status_page()
        self.assertIn(self.boot.peer_id, page)
        self.assertIn("</html>", page)

    def test_file(self):
        with tempfile.TemporaryDirectory() as tmp, atlas.Key.generate() as key:
            path = pathlib.Path(tmp) / "records.db"
            if os.environ.get("ATLAS_SQLITE") == "false":
                self.assertCode(Err.UNSUPPORTED, self.a.bootstrap_start, path)
                return
            self.assertCode(Err.NOT_FOUND, self.a.bootstrap_start, path / "no" / "directory")
            with atlas.Context(key, LOCAL) as first:
                first.bootstrap_start(path)
                self.all.append(first)
                self.b.bootstrap_add(first.local_addrs()[0])
                ready = advertise(self.b)
                self.until(lambda: ready() and self.b.told[-1].nodes == 2)
                self.all.remove(first)
            with atlas.Context(key, LOCAL) as again, atlas.Context(options=LOCAL) as c:
                again.bootstrap_start(path)
                self.assertEqual(again.registry_stats().records, 1)
                self.all += [again, c]
                c.bootstrap_add(again.local_addrs()[0])
                records, _, status = self.finish(c.lookup, self.b.peer_id)
                self.assertEqual((status, [record.envelope for record in records]),
                                 (0, [self.b.record_own()]))
                self.all.remove(again)
                self.all.remove(c)


class Asyncio(Case):
    async def job(self):
        loop = asyncio.get_running_loop()
        got, up = loop.create_future(), loop.create_future()

        def accept(context, conn):
            conn.on_message = lambda conn, data: got.set_result(data)

        def told(context, event):
            if event.state == Advertise.PUBLISHED and event.offers and not up.done():
                up.set_result(event)

        async with atlas.AsyncContext(options=LOCAL) as boot, \
                atlas.AsyncContext(options=LOCAL, on_connection=accept) as b, \
                atlas.AsyncContext(options=LOCAL) as a:
            boot.bootstrap_start()
            addr = boot.local_addrs()[0]
            for node in (a, b):
                node.bootstrap_add(addr)
            b.relay_start()
            b.listen()
            b.on_advertise = told
            b.advertise()
            await up
            record = await a.lookup(b.peer_id)
            self.assertEqual((record.peer, record.envelope), (b.peer_id, b.record_own()))
            known = [record async for record in a.lookup(b.peer_id)]
            self.assertEqual([record.source for record in known], [Source.CACHE])
            self.assertEqual(known[0], record._replace(source=Source.CACHE, from_="", rtt_ns=0))
            conn = await a.connect(b.peer_id)
            await a.send(conn, b"hello")
            self.assertEqual(await got, b"hello")
            self.assertEqual([record.peer async for record in a.discover("relay")], [b.peer_id])
            self.assertEqual([record async for record in a.discover("bootstrap")], [])
            async for record in a.discover("relay"):
                break  # the rest is not wanted
            with self.assertRaises(atlas.AtlasError) as caught:
                await a.lookup(SEED_ID)
            self.assertEqual(caught.exception.code, Err.RECORD_NOT_FOUND)
            self.assertIn(addr, caught.exception.text)
            query = a.lookup(SEED_ID)
            query.cancel()
            with self.assertRaises(atlas.AtlasError) as caught:
                await query
            self.assertEqual(caught.exception.code, Err.CANCELLED)
            await self.silent()
            conn.close()
            while a.children:
                await asyncio.sleep(0.01)

    async def silent(self):
        """A bootstrap node that does not answer: look-ups that are given up, that run out of time,
        and that end with their context."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1]
            async with atlas.AsyncContext(options=LOCAL) as node:
                node.bootstrap_add(f"/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{SEED_ID}")
                done = []
                query = node.lookup(node.peer_id, timeout=60,
                                    on_done=lambda query, status: done.append(status))
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(self.first(query), 0.05)
                while not query.closed:
                    await asyncio.sleep(0.01)
                self.assertEqual(done, [Err.CANCELLED])
                with self.assertRaises(atlas.AtlasError) as caught:
                    await node.lookup(node.peer_id, timeout=0.1)
                self.assertEqual(caught.exception.code, Err.TIMEOUT)
                with self.assertRaises(atlas.AtlasError) as caught:
                    await self.first(node.discover("relay", timeout=0.1))
                self.assertEqual(caught.exception.code, Err.TIMEOUT)
                query = node.lookup(node.peer_id)
                task = asyncio.ensure_future(self.first(query))
                await asyncio.sleep(0.01)
                node.close()
                with self.assertRaises(atlas.AtlasError) as caught:
                    await task
                self.assertEqual(caught.exception.code, Err.CLOSED)
                with self.assertRaises(atlas.AtlasError) as caught:
                    await query
                self.assertEqual(caught.exception.code, Err.CLOSED)

    @staticmethod
    async def first(query):
        async for record in query:
            return record

    def test_asyncio(self):
        asyncio.run(asyncio.wait_for(self.job(), 30))


if __name__ == "__main__":
    unittest.main()
