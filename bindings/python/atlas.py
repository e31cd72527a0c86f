"""libatlas for Python: a connection to a peer by its public key, wherever that peer is.

    import atlas

    with atlas.Context() as ctx:
        conn = ctx.dial("/ip4/192.0.2.1/udp/4001/quic-v1/p2p/12D3KooW...")
        conn.wait_connected()
        conn.send(b"hello").wait()

The library owns no thread: nothing happens but inside Context.run(), or one of the wait methods, which call it.
Callbacks are plain functions given as arguments or set as attributes; they are called from inside run(). An
exception in one of them comes out of run(). One thread at a time per context; wakeup() alone may be called from any.

The shared library is found as $ATLAS_LIBRARY, or libatlas.so.0.
"""
import ctypes
import os
import select
import time
from ctypes import POINTER, byref, c_char, c_char_p, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

PATHS = {0: "none", 1: "direct", 2: "relay"}
RELAY_STATES = {0: "idle", 1: "connecting", 2: "connected", 3: "announced", 4: "lost", 5: "replaced", 6: "drains"}
OPTIONS = {
    "port": 1, "ipv4": 2, "ipv6": 3, "enable_relay": 4, "offer_relay": 5, "idle_timeout_ms": 6,
    "max_connections": 7, "max_streams": 8, "max_message_size": 9, "stream_buffer": 10, "handshake_limit": 11,
    "max_clock_drift_s": 12, "presence_interval_ms": 13, "handshake_timeout_ms": 14, "stun_timeout_ms": 15,
    "relay_bandwidth": 16, "relay_total_bandwidth": 17, "relay_max_nodes": 18, "relay_max_circuits": 19,
    "relay_max_circuits_per_node": 20, "relay_max_per_ipv4": 21, "relay_max_per_ipv6_64": 22,
    "relay_handshakes": 23, "stun_server": 24, "gso": 25, "relay_delay_ms": 26, "stun_rate": 27,
}
TEXT_OPTIONS = {"bind4": 100, "bind6": 101}

_PEER_ID_MAX = 64
_ADDR_MAX = 80
_MULTIADDR_MAX = 640
_AGAIN = -5
_TIMEOUT = -6
_CLOSED = -8
_NOT_FOUND = -11
_READ, _WRITE, _ERROR = 1, 2, 4
_NO_DEADLINE = 2**64 - 1


class Error(Exception):
    """A negative code of the library. `name` is its name ("ATLAS_ERR_TIMEOUT"), `category` what it belongs to."""

    def __init__(self, code, text=""):
        self.code = code
        self.name = _lib.atlas_error_name(code).decode()
        self.category = _lib.atlas_error_category(code).decode()
        self.text = text or _lib.atlas_error_text(code).decode()
        super().__init__(f"{self.name}: {self.text}")


# ---- the C interface ----

class _Sized(ctypes.Structure):
    """A struct that begins with its size."""

    def __init__(self, **fields):
        super().__init__(size=ctypes.sizeof(type(self)), **fields)


_ON_RESULT = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_int32)
_LOG = ctypes.CFUNCTYPE(None, c_void_p, c_int32, c_char_p)
_ON_COMPLAINT = ctypes.CFUNCTYPE(None, c_void_p, c_int32, c_char_p, c_uint32, c_char_p)
_CTX_EVENT = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)
_CTX_EVENT_PTR = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)
_EVENT = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)
_EVENT_PTR = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)
_EVENT_PATH = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_char_p)
_EVENT_ATTEMPT = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_char_p, c_int32, c_char_p)
_EVENT_DATA = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_size_t)
_EVENT_SENT = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_uint64, c_int32)
_EVENT_PONG = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_uint64, c_uint64, c_uint32)
_EVENT_CLOSED = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int32, c_uint64, c_char_p)
_STREAM_CLOSED = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int32, c_uint64)


