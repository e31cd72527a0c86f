"""Errors, values, keys, and what lives in a context: connections, streams, probes."""
import collections
import ctypes
import itertools
import keyword
import os
import weakref
from ctypes import CFUNCTYPE, byref, c_void_p

from . import _c
from ._c import SIZE, U32, U64, Err, load


# ---- errors and values ----

class AtlasError(Exception):
    """A call or an operation failed: code (as in Err), name ("ATLAS_ERR_..."), text, category."""

    def __init__(self, code, name=None, text=None):
        lib = load()
        self.code = int(code)
        self.name = name or lib.error_name(code).decode()
        self.text = text or lib.error_text(code).decode()
        self.category = lib.error_category(code).decode()
        super().__init__(self.code, self.name, self.text)

    def __str__(self):
        return f"{self.text} ({self.name})"


def check(code):
    if code != 0:
        raise AtlasError(code)


def c_text(text):
    if text is None:
        return None
    data = text if isinstance(text, bytes) else text.encode()
    if b"\0" in data:
        raise ValueError("text with a NUL in it")
    return data


def py_text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def c_bytes(data):
    return data if isinstance(data, bytes) else bytes(memoryview(data))


def py_bytes(pointer, size):
    return ctypes.string_at(pointer, size) if size else b""


def milliseconds(seconds):
    """0, which stands for the default, only when it is meant."""
    if seconds is None or seconds == 0:
        return 0
    if seconds < 0:
        raise ValueError("a negative duration")
    return max(1, round(seconds * 1000))


def filled(function, cap, *args):
    """The text that a function writes to its last two arguments."""
    buf = ctypes.create_string_buffer(cap)
    check(function(*args, buf, cap))
    return py_text(buf.value)


def gathered(function, *args):
    """The bytes that a function writes to a buffer, with what it says it needs; there may be a NUL
    behind them."""
    buf, size = None, SIZE()
    while True:
        code = function(*args, buf, 0 if buf is None else len(buf), byref(size))
        if code != Err.BUFFER:
            check(code)
            return b"" if buf is None else buf.raw[:size.value]
        buf = ctypes.create_string_buffer(size.value + 1)


def named(name, struct):
    """The Python side of a structure: without its size and the lengths of its arrays; a word of
    Python's gets an underscore behind it."""
    fields = [field + "_" * keyword.iskeyword(field) for field, _ in struct._fields_
              if field not in ("size", "reserved") and not field.endswith(("_count", "_len"))]
    return collections.namedtuple(name, fields)


TargetInfo = named("TargetInfo", _c.TargetInfo)
PathInfo = named("PathInfo", _c.PathInfo)
UpgradeInfo = named("UpgradeInfo", _c.UpgradeInfo)
ConnStats = named("ConnStats", _c.ConnStats)
RelayEvent = named("RelayEvent", _c.RelayEvent)
RelayStats = named("RelayStats", _c.RelayStats)
StunResult = named("StunResult", _c.StunResult)
NatSeen = named("NatSeen", _c.NatSeen)
NatEvent = named("NatEvent", _c.NatEvent)
Complaint = collections.namedtuple("Complaint", "code file line text")


def copied(record, struct, **given):
    """`given`: the fields that are not numbers or text."""
    return record(*(given[field] if field in given else py_text(getattr(struct, field.rstrip("_")))
                    for field in record._fields))


def fetched(record, struct, function, *args):
    """The record that a function fills."""
    out = struct()
    check(function(*args, byref(out)))
    return copied(record, out)


def version():
    return py_text(load().version())


def parse_target(text):
    return fetched(TargetInfo, _c.TargetInfo, load().target_parse, c_text(text))


def normalize_multiaddr(text):
    return filled(load().multiaddr_normalize, _c.MULTIADDR_MAX, c_text(text))


def normalize_peer_id(text):
    return filled(load().peer_id_normalize, _c.PEER_ID_MAX, c_text(text))


