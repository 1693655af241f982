"""Ids of charging sessions, which stay when sessions are computed again."""

from collections import defaultdict
from itertools import count
from typing import Final, NamedTuple
from uuid import UUID, uuid5

import polars as pl

from lake.schema.charging_session import CHARGING_SESSION
from lake.schema.partitions import microseconds

_NAMESPACE: Final = UUID("6f2b6d0e-5d0a-4b57-8f0c-3f3c4f6a9d11")
_STORED: Final = ("session_id", "vehicle_id", "begins", "last_energy_at", "supersedes")


def identified_sessions(found: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Return rows of CHARGING_SESSION: what `charging_sessions` has found, with ids.

    `stored` are the rows of CHARGING_SESSION that these take the place of. A session that begins
    where one of them, or one that it has taken in, was first found is that one. Each of the others,
    the oldest first, gives its id to the session that it shares the most time with, of equal ones
    the first, unless that has an id; then it is told as superseded. A session without a stored one
    has an id made of its vehicle and its begin.
    """
    old: dict[str, list[_Old]] = defaultdict(list)
    for name, vehicle, begins, until, supersedes in (
        stored.select(_STORED).sort("vehicle_id", "begins").iter_rows()
    ):
        old[vehicle].append(_Old(name, microseconds(begins), microseconds(until), supersedes))
    new: dict[str, list[tuple[int, int]]] = defaultdict(list)
    found = found.sort("vehicle_id", "begins")
    for vehicle, begins, until in found.select(
        "vehicle_id", "begins", "last_energy_at"
    ).iter_rows():
        new[vehicle].append((microseconds(begins), microseconds(until)))
    ids: list[str] = []
    superseded: list[list[str]] = []
    for vehicle, sessions in new.items():
        for name, others in _identities(vehicle, sessions, old[vehicle]):
            ids.append(name)
            superseded.append(others)
    return found.with_columns(
        session_id=pl.Series(ids, dtype=pl.String),
        supersedes=pl.Series(superseded, dtype=pl.List(pl.String)),
    ).select(CHARGING_SESSION.names)


class _Old(NamedTuple):
    session_id: str
    begins: int
    until: int
    supersedes: list[str]


def _identities(
    vehicle: str, sessions: list[tuple[int, int]], old: list[_Old]
) -> list[tuple[str, list[str]]]:
    """The id of each session of a vehicle, and the ids that it supersedes."""
    shares = [
        [min(one.until, until) - max(one.begins, begins) for begins, until in sessions]
        for one in old
    ]
    first_ids = [_id(vehicle, begins) for begins, _ in sessions]
    names: list[str | None] = [
        name
        if any(
            share[place] > 0 and name in (one.session_id, *one.supersedes)
            for one, share in zip(old, shares, strict=True)
        )
        else None
        for place, name in enumerate(first_ids)
    ]
    taken_in: list[set[str]] = [set() for _ in sessions]
    for one, share in zip(old, shares, strict=True):
        place = max(range(len(share)), key=lambda n: (share[n], -n), default=None)
        if place is None or share[place] <= 0:
            continue
        if one.session_id in names:
            place = names.index(one.session_id)
        elif names[place] is None:
            names[place] = one.session_id
        taken_in[place].update((one.session_id, *one.supersedes))
    living = {name for name in names if name is not None}
    given = []
    for name, (begins, _) in zip(names, sessions, strict=True):
        given.append(name or _new_id(vehicle, begins, living))
        living.add(given[-1])
    return [(name, sorted(others - living)) for name, others in zip(given, taken_in, strict=True)]


def _new_id(vehicle: str, begins: int, living: set[str]) -> str:
    for attempt in count():
        name = _id(vehicle, begins, attempt)
        if name not in living:
            return name
    raise AssertionError


def _id(vehicle: str, begins: int, attempt: int = 0) -> str:
    text = f"{vehicle} {begins}" + (f" {attempt}" if attempt else "")
    return str(uuid5(_NAMESPACE, text))