class _Hooks(_Sized):
    _fields_ = [("size", c_uint64), ("user", c_void_p), ("interest", c_void_p), ("timer", c_void_p),
                ("now", c_void_p), ("wall", c_void_p), ("malloc", c_void_p), ("realloc", c_void_p),
                ("free", c_void_p), ("random", c_void_p), ("log", _LOG)]


class _FdEvent(ctypes.Structure):
    _fields_ = [("fd", c_int32), ("events", c_uint32)]


class _Callbacks(_Sized):
    _fields_ = [("size", c_uint64), ("user", c_void_p), ("on_connection", _CTX_EVENT_PTR),
                ("on_relay", _CTX_EVENT_PTR), ("on_shutdown", _CTX_EVENT), ("on_wakeup", _CTX_EVENT)]


class _RelayEvent(_Sized):
    _fields_ = [("size", c_uint64), ("state", c_uint32), ("code", c_int32), ("rtt_ns", c_uint64),
                ("retry_ns", c_uint64), ("expires_ns", c_uint64), ("bandwidth", c_uint64), ("addr", c_char_p),
                ("relay", c_char_p), ("observed", c_char_p), ("text", c_char_p)]


class _PathInfo(_Sized):
    _fields_ = [("size", c_uint64), ("kind", c_uint32), ("mtu", c_uint32), ("rtt_ns", c_uint64),
                ("local", c_char * _ADDR_MAX), ("remote", c_char * _ADDR_MAX), ("relay", c_char * _PEER_ID_MAX)]


class _ConnCallbacks(_Sized):
    _fields_ = [("size", c_uint64), ("on_connected", _EVENT), ("on_path", _EVENT_PATH),
                ("on_attempt", _EVENT_ATTEMPT), ("on_stream", _EVENT_PTR), ("on_message", _EVENT_DATA),
                ("on_message_sent", _EVENT_SENT), ("on_datagram", _EVENT_DATA), ("on_pong", _EVENT_PONG),
                ("on_closed", _EVENT_CLOSED)]


class _StreamCallbacks(_Sized):
    _fields_ = [("size", c_uint64), ("on_readable", _EVENT), ("on_writable", _EVENT), ("on_acked", _EVENT),
                ("on_closed", _STREAM_CLOSED)]


class _StunResult(_Sized):
    _fields_ = [("size", c_uint64), ("code", c_int32), ("stun_code", c_int32), ("rtt_ns", c_uint64),
                ("transmissions", c_uint32), ("index", c_uint32), ("server", c_char_p), ("server_addr", c_char_p),
                ("reflexive", c_char_p), ("local", c_char_p), ("text", c_char_p)]


class _StunOptions(_Sized):
    _fields_ = [("size", c_uint64), ("timeout_ms", c_uint64), ("username", c_char_p), ("password", c_char_p),
                ("integrity", c_uint32), ("reserved", c_uint32)]


