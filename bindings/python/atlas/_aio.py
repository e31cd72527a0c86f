"""A context that lives in an asyncio loop."""
import asyncio
import collections
import time

from ._c import Err, Fd
from ._context import Context
from ._discovery import Query
from ._objects import AtlasError, check

_CHUNK = 262144


class AsyncQuery(Query):
    """A look-up to go through with `async for`. That ends early and quietly when nobody has such a
    record, and with AtlasError when nobody could be asked; leaving it ends the look-up."""

    def __init__(self, context, handlers):
        super().__init__(context, handlers)
        self.status, self._records, self._reasons = None, collections.deque(), []

    def found(self, record):
        self._records.append(record)
        self.wake("news")

    def failed(self, from_, text):
        self._reasons.append(f"{from_}: {text}")

    def ended(self, status):
        self.status = status
        self.wake("news")

    def error(self):
        return AtlasError(Err.CLOSED if self.status is None else self.status,
                          text="; ".join(self._reasons) or None)

    async def __aiter__(self):
        try:
            while True:
                while self._records:
                    yield self._records.popleft()
                if self.closed:
                    break
                await self.wait("news")
        finally:
            if not self.closed:
                self.cancel()
        if self.status not in (Err.OK, Err.RECORD_NOT_FOUND):
            raise self.error()


class AsyncLookup(AsyncQuery):
    """A look-up of a peer; `await` gives the newest record that anybody has, or AtlasError."""

    def __await__(self):
        return self._newest().__await__()

    async def _newest(self):
        newest = None
        async for newest in self:
            pass
        if newest is None:
            raise self.error()
        return newest


class AsyncContext(Context):
    """A context that an asyncio loop drives. Make it in a coroutine; use `async with`. What
    lookup() returns can be awaited, what discover() returns be gone through with `async for`."""
    _lookup, _discover = AsyncLookup, AsyncQuery

    def __init__(self, key=None, options=None, *, loop=None, **rest):
        self.loop, self._timer = loop or asyncio.get_running_loop(), None
        super().__init__(key, options, interest=self._watch, timer=self._arm, **rest)

    def _watch(self, fd, events):
        for bit, add, remove in ((Fd.READ, self.loop.add_reader, self.loop.remove_reader),
                                 (Fd.WRITE, self.loop.add_writer, self.loop.remove_writer)):
            if events & bit:
                add(fd, self._drive, [(fd, bit)])
            else:
                remove(fd)

    def _arm(self, deadline):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            delay = max(0, deadline - time.monotonic_ns()) / 1e9
            self._timer = self.loop.call_at(self.loop.time() + delay, self._expired)

    def _expired(self):
        self._timer = None
        self._drive([])
        # Loops may fire early, and then the library has no news about its deadline.
        if self._timer is None and not self.closed:
            self._arm(self.next_deadline)

    def _drive(self, events):
        if not self.closed:
            self.process(events)

    def close(self):
        super().close()
        self._arm(None)

    async def aclose(self, drain=0):
        """Ends gracefully, then frees."""
        if not self.closed:
            done = self.wait("shutdown")
            self.shutdown(drain)
            await done
            self.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        try:
            await self.aclose()
        finally:
            self.close()

    async def connect(self, target, timeout=None, **handlers):
        """A connection that is up; AtlasError with all reasons when the dial fails."""
        conn = self.dial(target, timeout, **handlers)
        try:
            await conn.wait("connected")
        except asyncio.CancelledError:
            if not conn.closed:
                conn.close()
            raise
        return conn

    async def ping(self, conn):
        """The round-trip time in nanoseconds."""
        return await conn.wait(("pong", conn.ping()))

    async def send(self, conn, data):
        """Sends a message; returns when the peer's transport has all of it."""
        check(await conn.wait(("sent", conn.send_message(data))))

    async def read(self, stream, size=65536):
        """At most `size` bytes; b"" at the end of the stream."""
        while True:
            data = stream.read(size)
            if data is not None:
                return data
            await stream.wait("readable")

    async def write(self, stream, data, fin=False):
        """Writes all of it, waiting while the peer does not read."""
        left = memoryview(data)
        while True:
            chunk = left[:_CHUNK]
            taken = stream.write(chunk, fin and len(chunk) == len(left))
            left = left[taken:]
            if not left:
                return
            if taken < len(chunk):
                await stream.wait("writable")

    async def stun(self, servers=(), **options):
        """What the servers answered: a list of StunResult, at least one of them a success."""
        results = []
        probe = self.stun_probe(servers, on_result=lambda _, r: results.append(r), **options)
        check(await probe.wait("done"))
        return results

    async def nat(self, servers=(), **options):
        """What NAT this host is behind: a list of NatEvent, one for each address family."""
        results = []
        probe = self.nat_probe(servers, on_result=lambda _, r: results.append(r), **options)
        check(await probe.wait("done"))
        return results
