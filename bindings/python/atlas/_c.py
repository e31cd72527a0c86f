"""The C interface: constants, structures, callbacks and functions, as the headers have them."""
import collections
import ctypes
import ctypes.util
import enum
import os
from ctypes import CFUNCTYPE, POINTER, c_char, c_char_p, c_void_p

I32, I64, U32, U64, SIZE = (ctypes.c_int32, ctypes.c_int64, ctypes.c_uint32, ctypes.c_uint64,
                            ctypes.c_size_t)
PEER_ID_MAX, ADDR_MAX, MULTIADDR_MAX = 64, 80, 640
NO_DEADLINE = 2**64 - 1


# ---- constants ----

def _codes(categories):
    """Within a category codes count down from its first."""
    return {name: first - i for first, names in categories.items()
            for i, name in enumerate(names.split())}


Err = enum.IntEnum("Err", {"OK": 0, **_codes({
    -1: "INVALID NOMEM STATE REENTRANT AGAIN TIMEOUT CANCELLED CLOSED LIMIT UNSUPPORTED NOT_FOUND "
        "EXISTS IO PERMISSION TOO_LARGE BUFFER INTERNAL RANDOM SHUTDOWN",
    -100: "TRUNCATED MALFORMED ADDRESS PEER_ID KEY SIGNATURE CERTIFICATE CONFIG DUPLICATE",
    -200: "UNREACHABLE REFUSED RESOLVE ADDR_IN_USE FAMILY",
    -300: "STUN_TIMEOUT STUN_RESPONSE STUN_INTEGRITY STUN_UNKNOWN STUN_NO_ADDRESS",
    -400: "HANDSHAKE PEER_MISMATCH ALPN IDLE_TIMEOUT TRANSPORT STATELESS_RESET PEER_CLOSED VERSION "
          "HANDSHAKE_TIMEOUT STREAM_RESET HTTP",
    -500: "RELAY_NOT_REGISTERED RELAY_CAPACITY RELAY_HANDSHAKE_TIMEOUT RELAY_REFUSED "
          "RELAY_NOT_AUTHORISED RELAY_RATE_LIMITED RELAY_MALFORMED RELAY_CLOCK_DRIFT "
          "RELAY_IDENTITY RELAY_REPLACED RELAY_DRAINING RELAY_LOST RELAY_DISABLED RELAY_EXPIRED "
          "RELAY_CIRCUIT_CLOSED",
    -600: "DIAL NO_ADDRESS MESSAGE_TOO_LARGE DATAGRAM_TOO_LARGE DISCONNECTED SELF",
    -700: "RECORD_OLD RECORD_EXPIRED RECORD_FUTURE RECORD_SIGNER RECORD_LIMIT RECORD_NOT_FOUND "
          "NO_BOOTSTRAP BOOTSTRAP RATE_LIMITED SELFTEST"})})
Opt = enum.IntEnum("Opt", {**{name: 1 + i for i, name in enumerate(
    "PORT IPV4 IPV6 ENABLE_RELAY OFFER_RELAY IDLE_TIMEOUT_MS MAX_CONNECTIONS MAX_STREAMS "
    "MAX_MESSAGE_SIZE STREAM_BUFFER HANDSHAKE_LIMIT MAX_CLOCK_DRIFT_S PRESENCE_INTERVAL_MS "
    "HANDSHAKE_TIMEOUT_MS STUN_TIMEOUT_MS RELAY_BANDWIDTH RELAY_TOTAL_BANDWIDTH RELAY_MAX_NODES "
    "RELAY_MAX_CIRCUITS RELAY_MAX_CIRCUITS_PER_NODE RELAY_MAX_PER_IPV4 RELAY_MAX_PER_IPV6_64 "
    "RELAY_HANDSHAKES STUN_SERVER GSO RELAY_DELAY_MS STUN_RATE UPGRADE KEEPALIVE_MAX_MS "
    "IDLE_MODE_MAX_S AUTORELAY AUTORELAY_COUNT RECORD_LIFETIME_S REGISTRY_MAX_RECORDS "
    "REGISTRY_MAX_PER_IPV4 REGISTRY_MAX_PER_IPV6_64".split())},
    "BIND4": 100, "BIND6": 101})