_PROTOTYPES = {
    "atlas_version": (c_char_p,),
    "atlas_error_name": (c_char_p, c_int32),
    "atlas_error_category": (c_char_p, c_int32),
    "atlas_error_text": (c_char_p, c_int32),
    "atlas_key_generate": (c_int32, POINTER(c_void_p)),
    "atlas_key_from_seed": (c_int32, c_char_p, POINTER(c_void_p)),
    "atlas_key_load": (c_int32, c_char_p, POINTER(c_void_p)),
    "atlas_key_save": (c_int32, c_void_p, c_char_p),
    "atlas_key_free": (None, c_void_p),
    "atlas_key_peer_id": (c_int32, c_void_p, c_char_p, c_size_t),
    "atlas_new": (c_int32, POINTER(_Hooks), c_void_p, POINTER(c_void_p)),
    "atlas_free": (c_int32, c_void_p),
    "atlas_shutdown": (c_int32, c_void_p, c_uint64),
    "atlas_process": (c_int32, c_void_p, POINTER(_FdEvent), c_size_t),
    "atlas_next_deadline": (c_uint64, c_void_p),
    "atlas_now": (c_uint64, c_void_p),
    "atlas_fds": (c_size_t, c_void_p, POINTER(_FdEvent), c_size_t),
    "atlas_wakeup": (c_int32, c_void_p),
    "atlas_set_u64": (c_int32, c_void_p, c_uint32, c_uint64),
    "atlas_set_str": (c_int32, c_void_p, c_uint32, c_char_p),
    "atlas_get_u64": (c_int32, c_void_p, c_uint32, POINTER(c_uint64)),
    "atlas_self_id": (c_char_p, c_void_p),
    "atlas_open": (c_int32, c_void_p),
    "atlas_local_addr": (c_int32, c_void_p, c_uint32, c_char_p, c_size_t),
    "atlas_set_callbacks": (c_int32, c_void_p, POINTER(_Callbacks)),
    "atlas_config_parse": (c_int32, c_void_p, c_char_p, c_size_t, c_char_p, _ON_COMPLAINT, c_void_p),
    "atlas_config_load": (c_int32, c_void_p, c_char_p, _ON_COMPLAINT, c_void_p),
    "atlas_dial": (c_int32, c_void_p, c_char_p, c_uint64, POINTER(_ConnCallbacks), c_void_p, POINTER(c_void_p)),
    "atlas_peer_add_addr": (c_int32, c_void_p, c_char_p, c_char_p),
    "atlas_listen": (c_int32, c_void_p),
    "atlas_conn_set_callbacks": (c_int32, c_void_p, POINTER(_ConnCallbacks), c_void_p),
    "atlas_conn_peer_id": (c_char_p, c_void_p),
    "atlas_conn_is_dialer": (c_uint32, c_void_p),
    "atlas_conn_get_path": (c_int32, c_void_p, POINTER(_PathInfo)),
    "atlas_conn_close": (c_int32, c_void_p, c_uint64, c_char_p),
    "atlas_conn_disconnect": (c_int32, c_void_p, c_char_p),
    "atlas_conn_ping": (c_int32, c_void_p, POINTER(c_uint64)),
    "atlas_conn_send_message": (c_int32, c_void_p, c_char_p, c_size_t, POINTER(c_uint64)),
    "atlas_conn_send_datagram": (c_int32, c_void_p, c_char_p, c_size_t),
    "atlas_conn_max_datagram": (c_size_t, c_void_p),
    "atlas_stream_open": (c_int32, c_void_p, c_uint32, POINTER(_StreamCallbacks), c_void_p, POINTER(c_void_p)),
    "atlas_stream_set_callbacks": (c_int32, c_void_p, POINTER(_StreamCallbacks), c_void_p),
    "atlas_stream_id": (c_int64, c_void_p),
    "atlas_stream_write": (c_int32, c_void_p, c_char_p, c_size_t, c_uint32, POINTER(c_size_t)),
    "atlas_stream_read": (c_int32, c_void_p, c_void_p, c_size_t, POINTER(c_size_t), POINTER(c_uint32)),
    "atlas_stream_reset": (c_int32, c_void_p, c_uint64),
    "atlas_relay_add": (c_int32, c_void_p, c_char_p),
    "atlas_relay_presence": (c_int32, c_void_p, c_uint32),
    "atlas_relay_start": (c_int32, c_void_p),
    "atlas_stun_probe": (c_int32, c_void_p, POINTER(c_char_p), c_size_t, POINTER(_StunOptions), _ON_RESULT,
                         c_void_p, POINTER(c_void_p)),
}


def _load():
    lib = ctypes.CDLL(os.environ.get("ATLAS_LIBRARY", "libatlas.so.0"))
    for name, (result, *arguments) in _PROTOTYPES.items():
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = arguments
    return lib


_lib = _load()


def _check(code, text=""):
    if code != 0:
        raise Error(code, text)


def _text(value):
    return value.decode("utf-8", "replace") if value else ""


def version():
    return _lib.atlas_version().decode()


# ---- keys ----

