# SPDX-License-Identifier: Apache-2.0
"""Finding other actors by name, wherever they are, through a registrar."""
from coppice import _loop
from coppice._exceptions import NoRuntime
from coppice._native import native
from coppice._portal import Portal
from coppice._types import AbstractAsyncContextManager, Any, Sequence, TracebackType

type Address = tuple[str, int] | tuple[str, str] | str  # (host, port), (directory, file), text.


class _Lookup:
    """One question to the registrars."""
    __slots__ = ('_handle', '_token')

    def __init__(self, kind: str, name: str, registry_addrs: Sequence[Address] | None,
                 only_first: bool = True) -> None:
        if native.self_uid() is None:
            raise NoRuntime('no actor is running here: start with coppice.run(main), or open a '
                            'nursery')
        if not isinstance(name, str):
            raise TypeError(f'an actor is named by a str, not {name!r}')
        adapter = _loop.require()
        self._token = adapter.new_wait()
        self._handle = native.lookup(kind, name, {
            'registry_addrs': list(registry_addrs) if registry_addrs else None,
            'only_first': only_first}, self._token)

    async def answer(self) -> Any:
        try:
            return await self._token.wait()
        except BaseException:
            native.forget_lookup(self._handle)
            raise

    def portals(self) -> list[Portal]:
        return [Portal(link) for link in native.found(self._handle)]

    def end(self) -> None:
        native.end_lookup(self._handle)


class _Found:
    """The `async with` of find_actor() and wait_for_actor()."""
    __slots__ = ('_kind', '_name', '_registrars', '_only_first', '_raise_on_none', '_lookup',
                 '_portals')

    def __init__(self, kind: str, name: str, registrars: Sequence[Address] | None,
                 only_first: bool = True, raise_on_none: bool = False) -> None:
        self._kind = kind
        self._name = name
        self._registrars = registrars
        self._only_first = only_first
        self._raise_on_none = raise_on_none
        self._lookup: _Lookup | None = None
        self._portals: list[Portal] = []

    async def __aenter__(self) -> Any:
        self._lookup = _Lookup(self._kind, self._name, self._registrars, self._only_first)
        await self._lookup.answer()
        portals = self._portals = self._lookup.portals()
        if not portals and self._raise_on_none:
            self._lookup.end()
            raise RuntimeError(f'no actor {self._name!r} is registered')
        if not self._only_first:
            return portals
        return portals[0] if portals else None

    async def __aexit__(self, kind: type[BaseException] | None, raised: BaseException | None,
                        traceback: TracebackType | None) -> None:
        if self._lookup is not None:
            self._lookup.end()
        for portal in self._portals:
            portal.disconnect()


def find_actor(name: str, registry_addrs: Sequence[Address] | None = None, *,
               only_first: bool = True, raise_on_none: bool = False
               ) -> AbstractAsyncContextManager[Any]:
    """A portal to the actor with this name or uuid, or None if there is none now.

        async with coppice.find_actor('doubler') as portal:
            if portal is not None:
                await portal.run(double, x=21)

    Of several with the name it is the one that was registered last. It is connected: an entry that
    nobody answers to is deleted at the registrar, and is None. The connection is kept for the block
    and shared by all blocks of this actor; after the block the portal is not to be used.

    registry_addrs are other registrars than those of this tree. only_first=False gives a list: whom
    each of them knows. raise_on_none=True raises RuntimeError instead of giving None. Everything
    is bounded; TransportClosed if no registrar can be asked.
    """
    return _Found('find', name, registry_addrs, only_first, raise_on_none)


def wait_for_actor(name: str, registry_addrs: Sequence[Address] | None = None
                   ) -> AbstractAsyncContextManager[Portal]:
    """Waits until an actor with this name is registered: a portal to it, as find_actor() gives.

    How long is the caller's business: `with coppice.move_on_after(3): async with …`. A cancelled
    wait is withdrawn at the registrar.
    """
    return _Found('wait', name, registry_addrs)


async def query_actor(name: str, registry_addrs: Sequence[Address] | None = None
                      ) -> list[tuple[str, Any]] | None:
    """Where the actor with this name listens, or None. Nobody is connected to."""
    found = await _ask('query', name, registry_addrs)
    return None if found is None else [(one[0], one[1]) for one in found]


async def get_registry(registry_addrs: Sequence[Address] | None = None
                       ) -> dict[str, list[tuple[str, Any]]]:
    """Everybody whom the registrar knows: 'name.uuid' and where that actor listens."""
    table = await _ask('registry', '', registry_addrs)
    return {key: [(one[0], one[1]) for one in where] for key, where in (table or {}).items()}


async def _ask(kind: str, name: str, registry_addrs: Sequence[Address] | None) -> Any:
    lookup = _Lookup(kind, name, registry_addrs)
    try:
        return await lookup.answer()
    finally:
        lookup.end()