Fd = enum.IntFlag("Fd", {"READ": 1, "WRITE": 2, "ERROR": 4})
Log = enum.IntEnum("Log", "ERROR WARN INFO DEBUG TRACE")
Path = enum.IntEnum("Path", "NONE DIRECT RELAY", start=0)
Candidate = enum.IntEnum("Candidate", "UNKNOWN HOST PEER_REFLEXIVE SERVER_REFLEXIVE RELAY", start=0)
Relay = enum.IntEnum("Relay", "IDLE CONNECTING CONNECTED ANNOUNCED LOST REPLACED DRAINS", start=0)
RelayAsk = enum.IntEnum("RelayAsk", "ANNOUNCE CONNECT")
Stun = enum.IntFlag("Stun", {"SHA1": 1, "SHA256": 2})
_DEPENDENT = "ENDPOINT_INDEPENDENT ADDRESS_DEPENDENT ADDRESS_AND_PORT_DEPENDENT"
NatMapping = enum.IntEnum("NatMapping", f"UNKNOWN {_DEPENDENT} NONE", start=0)
NatFiltering = enum.IntEnum("NatFiltering", f"UNKNOWN {_DEPENDENT} NONE", start=0)
NatAnswer = enum.IntEnum("NatAnswer", "UNKNOWN YES NO", start=0)
NatKind = enum.IntEnum("NatKind", "UNKNOWN NONE FULL_CONE ADDRESS_RESTRICTED PORT_RESTRICTED CGNAT "
                                  "SYMMETRIC BLOCKED", start=0)
NatMethod = enum.IntEnum("NatMethod", "NONE RFC5780 SERVERS", start=0)
NatWhat = enum.IntEnum("NatWhat", "PROGRESS RESULT")
Offer = enum.IntFlag("Offer", {"RELAY": 1, "BOOTSTRAP": 2, "DIALBACK": 4})
Source = enum.IntEnum("Source", "CACHE BOOTSTRAP PEER")
QueryWhat = enum.IntEnum("QueryWhat", "RECORD FAILED END")
Reach = enum.IntEnum("Reach", "UNKNOWN PUBLIC PRIVATE", start=0)
Advertise = enum.IntEnum("Advertise", "OFF PENDING PUBLISHED FAILED", start=0)
AutoRelay = enum.IntEnum("AutoRelay", "CHOSEN SERVING FAILED REPLACED")


# ---- structures ----

class _Sized(ctypes.Structure):
    def __init__(self, **fields):
        super().__init__(size=ctypes.sizeof(self), **fields)


def _struct(name, *fields):
    return type(name, (_Sized,), {"_fields_": [("size", U64), *fields]})


def _counters(name, names):
    return _struct(name, *((field, U64) for field in names.split()))


class FdEvent(ctypes.Structure):
    _fields_ = [("fd", I32), ("events", U32)]


TargetInfo = _struct("atlas_target_info", ("path", U32), ("reserved", U32),
                     ("peer", c_char * PEER_ID_MAX), ("relay", c_char * PEER_ID_MAX),
                     ("transport", c_char * MULTIADDR_MAX))
PathInfo = _struct("atlas_path_info", ("kind", U32), ("mtu", U32), ("rtt_ns", U64),
                   ("local", c_char * ADDR_MAX), ("remote", c_char * ADDR_MAX),
                   ("relay", c_char * PEER_ID_MAX), ("candidate", U32), ("reserved", U32))
UpgradeInfo = _struct("atlas_upgrade_info", ("code", I32), ("pairs", U32), ("requests", U32),
                      ("heard", U32), ("answers", U32), ("reserved", U32), ("bytes", U64),
                      ("duration_ns", U64), ("retry_ns", U64), ("local", c_char * ADDR_MAX),
                      ("remote", c_char * ADDR_MAX), ("text", c_char_p))
ConnStats = _counters("atlas_conn_stats",
                      "tx_bytes rx_bytes tx_packets rx_packets lost_packets cwnd rtt_ns")
RelayEvent = _struct("atlas_relay_event", ("state", U32), ("code", I32), ("rtt_ns", U64),
                     ("retry_ns", U64), ("expires_ns", U64), ("bandwidth", U64),
                     ("addr", c_char_p), ("relay", c_char_p), ("observed", c_char_p),
                     ("text", c_char_p))
RelayStats = _counters(
    "atlas_relay_stats",
    "sessions nodes circuits announces connects pairs forwarded_packets forwarded_bytes "
    "delayed_packets dropped_bandwidth dropped_total dropped_source dropped_send refused_nodes "
    "refused_ipv4 refused_ipv6 refused_circuits refused_circuits_node refused_rate refused_policy "
    "refused_drift refused_identity malformed handshake_timeouts expired replaced")
StunResult = _struct("atlas_stun_result", ("code", I32), ("stun_code", I32), ("rtt_ns", U64),
                     ("transmissions", U32), ("index", U32), ("server", c_char_p),
                     ("server_addr", c_char_p), ("reflexive", c_char_p), ("local", c_char_p),
                     ("text", c_char_p))