class Key:
    """An Ed25519 node key."""

    def __init__(self, handle):
        self._handle = handle

    @classmethod
    def _make(cls, function, *args):
        handle = c_void_p()
        _check(function(*args, byref(handle)))
        return cls(handle)

    @classmethod
    def generate(cls):
        return cls._make(_lib.atlas_key_generate)

    @classmethod
    def from_seed(cls, seed):
        if len(seed) != 32:
            raise ValueError("a seed has 32 bytes")
        return cls._make(_lib.atlas_key_from_seed, bytes(seed))

    @classmethod
    def load(cls, path):
        return cls._make(_lib.atlas_key_load, os.fsencode(path))

    def save(self, path):
        _check(_lib.atlas_key_save(self._handle, os.fsencode(path)))

    @property
    def peer_id(self):
        buf = ctypes.create_string_buffer(_PEER_ID_MAX)
        _check(_lib.atlas_key_peer_id(self._handle, buf, len(buf)))
        return buf.value.decode()

    def __del__(self):
        if getattr(self, "_handle", None):
            _lib.atlas_key_free(self._handle)
            self._handle = None


# ---- what events carry ----

class _Record:
    """Named values."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"


class Path(_Record):
    """kind ("direct", "relay", "none"), mtu, rtt (seconds), local, remote, relay."""

    @classmethod
    def _of(cls, info):
        return cls(kind=PATHS[info.kind], mtu=info.mtu, rtt=info.rtt_ns / 1e9, local=_text(info.local),
                   remote=_text(info.remote), relay=_text(info.relay))


class Relay(_Record):
    """state, code, rtt (seconds), retry (seconds), bandwidth, addr, relay (its peer id), observed, text."""


class StunResult(_Record):
    """code (0: there is an address), rtt (seconds), server, reflexive, local, text."""


class Sent:
    """A message on its way."""

    def __init__(self, ctx):
        self._ctx = ctx
        self.code = None  # 0 when the peer's transport has all of it

    def wait(self, timeout=15.0):
        self._ctx.run(lambda: self.code is not None, timeout)
        _check(self.code)


class Stream:
    """A stream of a connection. Callbacks: on_readable(stream), on_writable(stream), on_acked(stream),
    on_closed(stream, code, app_code)."""

    def __init__(self, conn):
        self.conn = conn
        self.closed = None  # the code of its end
        self.finished = False  # the peer's last byte was read
        self.on_readable = self.on_writable = self.on_acked = self.on_closed = None
        self._handle = None

    def _live(self):
        if self._handle is None:
            raise Error(_CLOSED)
        return self._handle

    @property
    def id(self):
        return _lib.atlas_stream_id(self._live())

    def write(self, data, fin=False):
        """Gives the library what it takes now; returns how many bytes that were."""
        taken = c_size_t()
        _check(_lib.atlas_stream_write(self._live(), bytes(data), len(data), int(fin), byref(taken)))
        return taken.value

    def write_all(self, data, fin=False, timeout=15.0):
        """Runs the context until everything was taken. Not for callbacks."""
        view = memoryview(bytes(data))
        end = time.monotonic() + timeout
        while True:
            taken = self.write(view[:1 << 20], fin and len(view) <= 1 << 20)
            view = view[taken:]
            if not view:
                return
            if taken == 0:
                if time.monotonic() > end:
                    raise Error(_TIMEOUT)
                self.conn._ctx.run(None, 0.05)

    def read(self, size=65536):
        """What is there, at most `size` bytes; b"" when nothing is there now, or at the end (`finished`)."""
        buf = ctypes.create_string_buffer(size)
        length = c_size_t()
        fin = c_uint32()
        code = _lib.atlas_stream_read(self._live(), buf, size, byref(length), byref(fin))
        if code == _AGAIN:
            return b""
        _check(code)
        self.finished = bool(fin.value)
        return buf.raw[:length.value]

    def read_all(self, timeout=15.0):
        """Runs the context until the stream's end. Not for callbacks."""
        parts = []
        end = time.monotonic() + timeout
        while not self.finished:
            part = self.read()
            parts.append(part)
            if not part and not self.finished:
                if time.monotonic() > end:
                    raise Error(_TIMEOUT)
                self.conn._ctx.run(None, 0.05)
        return b"".join(parts)

    def reset(self, app_code=0):
        _check(_lib.atlas_stream_reset(self._live(), app_code))


