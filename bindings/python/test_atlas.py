"""Two nodes and a relay in one Python program, over loopback."""
import os
import pathlib
import tempfile
import threading
import time
import unittest

import atlas


def local(**options):
    return atlas.Context(bind4="127.0.0.1", ipv6=0, **options)


class Keys(unittest.TestCase):
    def test_vector(self):
        # libp2p specs, peer-ids/peer-ids.md, test vector of Ed25519
        seed = bytes.fromhex("7e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d")
        self.assertEqual(atlas.Key.from_seed(seed).peer_id, "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq")

    def test_files(self):
        with tempfile.TemporaryDirectory() as tmp:
            path = pathlib.Path(tmp) / "node.key"
            key = atlas.Key.generate()
            key.save(path)
            self.assertEqual(atlas.Key.load(path).peer_id, key.peer_id)
            with self.assertRaises(atlas.Error) as caught:
                key.save(path)
            self.assertEqual(caught.exception.name, "ATLAS_ERR_EXISTS")


class Nodes(unittest.TestCase):
    def setUp(self):
        self.accepted = []
        self.messages = []
        self.a = local()
        self.b = local()
        self.b.listen(self.accept)

    def tearDown(self):
        self.a.close()
        self.b.close()

    def accept(self, conn):
        self.accepted.append(conn)
        conn.on_message = lambda conn, data: self.messages.append(data)
        conn.on_datagram = lambda conn, data: self.messages.append(data)
        conn.on_stream = self.echo

    def echo(self, conn, stream):
        """Sends back in capitals what comes."""
        pending = bytearray()

        def go(stream):
            while part := stream.read():
                pending.extend(part.upper())
            taken = stream.write(pending, fin=stream.finished)
            del pending[:taken]

        stream.on_readable = go
        stream.on_writable = go

    def until(self, condition, *more):
        self.assertTrue(atlas.run([self.a, self.b, *more], condition, 15), "it did not happen")

    def dial(self, target=None, **callbacks):
        conn = self.a.dial(target or self.b.addresses[0], **callbacks)
        self.until(lambda: conn.connected and self.accepted)
        return conn

    def test_message_and_path(self):
        conn = self.dial()
        self.assertEqual(conn.path.kind, "direct")
        self.assertEqual(conn.peer_id, self.b.peer_id)
        self.assertEqual(self.accepted[0].peer_id, self.a.peer_id)
        self.assertTrue(conn.is_dialer and not self.accepted[0].is_dialer)
        sent = conn.send(b"hello \x00 there")
        empty = conn.send(b"")
        conn.send_datagram(b"datagram")
        self.until(lambda: sent.code is not None and empty.code is not None and len(self.messages) == 3)
        self.assertEqual((sent.code, empty.code), (0, 0))
        self.assertEqual(sorted(self.messages), [b"", b"datagram", b"hello \x00 there"])
        pongs = []
        conn.on_pong = lambda conn, number, rtt, kind: pongs.append((number, rtt, kind))
        number = conn.ping()
        self.until(lambda: pongs)
        self.assertEqual((pongs[0][0], pongs[0][2]), (number, "direct"))
        conn.close(7, "enough")
        ends = []
        self.accepted[0].on_closed = lambda conn, code, app_code, text: ends.append((app_code, text))
        self.until(lambda: conn.closed is not None and ends)
        self.assertEqual((conn.closed, ends), (0, [(7, "enough")]))
        with self.assertRaises(atlas.Error):
            conn.send(b"too late")

    def test_stream(self):
        conn = self.dial()
        stream = conn.open_stream()
        data = os.urandom(3 << 20).lower()
        got = bytearray()
        at = 0

        def go():
            nonlocal at
            if at < len(data):
                at += stream.write(data[at:at + 262144], fin=at + 262144 >= len(data))
            got.extend(stream.read(262144))
            return stream.finished

        self.until(go)
        self.assertEqual(bytes(got), data.upper())

    def test_relay(self):
        events = []
        with local(relay_bandwidth=0) as relay:
            relay.start_relay()
            self.b.on_relay = events.append
            self.b.add_relay(relay.addresses[0])
            self.b.presence()
            self.until(lambda: any(e.state == "announced" for e in events), relay)
            conn = self.a.dial(f"{relay.addresses[0]}/p2p-circuit/p2p/{self.b.peer_id}")
            self.until(lambda: conn.connected and self.accepted, relay)
            self.assertEqual((conn.path.kind, conn.path.relay), ("relay", relay.peer_id))
            conn.send(b"through the relay")
            self.until(lambda: self.messages, relay)
            self.assertEqual(self.messages, [b"through the relay"])

    def test_stun(self):
        self.b.set("stun_server", 1)
        port = self.b.addresses[0].split("/")[4]
        stop = threading.Event()

        # each context has a thread of its own here
        def serve():
            while not stop.is_set():
                self.b.run(None, 0.05)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            results = self.a.stun([f"127.0.0.1:{port}"])
        finally:
            stop.set()
            thread.join()
        self.assertEqual(len(results), 1)
        self.assertEqual(results[0].code, 0)
        self.assertEqual(results[0].reflexive, f"127.0.0.1:{self.a.addresses[0].split('/')[4]}")

    def test_failures(self):
        with self.assertRaises(atlas.Error) as caught:
            self.a.dial("nonsense")
        self.assertEqual(caught.exception.category, "format")
        with self.assertRaises(TypeError):
            self.a.dial(self.b.addresses[0], on_mesage=print)
        port = self.b.addresses[0].split("/")[4]
        other = atlas.Key.generate().peer_id
        conn = self.a.dial(f"/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{other}")
        self.until(lambda: conn.closed is not None)
        self.assertEqual(atlas.Error(conn.closed).name, "ATLAS_ERR_DIAL")
        self.assertIn("authenticated as", conn.closed_text)

    def test_exceptions_come_out(self):
        def broken(conn):
            raise ZeroDivisionError

        conn = self.a.dial(self.b.addresses[0], on_connected=broken)
        with self.assertRaises(ZeroDivisionError):
            self.until(lambda: False)
        self.assertTrue(conn.connected)

    def test_wakeup(self):
        woken = []
        self.a.on_wakeup = lambda: woken.append(1)
        self.a.open()
        timer = threading.Timer(0.1, self.a.wakeup)
        timer.start()
        start = time.monotonic()
        self.assertTrue(self.a.run(lambda: woken, 10))
        self.assertLess(time.monotonic() - start, 5)
        timer.join()

    def test_config(self):
        with tempfile.TemporaryDirectory() as tmp:
            path = pathlib.Path(tmp) / "config.toml"
            path.write_text("[transport]\nidle_timeout = 7\nidel_timeout = 8\n", encoding="utf-8")
            with local() as ctx:
                warnings = ctx.load_config(path)
                self.assertEqual(len(warnings), 1)
                self.assertIn("did you mean idle_timeout?", warnings[0])
                self.assertEqual(ctx.get("idle_timeout_ms"), 7000)
                path.write_text("[transport]\nidle_timeout = x\n", encoding="utf-8")
                with self.assertRaises(atlas.Error) as caught:
                    ctx.load_config(path)
                self.assertIn("config.toml:2:", caught.exception.text)


if __name__ == "__main__":
    unittest.main()