StunOptions = _struct("atlas_stun_options", ("timeout_ms", U64), ("username", c_char_p),
                      ("password", c_char_p), ("integrity", U32), ("reserved", U32))


class NatSeen(ctypes.Structure):
    _fields_ = [(name, c_char_p) for name in ("server", "server_addr", "local", "reflexive")]


NatEvent = _struct(
    "atlas_nat_event", ("what", U32), ("family", U32), ("code", I32), ("mapping", U32),
    ("filtering", U32), ("hairpinning", U32), ("port_preservation", U32), ("method", U32),
    ("kind", U32), ("reaches", U32), ("perhaps", U32), ("reserved", U32), ("lifetime_ns", U64),
    ("lifetime_end_ns", U64), ("seen", POINTER(NatSeen)), ("seen_count", U64),
    ("verdict", c_char_p), ("text", c_char_p))
NatOptions = _struct("atlas_nat_options", ("timeout_ms", U64), ("lifetime_ms", U64),
                     ("reserved", U64))
Record = _struct("atlas_record", ("peer", c_char_p), ("seq", U64), ("issued_ms", U64),
                 ("expires_ms", U64), ("addrs", POINTER(c_char_p)), ("addr_count", U64),
                 ("offers", U32), ("source", U32), ("from", c_char_p), ("rtt_ns", U64),
                 ("envelope", c_void_p), ("envelope_len", U64))
QueryEvent = _struct("atlas_query_event", ("what", U32), ("code", I32),
                     ("record", POINTER(Record)), ("from", c_char_p), ("text", c_char_p))
QueryOptions = _struct("atlas_query_options", ("timeout_ms", U64), ("limit", U32), ("random", U32),
                       ("fresh", U32), ("reserved", U32))


class ReachAddr(ctypes.Structure):
    _fields_ = [("addr", c_char_p), ("verdict", U32), ("yes", U32), ("no", U32), ("reserved", U32)]


class ReachEvidence(ctypes.Structure):
    _fields_ = [*((name, c_char_p) for name in ("server", "server_addr", "candidate", "source")),
                ("code", I32), ("result", U32), ("other_address", U32), ("reserved", U32)]


ReachEvent = _struct("atlas_reach_event", ("family", U32), ("verdict", U32), ("before", U32),
                     ("servers", U32), ("addrs", POINTER(ReachAddr)), ("addr_count", U64),
                     ("evidence", POINTER(ReachEvidence)), ("evidence_count", U64),
                     ("text", c_char_p))
AdvertiseEvent = _struct("atlas_advertise_event", ("state", U32), ("offers", U32), ("seq", U64),
                         ("addrs", POINTER(c_char_p)), ("addr_count", U64), ("nodes", U32),
                         ("nodes_total", U32), ("code", I32), ("reserved", U32),
                         ("text", c_char_p))
AutoRelayEvent = _struct("atlas_autorelay_event", ("what", U32), ("loss", U32), ("rtt_ns", U64),
                         ("relay", c_char_p), ("addr", c_char_p), ("code", I32), ("serving", U32),
                         ("text", c_char_p))
RegistryStats = _counters(
    "atlas_registry_stats",
    "records relays memory puts gets found lists deletes taken refreshed expired evicted "
    "refused_malformed refused_signature refused_expired refused_old refused_limit refused_rate "
    "refused_size refused_identity disk_errors dialbacks dialback_datagrams dialback_refused")


# ---- callbacks ----

def _table(name, *fields, user=True):
    """A table of callbacks. Each field: its name, its result, and what follows `user`."""
    types = [(field, CFUNCTYPE(result, c_void_p, *args)) for field, result, *args in fields]
    return _struct(name, *([("user", c_void_p)] if user else []), *types)


Hooks = _table(
    "atlas_hooks", ("interest", None, I32, U32, POINTER(c_void_p)), ("timer", None, U64),
    ("now", U64), ("wall", I64), ("malloc", c_void_p, SIZE), ("realloc", c_void_p, c_void_p, SIZE),
    ("free", None, c_void_p), ("random", I32, c_void_p, SIZE), ("log", None, I32, c_char_p))
Callbacks = _table(
    "atlas_callbacks", ("on_connection", None, c_void_p, c_void_p),
    ("on_relay", None, c_void_p, POINTER(RelayEvent)), ("on_shutdown", None, c_void_p),
    ("on_wakeup", None, c_void_p), ("on_idle", None, c_void_p, U64),
    ("on_reach", None, c_void_p, POINTER(ReachEvent)),
    ("on_advertise", None, c_void_p, POINTER(AdvertiseEvent)),
    ("on_autorelay", None, c_void_p, POINTER(AutoRelayEvent)))
