"""The context: one node, its hooks, and how it is driven."""
import itertools
import os
import select
import time
from ctypes import byref, c_char_p, c_void_p, memmove

from . import _c
from ._c import U64, Err, Fd, Offer, Opt, load
from ._discovery import (AutoRelayEvent, Imported, Query, RegistryStats, advertise_event,
                         query_event, reach_event)
from ._objects import (CONN_TABLE, AtlasError, Complaint, Connection, NatProbe, Object, Probe,
                       RelayEvent, RelayStats, c_bytes, c_text, check, copied, entries, entry,
                       fetched, filled, gathered, milliseconds, nat_event, py_text, stun_event)


def _on_connection(context, _, pointer):
    if context.on_connection is None:
        return
    conn = Connection(context, {})
    check(load().conn_set_callbacks(pointer, byref(CONN_TABLE), conn.token))
    conn.keep(pointer)
    try:
        context.emit("on_connection", conn)
    except BaseException:
        load().conn_close(pointer, 0, b"refused")
        raise


def _on_shutdown(context, _):
    context.wake("shutdown")
    context.emit("on_shutdown")


_ENTRIES = entries(_c.Callbacks, {
    "on_connection": _on_connection, "on_shutdown": _on_shutdown,
    "on_relay": lambda context, _, event:
        context.emit("on_relay", copied(RelayEvent, event.contents)),
    "on_wakeup": lambda context, _: context.emit("on_wakeup"),
    "on_idle": lambda context, _, quiet_ns:
        context.emit("on_idle", None if quiet_ns == _c.NO_DEADLINE else quiet_ns),
    "on_reach": lambda context, _, event:
        context.emit("on_reach", reach_event(event.contents)),
    "on_advertise": lambda context, _, event:
        context.emit("on_advertise", advertise_event(event.contents)),
    "on_autorelay": lambda context, _, event:
        context.emit("on_autorelay", copied(AutoRelayEvent, event.contents))})


def _random(context, buf, size):
    data = c_bytes(context.hooks["random"](size))
    if len(data) != size:
        raise ValueError(f"the random hook gave {len(data)} bytes of {size}")
    memmove(buf, data, size)
    return 0


_HOOKS = entries(_c.Hooks, {
    "interest": lambda context, fd, events, _: context.hooks["interest"](fd, events),
    "timer": lambda context, deadline:
        context.hooks["timer"](None if deadline == _c.NO_DEADLINE else deadline),
    "now": lambda context: context.hooks["now"](),
    "wall": lambda context: context.hooks["wall"](),
    "random": _random,
    "log": lambda context, level, text: context.hooks["log"](level, py_text(text)),
}, {"now": time.monotonic_ns, "wall": lambda: time.time_ns() // 1000000,
    "random": int(Err.RANDOM)})


@entry(_c.PolicyCb, int(Err.RELAY_NOT_AUTHORISED))
def _policy(context, what, peer, target, addr):
    answer = context.policy(what, py_text(peer), py_text(target), py_text(addr))
    if answer is None or answer is True:
        return 0
    return int(Err.RELAY_NOT_AUTHORISED) if answer is False else int(answer)


