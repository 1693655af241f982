"""Stretches of an hour in which vehicles charge, and the facts of each. See docs/sessions.md."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from lake.energy.efficiency import WindowEfficiency
from lake.energy.fact_columns import shown_of_vehicles
from lake.energy.intervals import HOUR, KNOWN, KWH, SECOND, UNPLACED, Integers, expand_ranges
from lake.energy.links import STRONGEST_FIRST
from lake.energy.pieces import Pieces, Windows
from lake.energy.readings import device_order
from lake.schema.charging_stretch import CHARGING_STRETCH_HOURLY
from lake.settings import EnergySettings

MINUTE: Final = 60 * SECOND
# Flow that ceases for no longer is one burst. A burst is judged with as much time to either side,
# or each step of a coarse register of a charger that stands by would be a minute of charging.
_BURST: Final = 10 * MINUTE
_PEAK: Final = 5 * MINUTE
_AC, _DC, _SOC = 1, 2, 4
_EVIDENCE: Final = {_AC: "ac", _DC: "dc", _SOC: "soc"}
_NEVER: Final = np.iinfo(np.int64).max
_TIME: Final = pl.Datetime("us", "UTC")


def charging_stretches(
    efficiency: WindowEfficiency,
    vehicles: pl.DataFrame,
    links: pl.DataFrame,
    charger_classes: pl.DataFrame,
    settings: EnergySettings,
) -> pl.DataFrame:
    """Return rows of CHARGING_STRETCH_HOURLY of the hour that `efficiency` is about.

    Those of each vehicle that charges cut the hour without a gap, so they add up to its row of the
    hour. The other arguments are those of `efficiency_of_window`.
    """
    network, found = efficiency.network, efficiency.found
    if not len(network.vehicles):
        return _rows(pl.DataFrame())
    start, end = int(found.facts.start[0]), int(found.facts.end[0])
    states = _states(vehicles, network.vehicles, start, end, settings)
    flows = _flows(efficiency, states, start, end, settings)
    flows = _cut_at_links(flows, network.link_vehicle, network.link_start, network.link_end)
    stretches = _stretches(
        flows,
        (network.link_vehicle, network.link_start, network.link_end),
        round(settings.session_pause_minutes * MINUTE),
    )
    if not len(stretches.vehicle):
        return _rows(pl.DataFrame())
    stretches = _with_time_between(stretches, start, end)
    about = _linked(stretches, efficiency, links, charger_classes)
    windows = Windows(stretches.start, stretches.end)
    facts = found.running.between(windows, stretches.vehicle)
    is_linked = about["link_source"].is_not_null().to_numpy()
    shown = shown_of_vehicles(facts, is_linked, about["charger_class"].to_list(), settings)
    charges = stretches.evidence > 0
    kw = KWH * (_PEAK / HOUR)
    greatest = found.running.greatest_energy(windows, stretches.vehicle, _PEAK)
    peaks = [energy / kw for energy in greatest]
    mine = set(CHARGING_STRETCH_HOURLY.names) - {"hour_start", *about.columns}
    return _rows(
        about.with_columns(
            hour_start=pl.lit(start).cast(_TIME),
            begins=pl.Series(stretches.start).cast(_TIME),
            ends=pl.Series(stretches.end).cast(_TIME),
            evidence=_evidence(stretches.evidence),
            charging_seconds=pl.Series(stretches.flowing / SECOND),
            silent_since=_known(stretches.silent_since, stretches.silent_since < _NEVER, _TIME),
            peak_power_ac_kw=_known(np.round(peaks[0], 6), charges & (facts.ac.known > 0)),
            peak_power_dc_kw=_known(np.round(peaks[1], 6), charges & (facts.dc.known > 0)),
            **_soc(states, stretches),
            **_temperatures(_repeated(found.sides.temperature, stretches.vehicle), windows),
            **{name: column.series(name) for name, column in shown.items() if name in mine},
        )
    )


class _States(NamedTuple):
    """States of charge, sorted by vehicle and time."""

    vehicle: Integers
    time: Integers
    soc: npt.NDArray[np.float64]


class _Flows(NamedTuple):
    """Times (start, end] in which a vehicle charges by one kind of evidence; in any order."""

    vehicle: Integers
    start: Integers
    end: Integers
    evidence: Integers
    silent_since: Integers

    @classmethod
    def joined(cls, parts: "list[_Flows]") -> "_Flows":
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def where(self, rows: Integers | npt.NDArray[np.bool_]) -> "_Flows":
        return _Flows(*(column[rows] for column in self))


class _Stretches(NamedTuple):
    """Parts of the hour by vehicle, then time; without evidence it did not charge."""

    vehicle: Integers
    start: Integers
    end: Integers
    evidence: Integers
    silent_since: Integers
    flowing: Integers
    """Time in which it charged."""


def _states(
    rows: pl.DataFrame, vehicles: pl.Series, start: int, end: int, settings: EnergySettings
) -> _States:
    """The states of charge of the hour, and those of the largest gap before it."""
    since = start - round(settings.largest_gap_seconds * SECOND)
    time = rows["timestamp"].to_physical().to_numpy()
    is_told = rows["soc"].is_not_null().to_numpy() & (time >= since) & (time <= end)
    row = np.flatnonzero(is_told)
    ids, device, place = device_order(rows["vehicle_id"].gather(row), time[row])
    row = row[place]
    number = vehicles.cast(pl.String).search_sorted(ids).cast(pl.Int64).to_numpy()
    return _States(number[device], time[row], rows["soc"].to_numpy()[row])


def _flows(
    efficiency: WindowEfficiency, states: _States, start: int, end: int, settings: EnergySettings
) -> _Flows:
    """All times within the hour in which a vehicle charges."""
    network, found = efficiency.network, efficiency.found
    count, power = len(network.vehicles), settings.charging_above_kw * KWH / HOUR
    flows, energies, late = [], [], []
    for side, evidence in ((found.sides.ac, _AC), (found.sides.dc, _DC)):
        runs, energy = _runs(side.pieces, count, power, evidence, start, end)
        flows.append(runs)
        energies.append(energy)
        late.append(_after_silence(side.pieces, count, evidence, start, end, settings))
    joined, energy = _Flows.joined(flows), np.concatenate(energies)
    bursts = _merged(joined, _BURST)
    sums = [
        np.bincount(bursts.group, np.where(joined.evidence == side, energy, 0), bursts.total)
        for side in (_AC, _DC)
    ]
    lasts = bursts.end - bursts.start + 2 * _BURST
    is_strong = np.maximum(*sums) >= power * lasts
    strong = joined.where(is_strong[bursts.group])
    has_energy = found.facts.dc.known[:count] > 0
    rising = _rising(states, ~has_energy, settings.charging_soc_rise_percent)
    every = _Flows.joined([strong, *late, rising])
    every = every._replace(start=np.maximum(every.start, start), end=np.minimum(every.end, end))
    return every.where(every.end > every.start)


def _runs(
    pieces: Pieces, vehicles: int, power: float, evidence: int, start: int, end: int
) -> tuple[_Flows, npt.NDArray[np.float64]]:
    """Unbroken flow of one side near the hour, and its energy."""
    flows = (pieces.kind == KNOWN) & (pieces.energy >= power * (pieces.end - pieces.start))
    flows &= (pieces.owner < vehicles) & (pieces.energy > 0)
    flows &= (pieces.end > start - HOUR) & (pieces.start < end + HOUR)
    row = _without_noise(np.flatnonzero(flows), pieces, power)
    owner, begins, ends = pieces.owner[row], pieces.start[row], pieces.end[row]
    energy = pieces.energy[row].astype(np.float64)
    nothing = np.full(len(row), _NEVER)
    each = _Flows(owner, begins, ends, np.full(len(row), evidence), nothing)
    runs = _merged(each, 0)
    whole = _Flows(
        runs.vehicle,
        runs.start,
        runs.end,
        np.full(runs.total, evidence),
        np.full(runs.total, _NEVER),
    )
    sums: npt.NDArray[np.float64] = np.bincount(runs.group, energy, runs.total).astype(np.float64)
    return whole, sums


def _without_noise(row: Integers, pieces: Pieces, power: float) -> Integers:
    """Leave out rises of a register that steps up and down, but in all goes nowhere.

    A piece of an owner with negative energies counts if what flowed from a burst's time before it
    to as long after it, less what went back, has the power.
    """
    falls = (pieces.kind == KNOWN) & (pieces.energy < 0)
    if not falls.any():
        return row
    is_noisy = np.zeros(int(pieces.owner.max()) + 1, np.bool_)
    is_noisy[pieces.owner[falls]] = True
    judged = is_noisy[pieces.owner[row]]
    noisy = row[judged]
    owner, start, end = pieces.owner[noisy], pieces.start[noisy], pieces.end[noisy]
    base = int(pieces.start.min()) - _BURST
    span = int(pieces.end.max()) + _BURST - base + 1
    ends = pieces.owner * span + pieces.end - base
    until = np.concatenate(([0], np.cumsum(np.where(pieces.kind == KNOWN, pieces.energy, 0))))
    first, last = (
        np.searchsorted(ends, owner * span + moment - base, side="right")
        for moment in (start - _BURST, end + _BURST)
    )
    flowed = until[last] - until[first]
    stays = np.ones(len(row), np.bool_)
    stays[judged] = flowed >= power * (end - start + 2 * _BURST)
    return row[stays]


def _after_silence(
    pieces: Pieces, vehicles: int, evidence: int, start: int, end: int, settings: EnergySettings
) -> _Flows:
    """The moments at which energy was told of which nobody knows when it flowed."""
    least = settings.idle_below_kwh * KWH
    late = (pieces.kind == UNPLACED) & (pieces.owner < vehicles) & (pieces.energy >= least)
    late &= (pieces.end >= start) & (pieces.end < end)
    row = np.flatnonzero(late)
    before = np.maximum(row - 1, 0)
    is_same = (row > 0) & (pieces.owner[before] == pieces.owner[row])
    at, owner = pieces.end[row], pieces.owner[row]
    since = np.where(is_same, pieces.end[before], _NEVER)
    return _Flows(owner, at, at + 1, np.full(len(at), evidence), since)


def _rising(states: _States, vehicles: npt.NDArray[np.bool_], least: float) -> _Flows:
    """The times in which a state of charge of these rises, by `least` and without a fall."""
    own = np.flatnonzero(vehicles[states.vehicle])
    vehicle, time, soc = states.vehicle[own], states.time[own], states.soc[own]
    begins = np.ones(len(own), np.bool_)
    rise = np.diff(soc, prepend=soc[:1])
    goes_on = (vehicle[1:] == vehicle[:-1]) & (rise[1:] >= 0) & (np.diff(time) <= HOUR)
    begins[1:] = ~goes_on
    rise[begins] = 0
    run = np.cumsum(begins) - 1
    rises = np.flatnonzero((rise > 0) & (np.bincount(run, rise)[run] >= least))
    # From the last value before the first rise to that of the last one.
    first = np.flatnonzero(np.diff(run[rises], prepend=-1))
    last = np.append(first[1:], len(rises)) - 1
    since = time[rises[first] - 1] if len(rises) else time[:0]
    count = len(first)
    ends = time[rises[last]] if len(rises) else time[:0]
    whose = vehicle[rises[first]] if len(rises) else vehicle[:0]
    return _Flows(whose, since, ends, np.full(count, _SOC), np.full(count, _NEVER))


def _cut_at_links(flows: _Flows, vehicle: Integers, begins: Integers, ends: Integers) -> _Flows:
    """Cut flows where a link of their vehicle begins or ends."""
    if not len(flows.vehicle) or not len(vehicle):
        return flows
    key = _Keys.of(flows)
    edges = key.edges(vehicle, begins, ends)
    low, high = key(flows.vehicle, flows.start), key(flows.vehicle, flows.end)
    first = np.searchsorted(edges, low, side="right")
    inside = np.maximum(np.searchsorted(edges, high, side="left") - first, 0)
    row, number = expand_ranges(np.zeros(len(low), np.int64), inside + 1)
    at = np.clip(first[row] + number, 0, max(len(edges) - 1, 0))
    is_last = number == inside[row]
    edge = edges[at] if len(edges) else np.zeros(len(row), np.int64)
    stop = np.where(is_last, flows.end[row], key.time(flows.vehicle[row], edge))
    start = np.where(number == 0, flows.start[row], np.concatenate((stop[:1], stop[:-1])))
    return flows.where(row)._replace(start=start, end=stop)


class _Keys(NamedTuple):
    """One axis for the times of all vehicles, one vehicle after another."""

    base: int
    span: int

    @classmethod
    def of(cls, flows: _Flows) -> "_Keys":
        base = int(flows.start.min()) if len(flows.start) else 0
        last = int(flows.end.max()) if len(flows.end) else 0
        return cls(base, last - base + 1)

    def __call__(self, vehicle: Integers, time: Integers) -> Integers:
        key: Integers = vehicle * self.span + (time - self.base)
        return key

    def time(self, vehicle: Integers, key: Integers) -> Integers:
        """Return the time of a key of a vehicle."""
        time: Integers = key - vehicle * self.span + self.base
        return time

    def edges(self, vehicle: Integers, begins: Integers, ends: Integers) -> Integers:
        """Return the sorted keys of where links begin and end, as far as the axis goes."""
        who, at = np.concatenate((vehicle, vehicle)), np.concatenate((begins, ends))
        here = (at >= self.base) & (at < self.base + self.span)
        return np.unique(self(who[here], at[here]))


class _Merged(NamedTuple):
    group: Integers
    """Of each flow, as it stands."""
    vehicle: Integers
    start: Integers
    end: Integers

    @property
    def total(self) -> int:
        return len(self.vehicle)


def _merged(flows: _Flows, gap: int, edges: Integers | None = None) -> _Merged:
    """Merge flows of a vehicle that are no longer than `gap` apart, but not over an edge."""
    key = _Keys.of(flows)
    low, high = key(flows.vehicle, flows.start), key(flows.vehicle, flows.end)
    order = np.argsort(low, kind="stable")
    low, high, vehicle = low[order], high[order], flows.vehicle[order]
    reaches = np.maximum.accumulate(high) if len(high) else high
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (vehicle[1:] != vehicle[:-1]) | (low[1:] > reaches[:-1] + gap)
    if edges is not None and len(edges):
        segment = np.searchsorted(edges, low, side="right")
        begins[1:] |= segment[1:] != segment[:-1]
    number = np.cumsum(begins) - 1
    group = np.empty(len(order), np.int64)
    group[order] = number
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(order)) - 1 if len(first) else first
    who = vehicle[first]
    return _Merged(group, who, key.time(who, low[first]), key.time(who, reaches[last]))


def _stretches(flows: _Flows, links: tuple[Integers, Integers, Integers], pause: int) -> _Stretches:
    """Merge flows that are one stretch: no link begins or ends between them, and no long pause."""
    edges = _Keys.of(flows).edges(*links)
    found, unbroken = _merged(flows, pause, edges), _merged(flows, 0, edges)
    evidence, silent = np.zeros(found.total, np.int64), np.full(found.total, _NEVER)
    np.bitwise_or.at(evidence, found.group, flows.evidence)
    np.minimum.at(silent, found.group, flows.silent_since)
    whole = np.zeros(unbroken.total, np.int64)
    whole[unbroken.group] = found.group
    flowing = np.bincount(whole, unbroken.end - unbroken.start, found.total).astype(np.int64)
    return _Stretches(found.vehicle, found.start, found.end, evidence, silent, flowing)


def _with_time_between(stretches: _Stretches, start: int, end: int) -> _Stretches:
    """Add the rest of the hour of these vehicles."""
    vehicle, begins, ends = stretches[:3]
    is_first = np.diff(vehicle, prepend=-1) != 0
    is_last = np.diff(vehicle, append=-1) != 0
    since = np.where(is_first, start, np.concatenate((ends[:1], ends[:-1])))
    before = np.flatnonzero(begins > since)
    after = np.flatnonzero(is_last & (ends < end))
    count = len(before) + len(after)
    rest = _Stretches(
        np.concatenate((vehicle[before], vehicle[after])),
        np.concatenate((since[before], ends[after])),
        np.concatenate((begins[before], np.full(len(after), end))),
        np.zeros(count, np.int64),
        np.full(count, _NEVER),
        np.zeros(count, np.int64),
    )
    every = _Stretches(*(np.concatenate(columns) for columns in zip(stretches, rest, strict=True)))
    order = np.lexsort((every.start, every.vehicle))
    return _Stretches(*(column[order] for column in every))


def _repeated(
    columns: tuple[Integers, Integers, Integers], vehicle: Integers
) -> tuple[Integers, Integers, Integers]:
    """Values by vehicle, with the number of each window of theirs instead."""
    owner, *values = columns
    if (np.diff(owner) < 0).any():
        order = np.argsort(owner, kind="stable")
        owner, values = owner[order], [column[order] for column in values]
    low = np.searchsorted(owner, vehicle)
    window, row = expand_ranges(low, np.searchsorted(owner, vehicle, side="right") - low)
    return window, values[0][row], values[1][row]


def _linked(
    stretches: _Stretches,
    efficiency: WindowEfficiency,
    links: pl.DataFrame,
    charger_classes: pl.DataFrame,
) -> pl.DataFrame:
    """vehicle_id, meter_ids, link_source and charger_class of each stretch.

    The class is that of the meter that gave the most in the hour, of equal ones the first by id.
    """
    network = efficiency.network
    windows = pl.DataFrame(
        {"vehicle": stretches.vehicle, "start": stretches.start, "end": stretches.end}
    ).with_row_index("window")
    of_links = pl.DataFrame(
        {
            "vehicle": network.link_vehicle,
            "meter_id": links["meter_id"],
            "since": network.link_start,
            "until": network.link_end,
            "source": links["source"].cast(pl.Enum(STRONGEST_FIRST)),
            "given": efficiency.found.given[network.link_pair],
        }
    ).join(charger_classes, on="meter_id", how="left")
    found = (
        windows.lazy()
        .join(of_links.lazy(), on="vehicle")
        .filter(pl.col("since") < pl.col("end"), pl.col("until") > pl.col("start"))
        .sort("window", "given", "meter_id", descending=[False, True, False])
        .group_by("window", maintain_order=True)
        .agg(
            meter_ids=pl.col("meter_id").unique().sort(),
            link_source=pl.col("source").unique().sort().cast(pl.String).str.join("+"),
            charger_class=pl.col("charger_class").first(),
        )
    )
    return (
        windows.lazy()
        .join(found, on="window", how="left", maintain_order="left")
        .select(
            pl.lit(network.vehicles.cast(pl.String)).gather("vehicle").alias("vehicle_id"),
            pl.col("meter_ids").fill_null(pl.lit([], pl.List(pl.String))),
            "link_source",
            "charger_class",
        )
        .collect()
    )


def _evidence(bits: Integers) -> pl.Series:
    texts = [
        "+".join(name for bit, name in _EVIDENCE.items() if number & bit) or None
        for number in range(sum(_EVIDENCE) + 1)
    ]
    return pl.Series(texts, dtype=pl.String).gather(bits)


def _soc(states: _States, stretches: _Stretches) -> dict[str, pl.Series]:
    """The first and the last state of charge from the start of each stretch to its end."""
    vehicle, time, soc = states
    base = int(min(time.min(initial=stretches.start.min()), stretches.start.min()))
    span = int(max(time.max(initial=stretches.end.max()), stretches.end.max())) - base + 2
    key = vehicle * span + time - base
    low = np.searchsorted(key, stretches.vehicle * span + stretches.start - base)
    high = np.searchsorted(key, stretches.vehicle * span + stretches.end - base, side="right")
    values, is_known = np.append(soc, np.nan), high > low
    return {
        "soc_from": _known(values[np.where(is_known, low, -1)], is_known),
        "soc_to": _known(values[np.where(is_known, high - 1, -1)], is_known),
    }


def _temperatures(
    warm: tuple[Integers, Integers, Integers], windows: Windows
) -> dict[str, pl.Series]:
    window, time, degrees = warm
    here = (time >= windows.start[window]) & (time < windows.end[window])
    least, most = np.full(len(windows.start), _NEVER), np.full(len(windows.start), -_NEVER)
    np.minimum.at(least, window[here], degrees[here])
    np.maximum.at(most, window[here], degrees[here])
    is_known = least < _NEVER
    return {
        "battery_temp_min": _known(least / 1000, is_known),
        "battery_temp_max": _known(most / 1000, is_known),
    }


def _known(
    values: npt.NDArray[np.int64] | npt.NDArray[np.float64],
    is_known: npt.NDArray[np.bool_],
    kind: pl.DataType | type[pl.DataType] = pl.Float64,
) -> pl.Series:
    return pl.Series(values).cast(kind).set(pl.Series(~is_known), None)


def _rows(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns of the table."""
    empty = pl.DataFrame(CHARGING_STRETCH_HOURLY.schema.empty_table())
    empty = empty.select(CHARGING_STRETCH_HOURLY.names)
    return rows.select(empty.columns).cast(empty.schema) if rows.width else empty