class Key:
    """An Ed25519 key in locked memory: Key.generate(), Key.from_seed(), Key.load()."""

    def __init__(self, pointer):
        self._ptr = pointer

    @classmethod
    def _make(cls, function, *args):
        out = c_void_p()
        check(function(*args, byref(out)))
        return cls(out.value)

    @classmethod
    def generate(cls):
        return cls._make(load().key_generate)

    @classmethod
    def from_seed(cls, seed):
        seed = c_bytes(seed)
        if len(seed) != 32:
            raise ValueError("a seed has 32 bytes")
        return cls._make(load().key_from_seed, seed)

    @classmethod
    def load(cls, path):
        return cls._make(load().key_load, c_text(os.fsencode(path)))

    @property
    def handle(self):
        if self._ptr is None:
            raise AtlasError(Err.CLOSED, text="the key is closed")
        return self._ptr

    def save(self, path):
        check(load().key_save(self.handle, c_text(os.fsencode(path))))

    @property
    def public(self):
        buf = ctypes.create_string_buffer(32)
        load().key_public(self.handle, buf)
        return buf.raw

    @property
    def peer_id(self):
        return filled(load().key_peer_id, _c.PEER_ID_MAX, self.handle)

    def close(self):
        """Wipes and frees the key. A context that was made with it has its own copy."""
        pointer, self._ptr = self._ptr, None
        if pointer is not None:
            load().key_free(pointer)

    __del__ = close

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


# ---- from C to Python ----

# C's callbacks are made once; `user` is a number that says whom they are for. What is gone by then
# is not called, so a late callback cannot meet a freed object.
_live = weakref.WeakValueDictionary()
_tokens = itertools.count(1)


@CFUNCTYPE(None, ctypes.py_object)
def _report(error):
    raise error  # ctypes hands it to sys.unraisablehook


def entry(functype, failed=None):
    """A C callback out of a function of the object that `user` means. `failed` is what C gets when
    that raises: a value, or a function that makes one."""
    def wrap(function):
        def call(user, *args):
            target = _live.get(user)
            try:
                if target is not None:
                    return function(target, *args)
            except Exception as error:
                _report(error)
            except BaseException as error:  # KeyboardInterrupt: out of the drive call
                target.context.interrupt = error
            return failed() if callable(failed) else failed
        return functype(call)
    return wrap


def entries(struct, functions, failed=None):
    types = dict(struct._fields_)
    failed = failed or {}
    return {name: entry(types[name], failed.get(name))(function)
            for name, function in functions.items()}


class Object:
    """Something with handlers and a handle of the library's."""
    EVENTS = ()

    def __init__(self, handlers):
        self._ptr, self.token, self._waiters = None, next(_tokens), {}
        for name, handler in handlers.items():
            if name not in self.EVENTS:
                raise TypeError(f"{type(self).__name__} has no event {name!r}")
            setattr(self, name, handler)
        _live[self.token] = self

    @property
    def closed(self):
        return self._ptr is None

    @property
    def handle(self):
        if self._ptr is None:
            raise AtlasError(Err.CLOSED, text=f"this {type(self).__name__} has ended; its handle is "
                                              "no longer valid")
        return self._ptr

    def emit(self, name, *args):
        handler = getattr(self, name)
        if handler is not None:
            handler(self, *args)

    # Futures of AsyncContext.
    def wait(self, what):
        future = self.context.loop.create_future()
        self._waiters.setdefault(what, []).append(future)
        return future

    def wake(self, what, value=None):
        for future in self._waiters.pop(what, ()):
            if not future.done():
                future.set_result(value)

    def fail(self, error):
        waiting, self._waiters = self._waiters, {}
        for future in itertools.chain.from_iterable(waiting.values()):
            if not future.done():
                future.set_exception(error)


class Child(Object):
    """What the library owns until the final event; the context keeps it alive until then."""

    def __init__(self, context, handlers):
        self.context = context
        super().__init__(handlers)

    def start(self, function, *args):
        """A call that makes the handle. Its events come later, from a drive call."""
        out = c_void_p()
        check(function(*args, self.token, byref(out)))
        self.keep(out.value)

    def keep(self, pointer):
        self._ptr = pointer
        self.context.children[self.token] = self

    def end(self):
        self._ptr = None
        self.context.children.pop(self.token, None)
        self.fail(AtlasError(Err.CLOSED))

    def finish(self, name, error, *args):
        """The final event."""
        self.fail(error)
        try:
            self.emit(name, *args)
        finally:
            self.end()