class Connection:
    """A connection to a peer. Callbacks, each with the connection first: on_connected(conn), on_path(conn, path,
    reason), on_attempt(conn, addr, code, text), on_stream(conn, stream), on_message(conn, data), on_datagram(conn,
    data), on_pong(conn, number, rtt, path_kind), on_closed(conn, code, app_code, text)."""

    _EVENTS = ("on_connected", "on_path", "on_attempt", "on_stream", "on_message", "on_datagram", "on_pong",
               "on_closed")

    def __init__(self, ctx, handle, callbacks):
        self._ctx = ctx
        self._handle = handle
        self._sent = {}
        self.connected = False
        self.closed = None  # the code of its end
        self.closed_text = ""
        self.peer_id = ""
        for name in self._EVENTS:
            setattr(self, name, callbacks.pop(name, None))
        if callbacks:
            raise TypeError(f"unknown callbacks: {', '.join(callbacks)}")

    def _live(self):
        if self._handle is None:
            raise Error(_CLOSED)
        return self._handle

    def wait_connected(self, timeout=20.0):
        self._ctx.run(lambda: self.connected or self.closed is not None, timeout)
        if not self.connected:
            raise Error(self.closed if self.closed is not None else _TIMEOUT, self.closed_text)
        return self

    def wait_closed(self, timeout=20.0):
        self._ctx.run(lambda: self.closed is not None, timeout)
        if self.closed is None:
            raise Error(_TIMEOUT)
        return self.closed

    @property
    def is_dialer(self):
        return bool(_lib.atlas_conn_is_dialer(self._live()))

    @property
    def path(self):
        info = _PathInfo()
        _check(_lib.atlas_conn_get_path(self._live(), byref(info)))
        return Path._of(info)

    @property
    def max_datagram(self):
        return _lib.atlas_conn_max_datagram(self._live())

    def send(self, data):
        """Sends a message; the Sent that is returned knows when the peer has it."""
        number = c_uint64()
        _check(_lib.atlas_conn_send_message(self._live(), bytes(data), len(data), byref(number)))
        sent = self._sent[number.value] = Sent(self._ctx)
        return sent

    def send_datagram(self, data):
        _check(_lib.atlas_conn_send_datagram(self._live(), bytes(data), len(data)))

    def ping(self):
        """Returns the number that on_pong will get."""
        number = c_uint64()
        _check(_lib.atlas_conn_ping(self._live(), byref(number)))
        return number.value

    def open_stream(self, unidirectional=False):
        stream = Stream(self)
        handle = c_void_p()
        _check(_lib.atlas_stream_open(self._live(), int(unidirectional), byref(self._ctx._stream_table), None,
                                      byref(handle)))
        return self._ctx._keep_stream(stream, handle.value)

    def disconnect(self, reason=""):
        _check(_lib.atlas_conn_disconnect(self._live(), reason.encode()))

    def close(self, app_code=0, reason=""):
        if self._handle is not None:
            _check(_lib.atlas_conn_close(self._handle, app_code, reason.encode()))


