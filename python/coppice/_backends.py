# SPDX-License-Identifier: Apache-2.0
"""coppice.backends(): the spawn methods, and what each comes to on this machine."""
from dataclasses import dataclass

from coppice._native import native


@dataclass(frozen=True, slots=True, kw_only=True)
class ForcedStops:
    """What the self-test says, which forces a throw-away actor."""
    works: bool
    text: str       # Why not, in a sentence.
    seconds: float  # That the stop took.


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A spawn method, as `coppice backends` shows it."""
    key: str
    aliases: tuple[str, ...]    # tractor's names, and multiprocessing's.
    languages: tuple[str, ...]  # 'C++', 'Python': what its actors may be written in.
    isolation: str | None       # 'own thread', 'own interpreter', 'own process'; None: it depends.
    can_be_killed: bool         # Whatever the actor does.
    needs: str
    text: str                   # What it is.
    available: bool             # Here and now, for one of its languages at least.
    reason: str                 # What of it cannot be had, why, and what to do; '' if it all can.
    forced_stops: ForcedStops | None  # None: it has no self-test, or that has not run.


def backends() -> list[Backend]:
    """Every spawn method, with what this build and machine can do with it.

    The first call forces a throw-away actor, if sub-interpreters are available, which takes some
    ten milliseconds and blocks this thread; in an actor that is one itself nothing is tried.
    """
    here = {key: rest for key, *rest in native.backend_table()}
    found = []
    for key, aliases, languages, isolation, can_be_killed, needs, text in native.spawn_methods():
        available, reason, forced = here[key]
        stops = ForcedStops(works=forced[0], text=forced[1], seconds=forced[2]) if forced else None
        found.append(Backend(
            key=key, aliases=aliases, languages=languages, isolation=isolation,
            can_be_killed=can_be_killed, needs=needs, text=text, available=available,
            reason=reason, forced_stops=stops))
    return found