# ---- streams ----

class Stream(Child):
    """A stream. Handlers: on_readable(stream), on_writable(stream), on_acked(stream),
    on_closed(stream, code, app_code)."""
    EVENTS = ("on_readable", "on_writable", "on_acked", "on_closed")
    on_readable = on_writable = on_acked = on_closed = None

    def __init__(self, conn, handlers):
        super().__init__(conn.context, handlers)
        self.conn, self.eof = conn, False

    def keep(self, pointer):
        super().keep(pointer)
        self.id = load().stream_id(pointer)

    def write(self, data, fin=False):
        """How many bytes were taken: fewer than offered when the peer does not read; on_writable
        follows. `fin` takes effect only when all were."""
        data, taken = c_bytes(data), SIZE()
        check(load().stream_write(self.handle, data, len(data), bool(fin), byref(taken)))
        return taken.value

    def read(self, size=65536):
        """At most `size` bytes; b"" at the end of the stream, None when nothing is there yet."""
        if self.eof:
            return b""
        buf, got, fin = ctypes.create_string_buffer(size), SIZE(), U32()
        code = load().stream_read(self.handle, buf, size, byref(got), byref(fin))
        if code == Err.AGAIN:
            return None
        check(code)
        self.eof = bool(fin.value)
        return ctypes.string_at(buf, got.value)

    def peek(self):
        """A copy of unread bytes that lie together, left unread; b"" and None as in read()."""
        if self.eof:
            return b""
        data, got, fin = c_void_p(), SIZE(), U32()
        code = load().stream_peek(self.handle, byref(data), byref(got), byref(fin))
        if code == Err.AGAIN:
            return None
        check(code)
        return py_bytes(data.value, got.value)

    def consume(self, size):
        """Takes bytes that peek() showed."""
        check(load().stream_consume(self.handle, size))

    def reset(self, app_code=0):
        check(load().stream_reset(self.handle, app_code))


def _stream_event(what):
    def call(stream, _):
        stream.wake(what)
        stream.emit("on_" + what)
    return call


def _stream_closed(stream, _, code, app_code):
    stream.finish("on_closed", AtlasError(code or Err.CLOSED), code, app_code)


_STREAM_TABLE = _c.StreamCallbacks(**entries(_c.StreamCallbacks, {
    **{"on_" + what: _stream_event(what) for what in ("readable", "writable", "acked")},
    "on_closed": _stream_closed}))


# ---- connections ----

class Connection(Child):
    """A connection to a peer. Handlers: on_connected(conn), on_path(conn, PathInfo, reason),
    on_attempt(conn, addr, code, text), on_stream(conn, stream), on_message(conn, data),
    on_message_sent(conn, id, code), on_datagram(conn, data), on_pong(conn, id, rtt_ns, path_kind),
    on_upgrade(conn, UpgradeInfo), on_closed(conn, code, app_code, text). Without on_stream the
    peer's streams are refused."""
    EVENTS = tuple(name for name, _ in _c.ConnCallbacks._fields_[1:])
    on_connected = on_path = on_attempt = on_stream = on_message = on_message_sent = None
    on_datagram = on_pong = on_closed = on_upgrade = None

    def keep(self, pointer):
        super().keep(pointer)
        self.peer_id = py_text(load().conn_peer_id(pointer))
        self.is_dialer = bool(load().conn_is_dialer(pointer))

    def path(self):
        return fetched(PathInfo, _c.PathInfo, load().conn_get_path, self.handle)

    def stats(self):
        return fetched(ConnStats, _c.ConnStats, load().conn_get_stats, self.handle)

    def close(self, app_code=0, reason=None):
        check(load().conn_close(self.handle, app_code, c_text(reason)))

    def disconnect(self, reason=None):
        check(load().conn_disconnect(self.handle, c_text(reason)))

    def ping(self):
        """Its number, for on_pong."""
        number = U64()
        check(load().conn_ping(self.handle, byref(number)))
        return number.value

    def send_message(self, data):
        """Its number, for on_message_sent."""
        data, number = c_bytes(data), U64()
        check(load().conn_send_message(self.handle, data, len(data), byref(number)))
        return number.value

    def send_datagram(self, data):
        data = c_bytes(data)
        check(load().conn_send_datagram(self.handle, data, len(data)))

    @property
    def max_datagram(self):
        return load().conn_max_datagram(self.handle)

    def open_stream(self, uni=False, **handlers):
        stream = Stream(self, handlers)
        stream.start(load().stream_open, self.handle, bool(uni), byref(_STREAM_TABLE))
        return stream