class Context(Object):
    """One node. Hooks: interest(fd, events), timer(deadline_ns or None), now(), wall(),
    random(size), log(level, text). Handlers: on_connection(context, conn),
    on_relay(context, RelayEvent), on_shutdown(context), on_wakeup(context),
    on_idle(context, quiet_ns or None), on_reach(context, ReachEvent),
    on_advertise(context, AdvertiseEvent), on_autorelay(context, AutoRelayEvent). Without
    on_connection all peers are refused, and one that raises refuses its peer."""
    EVENTS = tuple(name for name, _ in _c.Callbacks._fields_[2:])
    on_connection = on_relay = on_shutdown = on_wakeup = on_idle = None
    on_reach = on_advertise = on_autorelay = None
    _lookup = _discover = Query  # what lookup() and discover() make
    context = property(lambda self: self)

    def __init__(self, key=None, options=None, *, interest=None, timer=None, now=None, wall=None,
                 random=None, log=None, **handlers):
        super().__init__(handlers)
        self.children, self.interrupt, self.policy = {}, None, None
        given = dict(interest=interest, timer=timer, now=now, wall=wall, random=random, log=log)
        self.hooks = {name: hook for name, hook in given.items() if hook is not None}
        hooks = _c.Hooks(user=self.token, **{name: _HOOKS[name] for name in self.hooks})
        out = c_void_p()
        check(load().new(byref(hooks), None if key is None else key.handle, byref(out)))
        self._ptr = out.value
        check(load().set_callbacks(self._ptr, byref(_c.Callbacks(user=self.token, **_ENTRIES))))
        for option, value in (options or {}).items():
            self.set(option, value)

    def close(self):
        """Frees the context and all that is in it, without further events."""
        if self._ptr is None:
            return
        check(load().free(self._ptr))
        self._ptr = None
        for child in list(self.children.values()):
            child.end()
        self.fail(AtlasError(Err.CLOSED))

    def __del__(self):
        if getattr(self, "_ptr", None) is not None:
            load().free(self._ptr)
            self._ptr = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # ---- options, by Opt or its name in any case ----

    @staticmethod
    def _option(option):
        return Opt[option.upper()] if isinstance(option, str) else option

    def set(self, option, value):
        if isinstance(value, str):
            check(load().set_str(self.handle, self._option(option), c_text(value)))
        elif 0 <= value < 2**64:
            check(load().set_u64(self.handle, self._option(option), int(value)))
        else:
            raise AtlasError(Err.INVALID)

    def get(self, option):
        value = U64()
        check(load().get_u64(self.handle, self._option(option), byref(value)))
        return value.value

    def _configure(self, function, *args):
        complaints = []
        note = _c.ConfigCb(lambda _, code, file, line, text: complaints.append(
            Complaint(code, py_text(file), line, py_text(text))))
        code = function(self.handle, *args, note, None)
        if code != 0:
            error = AtlasError(code, text="; ".join(c.text for c in complaints if c.code) or None)
            error.complaints = complaints
            raise error
        return complaints

    def config_load(self, path):
        """Applies a configuration file; returns its warnings. A failure has .complaints."""
        return self._configure(load().config_load, c_text(os.fsencode(path)))

    def config_parse(self, text, name=None):
        data = text.encode() if isinstance(text, str) else c_bytes(text)
        return self._configure(load().config_parse, data, len(data), c_text(name))

    # ---- driving ----

    def _driven(self, code):
        interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            raise interrupt
        check(code)

    def process(self, events=None):
        """Drives once, with the (fd, events) pairs that are ready; with None tries all."""
        ready = [_c.FdEvent(fd, bits) for fd, bits in events or ()]
        array = None if events is None else (_c.FdEvent * len(ready))(*ready)
        self._driven(load().process(self.handle, array, len(ready)))

    def run_once(self, timeout=None):
        """Waits at most `timeout` seconds (None: no limit), then drives once."""
        ms = -1 if timeout is None else min(milliseconds(timeout), 2**31 - 1)
        self._driven(load().run_once(self.handle, ms))

    def run_until(self, condition, timeout=None):
        return run_until([self], condition, timeout)

    def fds(self):
        """The watched descriptors: a list of (fd, events)."""
        count = load().fds(self.handle, None, 0)
        array = (_c.FdEvent * count)()
        count = min(count, load().fds(self.handle, array, count))
        return [(event.fd, event.events) for event in array[:count]]

    @property
    def next_deadline(self):
        """Nanoseconds of the context's clock, or None."""
        deadline = load().next_deadline(self.handle)
        return None if deadline == _c.NO_DEADLINE else deadline

    @property
    def now(self):
        return load().now(self.handle)

    def wakeup(self):
        """Ends a wait early. Callable from any thread while the context is open."""
        check(load().wakeup(self.handle))

    def shutdown(self, drain=0):
        """Begins a graceful end; on_shutdown follows."""
        check(load().shutdown(self.handle, milliseconds(drain)))

    def network_changed(self):
        """The host's network may have changed; on Linux the library notices by itself."""
        check(load().network_changed(self.handle))

    def set_idle(self, on=True):
        """Idle mode: no keepalives, peers wait; False: awake again."""
        check(load().set_idle(self.handle, bool(on)))

    # ---- peers ----

    @property
    def peer_id(self):
        return py_text(load().self_id(self.handle))

    def open(self):
        check(load().open(self.handle))

    def listen(self):
        check(load().listen(self.handle))

    @staticmethod
    def _each(one):
        found = []
        for index in itertools.count():
            try:
                found.append(one(index))
            except AtlasError as error:
                if error.code != Err.NOT_FOUND:
                    raise
                return found

    def local_addrs(self):
        """The node's own multiaddrs, once the sockets are open."""
        return self._each(lambda index: filled(load().local_addr, _c.MULTIADDR_MAX, self.handle,
                                               index))

    def peer_add_addr(self, peer, addr):
        check(load().peer_add_addr(self.handle, c_text(peer), c_text(addr)))

    def dial(self, target, timeout=None, **handlers):
        """A Connection that is on its way: on_connected or on_closed follows."""
        conn = Connection(self, handlers)
        conn.start(load().dial, self.handle, c_text(target), milliseconds(timeout),
                   byref(CONN_TABLE))
        return conn

    # ---- STUN ----

    def stun_probe(self, servers=(), *, timeout=None, username=None, password=None, integrity=0,
                   **handlers):
        """Asks these servers, or the configured ones, for the host's address."""
        servers = [c_text(server) for server in servers]
        options = _c.StunOptions(timeout_ms=milliseconds(timeout), username=c_text(username),
                                 password=c_text(password), integrity=integrity)
        probe = Probe(self, handlers)
        probe.start(load().stun_probe, self.handle, (c_char_p * len(servers))(*servers),
                    len(servers), byref(options), stun_event)
        return probe

    def stun_add_server(self, server):
        check(load().stun_add_server(self.handle, c_text(server)))

    def stun_server_alternate(self, addr):
        """A second address of this host for this node's STUN server (RFC 5780)."""
        check(load().stun_server_alternate(self.handle, c_text(addr)))

    def nat_probe(self, servers=(), *, timeout=None, lifetime=None, **handlers):
        """Finds out, with these STUN servers or the configured ones, what NAT this host is behind;
        `lifetime`: seconds to look for the lifetime of its mappings at most."""
        servers = [c_text(server) for server in servers]
        options = _c.NatOptions(timeout_ms=milliseconds(timeout),
                                lifetime_ms=milliseconds(lifetime))
        probe = NatProbe(self, handlers)
        probe.start(load().nat_probe, self.handle, (c_char_p * len(servers))(*servers),
                    len(servers), byref(options), nat_event)
        return probe

    # ---- relays: this node as their client ----

    def relay_add(self, addr):
        check(load().relay_add(self.handle, c_text(addr)))

    def relay_presence(self, announce=True):
        check(load().relay_presence(self.handle, bool(announce)))

    def relays(self):
        """The configured relays, each as its last RelayEvent."""
        return self._each(lambda index: fetched(RelayEvent, _c.RelayEvent, load().relay_info,
                                                self.handle, index))

    # ---- this node as a relay ----

    def relay_start(self):
        check(load().relay_start(self.handle))

    def relay_set_policy(self, policy):
        """policy(what, peer, target, addr): None or True to allow, False or a code to refuse; an
        exception refuses. It must not call the library."""
        function = _c.PolicyCb() if policy is None else _policy
        check(load().relay_set_policy(self.handle, function, self.token))
        self.policy = policy

    def relay_allow(self, peer):
        check(load().relay_allow(self.handle, c_text(peer)))

    def relay_deny(self, peer):
        check(load().relay_deny(self.handle, c_text(peer)))

    def relay_stats(self):
        return fetched(RelayStats, _c.RelayStats, load().relay_get_stats, self.handle)

    # ---- discovery: finding others ----

    def bootstrap_add(self, addr):
        """A bootstrap node: from here on a dial to a bare peer id finds its addresses itself."""
        check(load().bootstrap_add(self.handle, c_text(addr)))

    def lookup(self, peer, *, timeout=None, fresh=False, **handlers):
        """Looks up a peer's record: what is known at once, then each newer one that a bootstrap
        node has; `fresh`: without what is known."""
        options = _c.QueryOptions(timeout_ms=milliseconds(timeout), fresh=bool(fresh))
        query = self._lookup(self, handlers)
        query.start(load().lookup, self.handle, c_text(peer), byref(options), query_event)
        return query

    def discover(self, offer, *, limit=0, random=False, timeout=None, **handlers):
        """Lists records of nodes that offer something, by Offer or its name in any case: at most
        `limit` (20); `random`: a sample."""
        options = _c.QueryOptions(timeout_ms=milliseconds(timeout), limit=limit,
                                  random=bool(random))
        query = self._discover(self, handlers)
        query.start(load().discover, self.handle,
                    Offer[offer.upper()] if isinstance(offer, str) else offer, byref(options),
                    query_event)
        return query

    def records_export(self):
        """All records that are known, as bytes to keep over a restart."""
        return gathered(load().records_export, self.handle)

    def records_import(self, data):
        """Takes an export's records that are still true; returns Imported(taken, refused). An
        export that was cut off raises; what stood before the cut, its .imported, is taken."""
        data, taken, refused = c_bytes(data), U64(), U64()
        code = load().records_import(self.handle, data, len(data), byref(taken), byref(refused))
        imported = Imported(taken.value, refused.value)
        if code != 0:
            error = AtlasError(code)
            error.imported = imported
            raise error
        return imported

    def record_add(self, envelope):
        """One record, as Record.envelope has it."""
        envelope = c_bytes(envelope)
        check(load().record_add(self.handle, envelope, len(envelope)))

    # ---- discovery: being found ----

    def record_own(self):
        """The envelope of this node's own record, as it was published last."""
        return gathered(load().record_own, self.handle)

    def reach_start(self):
        """Has reachability checked; on_reach follows."""
        check(load().reach_start(self.handle))

    def reach(self, family=4):
        """Reach: whether strangers reach this node over IPv4 or IPv6."""
        return load().reach_get(self.handle, family)

    def advertise(self, on=True):
        """Has this node found by its id; on_advertise follows. False: no more."""
        check(load().advertise(self.handle, bool(on)))

    # ---- this node as a bootstrap node ----

    def bootstrap_start(self, db_path=None):
        """Without a file the records are gone with the context."""
        path = None if db_path is None else os.fsencode(db_path)
        check(load().bootstrap_start(self.handle, c_text(path)))

    def registry_stats(self):
        return fetched(RegistryStats, _c.RegistryStats, load().registry_get_stats, self.handle)

    def metrics(self):
        """What this node counts, in the text format of Prometheus."""
        return py_text(gathered(load().metrics, self.handle))

    def status_page(self):
        """The same for people, in HTML."""
        return py_text(gathered(load().status_page, self.handle))


def _wait(contexts, left):
    """Waits for any of them, at most `left` seconds."""
    poll = select.poll()
    for context in contexts:
        for fd, events in context.fds():
            poll.register(fd, (select.POLLIN if events & Fd.READ else 0)
                          | (select.POLLOUT if events & Fd.WRITE else 0))
        deadline = context.next_deadline
        if deadline is not None:
            until = max(0, deadline - context.now) / 1e9
            left = until if left is None else min(left, until)
    poll.poll(None if left is None else min(milliseconds(left), 2**31 - 1))


def run_until(contexts, condition, timeout=None):
    """Drives contexts of one thread until condition() holds or `timeout` seconds have gone by;
    returns what condition() said last."""
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        value = condition()
        left = None if end is None else end - time.monotonic()
        if value or (left is not None and left <= 0):
            return value
        running = [context for context in contexts if not context.closed]
        _wait(running, left)
        for context in running:
            context.process()
