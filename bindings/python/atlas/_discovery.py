"""Records of peers, look-ups, and what is told about reachability and being found."""
import collections

from . import _c
from ._c import Err, load
from ._objects import AtlasError, Child, check, copied, entry, named, py_bytes, py_text

Record = named("Record", _c.Record)
Imported = collections.namedtuple("Imported", "taken refused")
ReachAddr = named("ReachAddr", _c.ReachAddr)
ReachEvidence = named("ReachEvidence", _c.ReachEvidence)
ReachEvent = named("ReachEvent", _c.ReachEvent)
AdvertiseEvent = named("AdvertiseEvent", _c.AdvertiseEvent)
AutoRelayEvent = named("AutoRelayEvent", _c.AutoRelayEvent)
RegistryStats = named("RegistryStats", _c.RegistryStats)


def _texts(array, count):
    return tuple(py_text(array[i]) for i in range(count))


def _copies(record, array, count):
    return tuple(copied(record, array[i]) for i in range(count))


def _record(record):
    return copied(Record, record, addrs=_texts(record.addrs, record.addr_count),
                  envelope=py_bytes(record.envelope, record.envelope_len))


def reach_event(event):
    return copied(ReachEvent, event, addrs=_copies(ReachAddr, event.addrs, event.addr_count),
                  evidence=_copies(ReachEvidence, event.evidence, event.evidence_count))


def advertise_event(event):
    return copied(AdvertiseEvent, event, addrs=_texts(event.addrs, event.addr_count))


class Query(Child):
    """A running look-up. Handlers: on_record(query, Record), on_failed(query, from_, code, text)
    for a bootstrap node that has failed or knows nothing, on_done(query, status)."""
    EVENTS = ("on_record", "on_failed", "on_done")
    on_record = on_failed = on_done = None

    def cancel(self):
        check(load().query_cancel(self.handle))

    # What AsyncContext hears, before the handlers do.
    def found(self, record):
        pass

    def failed(self, from_, text):
        pass

    def ended(self, status):
        pass


@entry(_c.QueryCb)
def query_event(query, _, pointer):
    event = pointer.contents
    if event.what == _c.QueryWhat.RECORD:
        record = _record(event.record.contents)
        query.found(record)
        query.emit("on_record", record)
    elif event.what == _c.QueryWhat.FAILED:
        from_, text = py_text(getattr(event, "from")), py_text(event.text)
        query.failed(from_, text)
        query.emit("on_failed", from_, event.code, text)
    else:
        query.ended(event.code)
        query.finish("on_done", AtlasError(event.code or Err.CLOSED), event.code)
