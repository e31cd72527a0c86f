"""libatlas for Python: a connection to a peer by its public key, wherever that peer is.

Everything of the C interface (<atlas/atlas.h>) on ctypes, without dependencies. Nothing happens but
in a drive call (process(), run_once(), run_until()) or, with AsyncContext, in the asyncio loop.
Handlers are plain functions, given by keyword or set as attributes; each gets the object that it is
about first. An exception in a handler goes to sys.unraisablehook; KeyboardInterrupt and SystemExit
come out of the drive call. Durations in arguments are seconds; what the library reports has its unit
in its name. One thread at a time per context; only wakeup() may be called from others.
"""
from ._aio import AsyncContext, AsyncLookup, AsyncQuery
from ._c import (Advertise, AutoRelay, Candidate, Err, Fd, Log, NatAnswer, NatFiltering, NatKind,
                 NatMapping, NatMethod, NatWhat, Offer, Opt, Path, Reach, Relay, RelayAsk, Source,
                 Stun, load)
from ._context import Context, run_until
from ._discovery import (AdvertiseEvent, AutoRelayEvent, Imported, Query, ReachAddr, ReachEvent,
                         ReachEvidence, Record, RegistryStats)
from ._objects import (AtlasError, Complaint, Connection, ConnStats, Key, NatEvent, NatProbe,
                       NatSeen, PathInfo, Probe, RelayEvent, RelayStats, Stream, StunResult,
                       TargetInfo, UpgradeInfo, normalize_multiaddr, normalize_peer_id,
                       parse_target, version)

__all__ = [
    "Advertise", "AdvertiseEvent", "AsyncContext", "AsyncLookup", "AsyncQuery", "AtlasError",
    "AutoRelay", "AutoRelayEvent", "Candidate", "Complaint", "ConnStats", "Connection", "Context",
    "Err", "Fd", "Imported", "Key", "Log", "NatAnswer", "NatEvent", "NatFiltering", "NatKind",
    "NatMapping", "NatMethod", "NatProbe", "NatSeen", "NatWhat", "Offer", "Opt", "Path", "PathInfo",
    "Probe", "Query", "Reach", "ReachAddr", "ReachEvent", "ReachEvidence", "Record",
    "RegistryStats", "Relay", "RelayAsk", "RelayEvent", "RelayStats", "Source", "Stream", "Stun",
    "StunResult", "TargetInfo", "UpgradeInfo", "load", "normalize_multiaddr", "normalize_peer_id",
    "parse_target", "run_until", "version",
]