class Context:
    """A node. `key` None: a fresh identity. Callbacks: on_connection(conn), on_relay(relay), on_wakeup(),
    log(level, text)."""

    def __init__(self, key=None, on_connection=None, on_relay=None, on_wakeup=None, log=None, **options):
        self._handle = None
        self._conns = {}
        self._streams = {}
        self._probes = {}
        self._next_probe = 1
        self._error = None
        self._shut = False
        self.on_connection = on_connection
        self.on_relay = on_relay
        self.on_wakeup = on_wakeup
        self._make_tables(log)
        handle = c_void_p()
        _check(_lib.atlas_new(byref(self._hooks), key._handle if key else None, byref(handle)))
        self._handle = handle
        _check(_lib.atlas_set_callbacks(handle, byref(self._table)))
        for name, value in options.items():
            self.set(name, value)

    def _make_tables(self, log):
        """The tables of C callbacks, which must live as long as the context."""
        guard = self._guard
        self._hooks = _Hooks(log=_LOG(lambda user, level, text: guard(log, level, _text(text)) if log else None))
        self._table = _Callbacks(
            on_connection=_CTX_EVENT_PTR(lambda user, ctx, conn: guard(self._accept, conn)),
            on_relay=_CTX_EVENT_PTR(lambda user, ctx, event: guard(self._relay_event, event)),
            on_shutdown=_CTX_EVENT(lambda user, ctx: setattr(self, "_shut", True)),
            on_wakeup=_CTX_EVENT(lambda user, ctx: guard(self.on_wakeup) if self.on_wakeup else None))
        self._conn_table = _ConnCallbacks(
            on_connected=_EVENT(lambda user, conn: guard(self._connected, conn)),
            on_path=_EVENT_PATH(lambda user, conn, path, reason: guard(
                self._conn_event, conn, "on_path",
                Path._of(ctypes.cast(path, POINTER(_PathInfo)).contents), _text(reason))),
            on_attempt=_EVENT_ATTEMPT(lambda user, conn, addr, code, text: guard(
                self._conn_event, conn, "on_attempt", _text(addr), code, _text(text))),
            on_stream=_EVENT_PTR(lambda user, conn, stream: guard(self._incoming_stream, conn, stream)),
            on_message=_EVENT_DATA(lambda user, conn, data, size: guard(
                self._conn_event, conn, "on_message", ctypes.string_at(data, size) if size else b"")),
            on_message_sent=_EVENT_SENT(lambda user, conn, number, code: guard(
                self._message_sent, conn, number, code)),
            on_datagram=_EVENT_DATA(lambda user, conn, data, size: guard(
                self._conn_event, conn, "on_datagram", ctypes.string_at(data, size) if size else b"")),
            on_pong=_EVENT_PONG(lambda user, conn, number, rtt, kind: guard(
                self._conn_event, conn, "on_pong", number, rtt / 1e9, PATHS[kind])),
            on_closed=_EVENT_CLOSED(lambda user, conn, code, app_code, text: guard(
                self._conn_closed, conn, code, app_code, _text(text))))
        self._stream_table = _StreamCallbacks(
            on_readable=_EVENT(lambda user, stream: guard(self._stream_event, stream, "on_readable")),
            on_writable=_EVENT(lambda user, stream: guard(self._stream_event, stream, "on_writable")),
            on_acked=_EVENT(lambda user, stream: guard(self._stream_event, stream, "on_acked")),
            on_closed=_STREAM_CLOSED(lambda user, stream, code, app_code: guard(
                self._stream_closed, stream, code, app_code)))
        self._on_result = _ON_RESULT(lambda user, probe, result, status: guard(
            self._stun_result, user, result, status))

    # -- events --

    def _guard(self, function, *args):
        """Exceptions do not pass through C: the first one is raised by run()."""
        try:
            function(*args)
        except BaseException as error:  # pylint: disable=broad-except
            self._error = self._error or error

    def _keep_conn(self, handle, callbacks):
        conn = self._conns[handle] = Connection(self, handle, callbacks)
        conn.peer_id = _text(_lib.atlas_conn_peer_id(handle))
        return conn

    def _keep_stream(self, stream, handle):
        stream._handle = handle
        self._streams[handle] = stream
        return stream

    def _accept(self, handle):
        if self.on_connection is None:
            return  # without callbacks it is refused
        conn = self._keep_conn(handle, {})
        conn.connected = True
        _check(_lib.atlas_conn_set_callbacks(handle, byref(self._conn_table), None))
        self.on_connection(conn)

    def _relay_event(self, pointer):
        event = ctypes.cast(pointer, POINTER(_RelayEvent)).contents
        if self.on_relay:
            self.on_relay(Relay(state=RELAY_STATES[event.state], code=event.code, rtt=event.rtt_ns / 1e9,
                                retry=event.retry_ns / 1e9, bandwidth=event.bandwidth, addr=_text(event.addr),
                                relay=_text(event.relay), observed=_text(event.observed), text=_text(event.text)))

    def _conn_event(self, handle, name, *args):
        conn = self._conns.get(handle)
        callback = getattr(conn, name, None)
        if callback:
            callback(conn, *args)

    def _connected(self, handle):
        self._conns[handle].connected = True
        self._conn_event(handle, "on_connected")

    def _message_sent(self, handle, number, code):
        conn = self._conns.get(handle)
        sent = conn._sent.pop(number, None) if conn else None
        if sent:
            sent.code = code

    def _conn_closed(self, handle, code, app_code, text):
        conn = self._conns.pop(handle, None)
        if conn is None:
            return
        conn._handle = None
        conn.closed = code
        conn.closed_text = text
        for sent in conn._sent.values():
            sent.code = code or _CLOSED
        conn._sent.clear()
        if conn.on_closed:
            conn.on_closed(conn, code, app_code, text)

    def _incoming_stream(self, handle, stream_handle):
        conn = self._conns[handle]
        if conn.on_stream is None:
            return  # without callbacks it is reset
        stream = self._keep_stream(Stream(conn), stream_handle)
        _check(_lib.atlas_stream_set_callbacks(stream_handle, byref(self._stream_table), None))
        conn.on_stream(conn, stream)

    def _stream_event(self, handle, name):
        stream = self._streams.get(handle)
        callback = getattr(stream, name, None)
        if callback:
            callback(stream)

    def _stream_closed(self, handle, code, app_code):
        stream = self._streams.pop(handle, None)
        if stream is None:
            return
        stream._handle = None
        stream.closed = code
        if stream.on_closed:
            stream.on_closed(stream, code, app_code)

    def _stun_result(self, number, pointer, status):
        probe = self._probes[number]
        if not pointer:
            probe["status"] = status
            del self._probes[number]
            return
        r = ctypes.cast(pointer, POINTER(_StunResult)).contents
        result = StunResult(code=r.code, rtt=r.rtt_ns / 1e9, server=_text(r.server), reflexive=_text(r.reflexive),
                            local=_text(r.local), text=_text(r.text))
        probe["results"].append(result)

    # -- what a node does --

    def _live(self):
        if self._handle is None:
            raise Error(_CLOSED)
        return self._handle

    def set(self, name, value):
        """Sets an option by the name in OPTIONS or TEXT_OPTIONS."""
        if name in TEXT_OPTIONS:
            _check(_lib.atlas_set_str(self._live(), TEXT_OPTIONS[name], value.encode()))
        else:
            _check(_lib.atlas_set_u64(self._live(), OPTIONS[name], int(value)))

    def get(self, name):
        value = c_uint64()
        _check(_lib.atlas_get_u64(self._live(), OPTIONS[name], byref(value)))
        return value.value

    def load_config(self, path):
        """Applies a configuration file; returns its warnings. An error's text has all complaints."""
        complaints = []
        callback = _ON_COMPLAINT(lambda user, code, file, line, text: complaints.append(_text(text)))
        _check(_lib.atlas_config_load(self._live(), os.fsencode(path), callback, None), "\n".join(complaints))
        return complaints

    @property
    def peer_id(self):
        return _text(_lib.atlas_self_id(self._live()))

    def open(self):
        _check(_lib.atlas_open(self._live()))
        return self

    @property
    def addresses(self):
        """The node's own multiaddrs; it opens the sockets."""
        self.open()
        found = []
        buf = ctypes.create_string_buffer(_MULTIADDR_MAX)
        while True:
            code = _lib.atlas_local_addr(self._live(), len(found), buf, len(buf))
            if code == _NOT_FOUND:
                return found
            _check(code)
            found.append(buf.value.decode())

    def listen(self, on_connection=None):
        if on_connection:
            self.on_connection = on_connection
        _check(_lib.atlas_listen(self._live()))

    def add_peer(self, peer_id, addr):
        _check(_lib.atlas_peer_add_addr(self._live(), peer_id.encode(), addr.encode()))

    def add_relay(self, addr):
        _check(_lib.atlas_relay_add(self._live(), addr.encode()))

    def presence(self, announce=True):
        _check(_lib.atlas_relay_presence(self._live(), int(announce)))

    def start_relay(self):
        _check(_lib.atlas_relay_start(self._live()))

    def dial(self, target, timeout=15.0, **callbacks):
        """Dials; the connection comes at once, connected later. `callbacks`: those of Connection."""
        handle = c_void_p()
        Connection(self, None, dict(callbacks))  # wrong names show before anything is dialled
        _check(_lib.atlas_dial(self._live(), target.encode(), int(timeout * 1000), byref(self._conn_table), None,
                               byref(handle)))
        return self._keep_conn(handle.value, callbacks)

    def stun(self, servers, timeout=3.0):
        """Asks all servers and returns their answers, StunResult each. Not for callbacks."""
        texts = (c_char_p * len(servers))(*[s.encode() for s in servers])
        options = _StunOptions(timeout_ms=int(timeout * 1000))
        number = self._next_probe
        probe = self._probes[number] = {"results": [], "status": None}
        self._next_probe += 1
        code = _lib.atlas_stun_probe(self._live(), texts, len(servers), byref(options), self._on_result, number,
                                     None)
        if code != 0:
            del self._probes[number]
        _check(code)
        self.run(lambda: probe["status"] is not None, timeout + 1)
        return probe["results"]

    # -- the loop --

    def fds(self):
        """(descriptor, "r", "w" or "rw") for loops of other kinds; see next_deadline() and process()."""
        count = _lib.atlas_fds(self._live(), None, 0)
        events = (_FdEvent * max(count, 1))()
        count = min(_lib.atlas_fds(self._live(), events, count), count)
        return [(e.fd, ("r" if e.events & _READ else "") + ("w" if e.events & _WRITE else ""))
                for e in events[:count]]

    def next_deadline(self):
        """Seconds from now until process() must be called, or None."""
        deadline = _lib.atlas_next_deadline(self._live())
        if deadline == _NO_DEADLINE:
            return None
        return max(0.0, (deadline - _lib.atlas_now(self._live())) / 1e9)

    def process(self):
        _check(_lib.atlas_process(self._live(), None, 0))
        if self._error:
            error, self._error = self._error, None
            raise error

    def run(self, until=None, timeout=None):
        """Runs until `until()` is true or `timeout` seconds have gone by; returns what until() says."""
        return run([self], until, timeout)

    def wakeup(self):
        """Ends a wait in run(); callable from any thread."""
        _check(_lib.atlas_wakeup(self._live()))

    def shutdown(self, drain=0.0, timeout=5.0):
        """Ends everything in order."""
        _check(_lib.atlas_shutdown(self._live(), int(drain * 1000)))
        self.run(lambda: self._shut, drain + timeout)

    def close(self):
        """Frees the context at once. Objects of it are closed, without events."""
        if self._handle is None:
            return
        _check(_lib.atlas_free(self._handle))
        self._handle = None
        for thing in [*self._conns.values(), *self._streams.values()]:
            thing._handle = None
        self._conns.clear()
        self._streams.clear()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._handle is not None and error[0] is None and not self._shut:
            self.shutdown()
        self.close()


def run(contexts, until=None, timeout=None):
    """Drives several contexts of one thread until `until()` is true or `timeout` seconds have gone by. With neither it
    runs for ever."""
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        if until is not None and until():
            return True
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            return until is not None and bool(until())
        poll = select.poll()
        for ctx in contexts:
            for fd, wanted in ctx.fds():
                poll.register(fd, (select.POLLIN if "r" in wanted else 0) | (select.POLLOUT if "w" in wanted else 0))
        waits = [w for w in [left, *(ctx.next_deadline() for ctx in contexts)] if w is not None]
        poll.poll(None if not waits else int(min(waits) * 1000) + (min(waits) > 0))
        for ctx in contexts:
            ctx.process()