def _conn_connected(conn, _):
    conn.wake("connected")
    conn.emit("on_connected")


def _conn_stream(conn, _, pointer):
    if conn.on_stream is None:
        return
    stream = Stream(conn, {})
    check(load().stream_set_callbacks(pointer, byref(_STREAM_TABLE), stream.token))
    stream.keep(pointer)
    conn.emit("on_stream", stream)


def _conn_sent(conn, _, number, code):
    conn.wake(("sent", number), code)
    conn.emit("on_message_sent", number, code)


def _conn_pong(conn, _, number, rtt_ns, kind):
    conn.wake(("pong", number), rtt_ns)
    conn.emit("on_pong", number, rtt_ns, kind)


def _conn_closed(conn, _, code, app_code, text):
    text = py_text(text)
    conn.finish("on_closed", AtlasError(code or Err.CLOSED, text=text), code, app_code, text)


CONN_TABLE = _c.ConnCallbacks(**entries(_c.ConnCallbacks, {
    "on_connected": _conn_connected, "on_stream": _conn_stream, "on_message_sent": _conn_sent,
    "on_pong": _conn_pong, "on_closed": _conn_closed,
    "on_path": lambda conn, _, path, reason:
        conn.emit("on_path", copied(PathInfo, path.contents), py_text(reason)),
    "on_upgrade": lambda conn, _, info:
        conn.emit("on_upgrade", copied(UpgradeInfo, info.contents)),
    "on_attempt": lambda conn, _, addr, code, text:
        conn.emit("on_attempt", py_text(addr), code, py_text(text)),
    "on_message": lambda conn, _, data, size: conn.emit("on_message", py_bytes(data, size)),
    "on_datagram": lambda conn, _, data, size: conn.emit("on_datagram", py_bytes(data, size))}))


# ---- STUN probes ----

class Probe(Child):
    """A running STUN probe. Handlers: on_result(probe, StunResult), on_done(probe, status)."""
    EVENTS = ("on_result", "on_done")
    on_result = on_done = None

    def cancel(self):
        check(load().stun_cancel(self.handle))


@entry(_c.StunCb)
def stun_event(probe, _, result, status):
    if result:
        probe.emit("on_result", copied(StunResult, result.contents))
        return
    probe.wake("done", status)
    probe.finish("on_done", AtlasError(status or Err.CLOSED), status)


# ---- NAT probes ----

class NatProbe(Child):
    """A running NAT probe. Handlers: on_progress(probe, NatEvent), on_result(probe, NatEvent) once
    for each address family, on_done(probe, status)."""
    EVENTS = ("on_progress", "on_result", "on_done")
    on_progress = on_result = on_done = None

    def cancel(self):
        check(load().nat_cancel(self.handle))


def _nat_event(event):
    return copied(NatEvent, event, seen=tuple(
        copied(NatSeen, event.seen[i]) for i in range(event.seen_count)))


@entry(_c.NatCb)
def nat_event(probe, _, event, status):
    if event:
        name = "on_result" if event.contents.what == _c.NatWhat.RESULT else "on_progress"
        probe.emit(name, _nat_event(event.contents))
        return
    probe.wake("done", status)
    probe.finish("on_done", AtlasError(status or Err.CLOSED), status)
