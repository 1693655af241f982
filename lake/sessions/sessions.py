"""Charging sessions: stretches of a vehicle merged over pauses, hours and midnights.

Explained in docs/sessions.md.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from lake.energy.fact_columns import facts_of_rows, shown_of_vehicles
from lake.energy.facts import merge_facts
from lake.energy.intervals import HOUR, KWH, SECOND, Integers, expand_ranges
from lake.energy.links import LINK, STRONGEST_FIRST
from lake.schema.charging_session import CHARGING_SESSION
from lake.schema.charging_stretch import CHARGING_STRETCH_HOURLY
from lake.schema.cost_columns import SESSION_COST_COLUMNS
from lake.schema.partitions import microseconds
from lake.sessions.stretches import MINUTE
from lake.settings import EnergySettings

LONGEST_SESSION: Final = timedelta(days=7)
"""Energy that flows for longer, without a pause, is several sessions."""

IDENTITY: Final = ("session_id", "supersedes")
"""Columns of CHARGING_SESSION that `identified_sessions` adds."""

# The columns of explicit links; valid_to is null while one is open.
LINKS: Final = {
    "vehicle_id": pl.String(),
    "valid_from": pl.Datetime("us", "UTC"),
    "valid_to": pl.Datetime("us", "UTC"),
}

_LONGEST: Final = LONGEST_SESSION // timedelta(microseconds=1)
_TIME: Final = pl.Datetime("us", "UTC")
_SEPARATOR: Final = "+"
_EVIDENCE: Final = pl.Enum(["ac", "dc", "soc", LINK])


def charging_sessions(
    stretches: pl.DataFrame, links: pl.DataFrame, through: datetime, settings: EnergySettings
) -> pl.DataFrame:
    """Return the sessions of some vehicles: CHARGING_SESSION without the columns of IDENTITY.

    `stretches` are all rows of CHARGING_STRETCH_HOURLY of these vehicles in some time, and for the
    hours within a pause that have none those of `hours_as_stretches`. `links` has the columns
    LINKS. `through` is the end of the newest hour that was computed: what lasts until then goes on.
    """
    rows = stretches.sort("vehicle_id", "begins")
    plugged = _Plugged.of(links, settings)
    drafts = list(_drafts(rows, plugged, settings))
    first = np.array([draft.first for draft in drafts], np.int64)
    length = np.array([draft.last + 1 for draft in drafts], np.int64) - first
    session, row = expand_ranges(first, length)
    rows = rows[row]
    begins, ends = (rows[name].to_physical().to_numpy() for name in ("begins", "ends"))
    since, until = begins[_firsts(session)], ends[_lasts(session)]
    facts = facts_of_rows(rows, begins, ends)
    energy = facts.ac.placed + facts.ac.unplaced
    if drafts:
        facts = merge_facts(facts, session, since, until)
    about = _about(rows.with_columns(session=session, energy=pl.Series(energy)), len(drafts))
    is_linked = about["link_source"].is_not_null().to_numpy()
    shown = shown_of_vehicles(facts, is_linked, about["charger_class"].to_list(), settings)
    link = np.array([-1 if draft.link is None else draft.link for draft in drafts], np.int64)
    pause, end = round(settings.session_pause_minutes * MINUTE), microseconds(through)
    plugged_to = np.where(link >= 0, plugged.ends[link], 0)
    goes_on = np.where(link >= 0, plugged_to > end, until + pause >= end)
    has_link = pl.Series(link >= 0)
    hours = (pl.col("charging_seconds") / 3600).alias("hours")
    # Prices are not known here.
    costs = {column.name: pl.lit(None) for column in SESSION_COST_COLUMNS}
    found = (
        about.with_columns(
            **costs,
            begins=pl.Series(since).cast(_TIME),
            ends=pl.Series(until).cast(_TIME).set(pl.Series(goes_on), None),
            last_energy_at=pl.Series(until).cast(_TIME),
            plugged_from=pl.Series(plugged.starts[link]).cast(_TIME).set(~has_link, None),
            plugged_to=pl.Series(plugged_to).cast(_TIME).set(~has_link, None),
            duration_seconds=pl.Series((until - since) / SECOND),
            evidence=pl.when(has_link)
            .then(pl.concat_str("evidence", pl.lit(_SEPARATOR + LINK)))
            .otherwise("evidence"),
            energy_ac_by_hour_kwh=_by_hour(rows, session, energy, since, until),
            **{
                name: column.series(name)
                for name, column in shown.items()
                if name in CHARGING_SESSION.names
            },
        )
        .with_columns(
            hours,
            plugged_seconds=(pl.col("plugged_to") - pl.col("plugged_from")).dt.total_microseconds()
            / SECOND,
        )
        .with_columns(
            (pl.col(f"energy_{side}_kwh") / pl.col("hours")).round(6).alias(f"mean_power_{side}_kw")
            for side in ("ac", "dc")
        )
    )
    empty = pl.DataFrame(CHARGING_SESSION.schema.empty_table())
    empty = empty.select(name for name in CHARGING_SESSION.names if name not in IDENTITY)
    return found.filter(_is_session(settings)).select(empty.columns).cast(empty.schema)


def hours_as_stretches(hours: pl.DataFrame) -> pl.DataFrame:
    """Return rows of VEHICLE_EFFICIENCY_HOURLY as stretches in which a vehicle did not charge."""
    known = {
        "begins": pl.col("hour_start"),
        "ends": pl.col("hour_start") + pl.duration(hours=1),
        "charging_seconds": pl.lit(0.0),
    }
    empty = pl.DataFrame(CHARGING_STRETCH_HOURLY.schema.empty_table())
    types = dict(empty.select(CHARGING_STRETCH_HOURLY.names).schema)
    return hours.with_columns(
        **known,
        **{name: pl.lit(None) for name in types if name not in hours.columns and name not in known},
    ).select(pl.col(name).cast(kind) for name, kind in types.items())


def _is_session(settings: EnergySettings) -> pl.Expr:
    """Enough energy on either side, or a state of charge that rose."""
    energy = pl.max_horizontal(pl.col("energy_ac_kwh"), pl.col("energy_dc_kwh")).fill_null(0.0)
    has_risen = pl.col("evidence").str.contains("soc", literal=True)
    return (energy >= settings.idle_below_kwh) | has_risen


class _Plugged(NamedTuple):
    """The explicit links of limited time, and where those of a vehicle are among them."""

    starts: Integers
    ends: Integers
    of_vehicle: Mapping[str, tuple[list[int], list[int]]]
    """Their starts, ascending, and their numbers."""

    @classmethod
    def of(cls, links: pl.DataFrame, settings: EnergySettings) -> "_Plugged":
        length = pl.col("valid_to") - pl.col("valid_from")
        limited = links.filter(length <= timedelta(hours=settings.plugged_link_hours)).sort(
            "vehicle_id", "valid_from", "valid_to"
        )
        starts, ends = (
            # The last one stands for none.
            np.append(limited[name].to_physical().to_numpy(), 0)
            for name in ("valid_from", "valid_to")
        )
        of_vehicle: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for number, vehicle in enumerate(limited["vehicle_id"].to_list()):
            of_vehicle[vehicle][0].append(int(starts[number]))
            of_vehicle[vehicle][1].append(number)
        return cls(starts, ends, dict(of_vehicle))

    def at(self, vehicle: str, time: int) -> int | None:
        """Return the number of the link that holds at a time, of several the latest; None: none."""
        starts, numbers = self.of_vehicle.get(vehicle, ((), ()))
        for place in range(bisect_right(starts, time) - 1, -1, -1):
            if time < self.ends[numbers[place]]:
                return numbers[place]
            if time - starts[place] > _LONGEST:
                break
        return None


class _Draft(NamedTuple):
    """The rows of what may be a session, from the first stretch to the last."""

    first: int
    last: int
    vehicle: str
    begins: int
    ends: int
    meters: frozenset[str]
    link: int | None


def _drafts(rows: pl.DataFrame, plugged: _Plugged, settings: EnergySettings) -> Iterator[_Draft]:
    pause = round(settings.session_pause_minutes * MINUTE)
    times = [pl.col(name).to_physical() for name in ("begins", "ends", "silent_since")]
    charging = (
        rows.lazy()
        .with_row_index("row")
        .filter(pl.col("evidence").is_not_null())
        .select("row", "vehicle_id", *times, "meter_ids")
        .collect()
    )
    current: _Draft | None = None
    for row, vehicle, begins, ends, silent_since, meters in charging.iter_rows():
        link = plugged.at(vehicle, begins)
        follows = _Draft(row, row, vehicle, begins, ends, frozenset(meters), link)
        if current is not None:
            since = begins if silent_since is None else min(begins, silent_since)
            if _goes_on(current, follows, since - current.ends <= pause):
                follows = follows._replace(
                    first=current.first,
                    begins=current.begins,
                    meters=current.meters | follows.meters,
                )
            else:
                yield current
        current = follows
    if current is not None:
        yield current


def _goes_on(current: _Draft, follows: _Draft, is_near: bool) -> bool:
    """Tell whether a stretch belongs to the session before it."""
    if follows.vehicle != current.vehicle or follows.ends - current.begins > _LONGEST:
        return False
    if current.link is not None:  # its end ends the session, and no pause does
        return follows.link == current.link
    same_meter = not current.meters or not follows.meters or current.meters & follows.meters
    return is_near and bool(same_meter)


def _about(rows: pl.DataFrame, count: int) -> pl.DataFrame:
    """What of each session does not follow from its facts alone."""
    parts = pl.col("evidence").str.split(_SEPARATOR).list.explode().drop_nulls()
    sources = pl.col("link_source").str.split(_SEPARATOR).list.explode().drop_nulls()
    about = (
        rows.lazy()
        .group_by("session", maintain_order=True)
        .agg(
            pl.col("vehicle_id").first(),
            meter_ids=pl.col("meter_ids").list.explode().drop_nulls().unique().sort(),
            evidence=parts.unique().cast(_EVIDENCE).sort().cast(pl.String).str.join(_SEPARATOR),
            link_source=pl.when(pl.col("link_source").is_not_null().any()).then(
                sources.unique()
                .cast(pl.Enum(STRONGEST_FIRST))
                .sort()
                .cast(pl.String)
                .str.join(_SEPARATOR)
            ),
            charger_class=pl.col("charger_class").sort_by("energy", descending=True).first(),
            charging_seconds=pl.col("charging_seconds").sum().round(6),
            soc_from=pl.col("soc_from").drop_nulls().first(),
            soc_to=pl.col("soc_to").drop_nulls().last(),
            peak_power_ac_kw=pl.col("peak_power_ac_kw").max(),
            peak_power_dc_kw=pl.col("peak_power_dc_kw").max(),
            battery_temp_min=pl.col("battery_temp_min").min(),
            battery_temp_max=pl.col("battery_temp_max").max(),
        )
        .collect()
    )
    assert about.height == count
    return about


def _by_hour(
    rows: pl.DataFrame, session: Integers, energy: Integers, since: Integers, until: Integers
) -> pl.Series:
    """The AC energy of each session by UTC hour, from its first one on, kWh."""
    first = since // HOUR
    counts = (until - 1) // HOUR - first + 1
    offsets = np.concatenate(([0], np.cumsum(counts)))
    hour = rows["hour_start"].to_physical().to_numpy() // HOUR
    sums = np.zeros(int(offsets[-1]), np.int64)
    np.add.at(sums, offsets[session] + hour - first[session], energy)
    lists = pa.LargeListArray.from_arrays(
        pa.array(offsets, pa.int64()), pa.array(sums / KWH, pa.float64())
    )
    return pl.Series("energy_ac_by_hour_kwh", lists)


def _firsts(session: Integers) -> npt.NDArray[np.int64]:
    return np.flatnonzero(np.diff(session, prepend=-1))


def _lasts(session: Integers) -> npt.NDArray[np.int64]:
    return np.flatnonzero(np.diff(session, append=-1))
