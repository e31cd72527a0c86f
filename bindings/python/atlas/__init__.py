"""libatlas for Python: a connection to a peer by its public key, wherever that peer is.

Everything of the C interface (<atlas/atlas.h>) on ctypes, without dependencies. Nothing happens but
in a drive call (process(), run_once(), run_until()) or, with AsyncContext, in the asyncio loop.
Handlers are plain functions, given by keyword or set as attributes; each gets the object that it is
about first. An exception in a handler goes to sys.unraisablehook; KeyboardInterrupt and SystemExit
come out of the drive call. Durations in arguments are seconds; what the library reports has its unit
in its name. One thread at a time per context; only wakeup() may be called from others.
"""
from ._aio import AsyncContext
from ._c import (Candidate, Err, Fd, Log, NatAnswer, NatFiltering, NatKind, NatMapping, NatMethod,
                 NatWhat, Opt, Path, Relay, RelayAsk, Stun, load)
from ._context import Context, run_until
from ._objects import (AtlasError, Complaint, Connection, ConnStats, Key, NatEvent, NatProbe,
                       NatSeen, PathInfo, Probe, RelayEvent, RelayStats, Stream, StunResult,
                       TargetInfo, UpgradeInfo, normalize_multiaddr, normalize_peer_id,
                       parse_target, version)

__all__ = [
    "AsyncContext", "AtlasError", "Candidate", "Complaint", "ConnStats", "Connection", "Context",
    "Err", "Fd", "Key", "Log", "NatAnswer", "NatEvent", "NatFiltering", "NatKind", "NatMapping",
    "NatMethod", "NatProbe", "NatSeen", "NatWhat", "Opt", "Path", "PathInfo", "Probe", "Relay",
    "RelayAsk", "RelayEvent", "RelayStats", "Stream", "Stun", "StunResult", "TargetInfo",
    "UpgradeInfo", "load", "normalize_multiaddr", "normalize_peer_id", "parse_target", "run_until",
    "version",
]