ConnCallbacks = _table(
    "atlas_conn_callbacks", ("on_connected", None, c_void_p),
    ("on_path", None, c_void_p, POINTER(PathInfo), c_char_p),
    ("on_attempt", None, c_void_p, c_char_p, I32, c_char_p),
    ("on_stream", None, c_void_p, c_void_p), ("on_message", None, c_void_p, c_void_p, SIZE),
    ("on_message_sent", None, c_void_p, U64, I32),
    ("on_datagram", None, c_void_p, c_void_p, SIZE), ("on_pong", None, c_void_p, U64, U64, U32),
    ("on_closed", None, c_void_p, I32, U64, c_char_p),
    ("on_upgrade", None, c_void_p, POINTER(UpgradeInfo)), user=False)
StreamCallbacks = _table(
    "atlas_stream_callbacks", ("on_readable", None, c_void_p), ("on_writable", None, c_void_p),
    ("on_acked", None, c_void_p), ("on_closed", None, c_void_p, I32, U64), user=False)
ConfigCb = CFUNCTYPE(None, c_void_p, I32, c_char_p, U32, c_char_p)
StunCb = CFUNCTYPE(None, c_void_p, c_void_p, POINTER(StunResult), I32)
NatCb = CFUNCTYPE(None, c_void_p, c_void_p, POINTER(NatEvent), I32)
QueryCb = CFUNCTYPE(None, c_void_p, c_void_p, POINTER(QueryEvent))
PolicyCb = CFUNCTYPE(I32, c_void_p, U32, c_char_p, c_char_p, c_char_p)

# By their names in C, for the test that compares them with the headers.
STRUCTS = {
    "atlas_fd_event": FdEvent, "atlas_nat_seen": NatSeen, "atlas_reach_addr": ReachAddr,
    "atlas_reach_evidence": ReachEvidence, **{struct.__name__: struct for struct in (
        TargetInfo, PathInfo, UpgradeInfo, ConnStats, RelayEvent, RelayStats, StunResult,
        StunOptions, NatEvent, NatOptions, Record, QueryEvent, QueryOptions, ReachEvent,
        AdvertiseEvent, AutoRelayEvent, RegistryStats, Hooks, Callbacks, ConnCallbacks,
        StreamCallbacks)}}
CALLBACKS = {"atlas_config_cb": ConfigCb, "atlas_stun_cb": StunCb, "atlas_nat_cb": NatCb,
             "atlas_query_cb": QueryCb, "atlas_relay_policy": PolicyCb}


# ---- functions ----

_P, _S, _PP, _PSIZE, _PU32, _PU64 = (c_void_p, c_char_p, POINTER(c_void_p), POINTER(SIZE),
                                     POINTER(U32), POINTER(U64))
FUNCTIONS = {  # result and arguments
    "version": (_S,), "error_name": (_S, I32), "error_category": (_S, I32), "error_text": (_S, I32),
    "target_parse": (I32, _S, POINTER(TargetInfo)), "multiaddr_normalize": (I32, _S, _P, SIZE),
    "peer_id_normalize": (I32, _S, _P, SIZE), "key_generate": (I32, _PP),
    "key_from_seed": (I32, _P, _PP), "key_load": (I32, _S, _PP), "key_save": (I32, _P, _S),
    "key_free": (None, _P), "key_public": (None, _P, _P), "key_peer_id": (I32, _P, _P, SIZE),
    "new": (I32, POINTER(Hooks), _P, _PP), "free": (I32, _P), "shutdown": (I32, _P, U64),
    "process": (I32, _P, POINTER(FdEvent), SIZE), "next_deadline": (U64, _P), "now": (U64, _P),
    "fds": (SIZE, _P, POINTER(FdEvent), SIZE), "run_once": (I32, _P, I32), "wakeup": (I32, _P),
    "set_u64": (I32, _P, U32, U64), "set_str": (I32, _P, U32, _S),
    "get_u64": (I32, _P, U32, _PU64), "self_id": (_S, _P), "open": (I32, _P),
    "local_addr": (I32, _P, U32, _P, SIZE), "set_callbacks": (I32, _P, POINTER(Callbacks)),
    "network_changed": (I32, _P), "set_idle": (I32, _P, U32),
    "config_load": (I32, _P, _S, ConfigCb, _P),
    "config_parse": (I32, _P, _S, SIZE, _S, ConfigCb, _P),
    "dial": (I32, _P, _S, U64, POINTER(ConnCallbacks), _P, _PP),
    "peer_add_addr": (I32, _P, _S, _S), "listen": (I32, _P),
    "conn_set_callbacks": (I32, _P, POINTER(ConnCallbacks), _P), "conn_ctx": (_P, _P),
    "conn_peer_id": (_S, _P), "conn_is_dialer": (U32, _P),
    "conn_get_path": (I32, _P, POINTER(PathInfo)), "conn_get_stats": (I32, _P, POINTER(ConnStats)),
    "conn_close": (I32, _P, U64, _S), "conn_disconnect": (I32, _P, _S),
    "conn_ping": (I32, _P, _PU64), "conn_send_message": (I32, _P, _P, SIZE, _PU64),
    "conn_send_datagram": (I32, _P, _P, SIZE), "conn_max_datagram": (SIZE, _P),
    "stream_open": (I32, _P, U32, POINTER(StreamCallbacks), _P, _PP),
    "stream_set_callbacks": (I32, _P, POINTER(StreamCallbacks), _P), "stream_conn": (_P, _P),
    "stream_id": (I64, _P), "stream_write": (I32, _P, _P, SIZE, U32, _PSIZE),
    "stream_read": (I32, _P, _P, SIZE, _PSIZE, _PU32),
    "stream_peek": (I32, _P, _PP, _PSIZE, _PU32), "stream_consume": (I32, _P, SIZE),
    "stream_reset": (I32, _P, U64), "relay_add": (I32, _P, _S), "relay_presence": (I32, _P, U32),
    "relay_info": (I32, _P, U32, POINTER(RelayEvent)), "relay_start": (I32, _P),
    "relay_set_policy": (I32, _P, PolicyCb, _P), "relay_allow": (I32, _P, _S),
    "relay_deny": (I32, _P, _S), "relay_get_stats": (I32, _P, POINTER(RelayStats)),
    "stun_probe": (I32, _P, POINTER(_S), SIZE, POINTER(StunOptions), StunCb, _P, _PP),
    "stun_cancel": (I32, _P), "stun_add_server": (I32, _P, _S),
    "stun_server_alternate": (I32, _P, _S),
    "nat_probe": (I32, _P, POINTER(_S), SIZE, POINTER(NatOptions), NatCb, _P, _PP),
    "nat_cancel": (I32, _P), "bootstrap_add": (I32, _P, _S),
    "lookup": (I32, _P, _S, POINTER(QueryOptions), QueryCb, _P, _PP),
    "discover": (I32, _P, U32, POINTER(QueryOptions), QueryCb, _P, _PP), "query_cancel": (I32, _P),
    "records_export": (I32, _P, _P, SIZE, _PSIZE),
    "records_import": (I32, _P, _P, SIZE, _PU64, _PU64), "record_add": (I32, _P, _P, SIZE),
    "record_own": (I32, _P, _P, SIZE, _PSIZE), "reach_start": (I32, _P),
    "reach_get": (U32, _P, U32), "advertise": (I32, _P, U32), "bootstrap_start": (I32, _P, _S),
    "registry_get_stats": (I32, _P, POINTER(RegistryStats)),
    "metrics": (I32, _P, _P, SIZE, _PSIZE), "status_page": (I32, _P, _P, SIZE, _PSIZE),
}

_loaded = None


def _open(name):
    library = ctypes.CDLL(name)
    functions = {"path": name}
    for function, (result, *args) in FUNCTIONS.items():
        functions[function] = getattr(library, "atlas_" + function)
        functions[function].restype, functions[function].argtypes = result, args
    return collections.namedtuple("Library", functions)(**functions)


def load(path=None):
    """The library: the file at `path` (only before the first use), else at ATLAS_LIBRARY in the
    environment, else as the system finds it. Returns an object with one function for each of C's,
    named without "atlas_"."""
    global _loaded
    if _loaded is not None:
        if path is not None and os.fspath(path) != _loaded.path:
            raise RuntimeError(f"libatlas is loaded already, from {_loaded.path}")
        return _loaded
    given = os.fspath(path) if path is not None else os.environ.get("ATLAS_LIBRARY")
    # The soname too: "atlas" may find the linear algebra library of that name.
    names = [given] if given else [ctypes.util.find_library("atlas"), "libatlas.so.0"]
    reason = None
    for name in filter(None, names):
        try:
            _loaded = _open(name)
            return _loaded
        except (OSError, AttributeError) as error:
            reason = error
    raise OSError(f"libatlas cannot be loaded ({reason}); set ATLAS_LIBRARY to its file")
