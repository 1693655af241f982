"""Facts of a window, merged from its hours: sections 7 to 10 and 12 of docs/energy.md."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from itertools import pairwise

from tests.oracle.intervals import (
    DAY,
    HOUR,
    Amounts,
    Event,
    Interval,
    Limits,
    Reading,
    interval_amounts,
    register_amounts,
    rint,
)

CONTEXT = 9

Range = tuple[int, int]


@dataclass(frozen=True)
class Heartbeat:
    """A row of a history; energy in microwatt-hours, temperature in thousandths of a degree."""

    device: str
    at: int
    energy: int | None
    register: bool = False
    phase: str | None = None
    declared: int | None = None
    other: int | None = None
    duplicates: int = 0
    temperature: int | None = None


@dataclass(frozen=True)
class Link:
    """A meter feeds a vehicle in `[start, end)`."""

    meter: str
    vehicle: str
    start: int
    end: int
    source: str = "link"

    def holds_at(self, at: int) -> bool:
        """For data points and the time after `at`."""
        return self.start <= at < self.end

    def has_told(self, at: int) -> bool:
        """For what counts at a moment."""
        return self.start < at <= self.end


@dataclass(frozen=True)
class World:
    """Everything that is known: heartbeats, links, limits of each device."""

    meters: Mapping[str, Sequence[Heartbeat]]
    vehicles: Mapping[str, Sequence[Heartbeat]]
    links: Sequence[Link]
    limits: Mapping[str, Limits]
    all_is_context: bool = True
    """Whether every reading is context, or only those that section 10 takes."""


@dataclass
class Side:
    """Facts of one side in a window."""

    energy: int = 0
    unplaced: int = 0
    known: int = 0
    matched: int = 0
    unmatched: int = 0
    gross: int = 0
    gross_matched: int = 0
    left_out_energy: int = 0
    left_out: int = 0
    conflicts: int = 0
    conflicting_energy: int = 0
    first: int | None = None
    last: int | None = None
    inner_gap: int = 0


@dataclass
class Facts:
    """Facts of an owner in a window."""

    start: int
    end: int
    ac: Side = field(default_factory=Side)
    dc: Side = field(default_factory=Side)
    resets: int = 0
    data_points_meter: int = 0
    data_points_vehicle: int = 0
    duplicates: int = 0
    temperature_sum: int = 0
    temperature_count: int = 0
    linked: bool = False
    unlinked_energy: int = 0
    unlinked_known: int = 0
    given: dict[str, int] = field(default_factory=dict)
    """AC energy of the linked time by meter."""
    has_energy: bool = False
    """Whether energy other than zero flowed at some time of the window."""


def window_facts(world: World, owner: str, start: int, end: int) -> Facts:
    """Facts of a vehicle or a charger in a window, merged from its hours."""
    cuts = [start, *range(start // HOUR * HOUR + HOUR, end, HOUR), end]
    parts = [part_facts(world, owner, a, b) for a, b in pairwise(cuts)]
    return merged(parts)


def merged(parts: Sequence[Facts]) -> Facts:
    """Section 10, merge."""
    total = parts[0]
    for part in parts[1:]:
        assert total.end == part.start
        total = Facts(
            start=total.start,
            end=part.end,
            ac=_merged_side(total.ac, part.ac),
            dc=_merged_side(total.dc, part.dc),
            linked=total.linked or part.linked,
            has_energy=total.has_energy or part.has_energy,
            given={
                m: total.given.get(m, 0) + part.given.get(m, 0) for m in total.given | part.given
            },
            **{
                name: getattr(total, name) + getattr(part, name)
                for name in (
                    "resets",
                    "data_points_meter",
                    "data_points_vehicle",
                    "duplicates",
                    "temperature_sum",
                    "temperature_count",
                    "unlinked_energy",
                    "unlinked_known",
                )
            },
        )
    return total


def _merged_side(a: Side, b: Side) -> Side:
    ends = ("first", "last", "inner_gap")
    sums = {
        f.name: getattr(a, f.name) + getattr(b, f.name) for f in fields(Side) if f.name not in ends
    }
    between = 0 if a.last is None or b.first is None else b.first - a.last
    return Side(
        **sums,
        first=b.first if a.first is None else a.first,
        last=a.last if b.last is None else b.last,
        inner_gap=max(a.inner_gap, b.inner_gap, between),
    )


def part_facts(world: World, owner: str, start: int, end: int) -> Facts:
    """Facts of an owner in a part of a window that no full hour cuts."""
    narrow = _Part(world, owner, start, end, start, end)
    crossing = [i for i in narrow.ac + narrow.dc if i.energy != 0]
    a = min([start, *(i.start for i in crossing if i.start < start < i.end)])
    b = max([end, *(i.end for i in crossing if i.start < end < i.end)])
    return _Part(world, owner, start, end, a, b).facts()


class _Part:
    """The sides of an owner, as its context from a to b shows them."""

    def __init__(self, world: World, owner: str, start: int, end: int, a: int, b: int) -> None:
        self.world, self.owner, self.start, self.end, self.a, self.b = (
            world,
            owner,
            start,
            end,
            a,
            b,
        )
        self.of_meter = owner in world.meters or any(k.meter == owner for k in world.links)
        self.amounts: dict[str, dict[str | None, Amounts]] = {}
        if self.of_meter:
            self.links = [k for k in world.links if k.meter == owner]
            self.vehicles = sorted({k.vehicle for k in self.links})
        else:
            self.links = [k for k in world.links if k.vehicle == owner]
            self.vehicles = [owner]
        self.ac: list[Interval] = []
        self.ac_events: list[Event] = []
        for link in self.links:
            of_link = self.fed(link)
            self.ac += of_link.intervals
            self.ac_events += of_link.events
        self.dc: list[Interval] = []
        self.dc_events: list[Event] = []
        if self.of_meter:
            for vehicle in self.vehicles:
                self.add_shares(vehicle)
        else:
            of_vehicle = joined(self.channels(owner).values())
            self.dc, self.dc_events = of_vehicle.intervals, of_vehicle.events

    def channels(self, device: str) -> dict[str | None, Amounts]:
        """What each channel of a device says in this context."""
        if device not in self.amounts:
            beats = self.world.meters.get(device) or self.world.vehicles.get(device) or ()
            limits = self.world.limits[device]
            self.amounts[device] = {
                phase: joined(
                    (register_amounts if register else interval_amounts)(
                        self.context(
                            [
                                Reading(h.at, h.energy, h.declared, h.other)
                                for h in sorted(beats, key=lambda h: h.at)
                                if h.phase == phase
                                and h.register == register
                                and h.energy is not None
                            ],
                            register,
                        ),
                        limits,
                    )
                    for register in (False, True)
                )
                for phase in {h.phase for h in beats}
            }
        return self.amounts[device]

    def context(self, readings: list[Reading], register: bool) -> list[Reading]:
        """Section 10, context of one series."""
        if self.world.all_is_context:
            return readings
        a, b = self.a, self.b
        before = [r for r in readings if r.at <= self.start]
        until = [r for r in readings if r.at <= self.end]
        after = [r for r in readings if r.at > self.end]
        if register and len(before) >= CONTEXT and _equal(before[-CONTEXT:]):
            run: list[Reading] = []
            for r in reversed(before):
                if r.energy != before[-1].energy or r.at < self.start - HOUR:
                    break
                run.append(r)
            if run:
                a = min(a, run[-1].at)
        if register and until and len(after) >= CONTEXT and _equal([until[-1], *after[:CONTEXT]]):
            others = [r.at for r in after if r.energy != until[-1].energy]
            b = max(b, min([*others[:1], self.end + HOUR]))
        return [
            *[r for r in readings if r.at <= a][-CONTEXT:],
            *[r for r in readings if a < r.at <= b],
            *[r for r in readings if r.at > b][:CONTEXT],
        ]

    def fed(self, link: Link) -> Amounts:
        """What a meter measured while the link held."""
        found = Amounts()
        for amounts in self.channels(link.meter).values():
            cuts = {t for k in self.world.links if k.meter == link.meter for t in (k.start, k.end)}
            for whole in amounts.intervals:
                if not whole.placed:
                    if link.has_told(whole.end):
                        found.intervals.append(whole)
                    continue
                found.intervals += [p for p in parts(whole, cuts) if link.holds_at(p.start)]
            found.events += [e for e in amounts.events if link.has_told(e.at)]
        return found

    def unlinked(self) -> list[Interval]:
        """What the owner, a meter, measured while no link held."""
        cuts = {t for k in self.links for t in (k.start, k.end)}
        found: list[Interval] = []
        for whole in joined(self.channels(self.owner).values()).intervals:
            if whole.placed:
                cut = parts(whole, cuts)
                found += [p for p in cut if not any(k.holds_at(p.start) for k in self.links)]
            elif not any(k.has_told(whole.end) for k in self.links):
                found.append(whole)
        return found

    def add_shares(self, vehicle: str) -> None:
        links = [k for k in self.world.links if k.vehicle == vehicle]
        given = {m: 0 for m in sorted({k.meter for k in links})}
        for k in links:
            given[k.meter] += sum(self.in_window(i) for i in self.fed(k).intervals)
        amounts = joined(self.channels(vehicle).values())
        for whole in amounts.intervals:
            cut = (
                parts(whole, {t for k in links for t in (k.start, k.end)})
                if whole.placed
                else [whole]
            )
            for part in cut:
                feeding = sorted(
                    k.meter
                    for k in links
                    if (k.holds_at(part.start) if part.placed else k.has_told(part.end))
                )
                if self.owner in feeding:
                    self.dc.append(replace(part, energy=self.share(part.energy, feeding, given)))
        for event in amounts.events:
            feeding = sorted(k.meter for k in links if k.has_told(event.at))
            if self.owner in feeding:
                left_out = self.share(event.left_out_energy, feeding, given)
                self.dc_events.append(replace(event, left_out_energy=left_out))

    def share(self, energy: int, feeding: Sequence[str], given: Mapping[str, int]) -> int:
        """The owner's share of an energy of a vehicle, by what the feeding meters gave."""
        weights = [max(given[m], 0) for m in feeding]
        if not sum(weights):
            weights = [1] + [0] * (len(feeding) - 1)
        own = feeding.index(self.owner)
        before, until = (
            rint(Fraction(energy * sum(weights[:n]), sum(weights))) for n in (own, own + 1)
        )
        return until - before

    def in_window(self, interval: Interval) -> int:
        """Energy of an interval in the window."""
        if not interval.placed:
            return interval.energy if self.start <= interval.end < self.end else 0
        return energy_until(interval, self.end) - energy_until(interval, self.start)

    def meter_known(self, meter: str) -> list[Range]:
        """Where all phases of a meter are known that were heard lately."""
        heard = {
            h.phase
            for h in self.world.meters.get(meter, ())
            if h.energy is not None and self.start - DAY <= h.at <= self.end
        }
        channels = self.channels(meter)
        known = [
            union((i.start, i.end) for i in channels[phase].intervals if i.placed)
            for phase in (heard or channels)
        ]
        if not known:
            return []
        result = known[0]
        for other in known[1:]:
            result = intersection(result, other)
        return result

    def ac_known(self) -> list[Range]:
        """Where all meters are known that are linked at that moment, and one is."""
        cuts = sorted({t for k in self.links for t in (k.start, k.end)})
        found: list[Range] = []
        for a, b in pairwise(cuts):
            held = {k.meter for k in self.links if k.holds_at(a)}
            if held:
                known = [(a, b)]
                for meter in held:
                    known = intersection(known, self.meter_known(meter))
                found += known
        return union(found)

    def facts(self) -> Facts:
        """The facts of the window."""
        facts = Facts(self.start, self.end)
        ac_known = self.ac_known()
        dc_known = union((i.start, i.end) for i in self.dc if i.placed)
        ac_cuts = {t for k in self.links for t in (k.start, k.end)}
        ac_pieces = pieces(self.ac, ac_cuts)
        dc_pieces = pieces(self.dc, set())
        self.energies(facts.ac, self.ac, self.ac_events, ac_known)
        self.energies(facts.dc, self.dc, self.dc_events, dc_known)
        self.match(facts.ac, ac_pieces, ac_known, dc_pieces, dc_known)
        self.match(facts.dc, dc_pieces, dc_known, ac_pieces, ac_known)
        facts.resets = sum(
            e.resets for e in self.ac_events + self.dc_events if self.start <= e.at < self.end
        )
        meter_beats = [
            h
            for meter in sorted({k.meter for k in self.links} | {self.owner})
            for h in self.world.meters.get(meter, ())
            if self.start <= h.at < self.end
            and (self.of_meter or any(k.meter == meter and k.holds_at(h.at) for k in self.links))
        ]
        vehicle_beats = [
            h
            for vehicle in self.vehicles
            for h in self.world.vehicles.get(vehicle, ())
            if self.start <= h.at < self.end
            and (
                not self.of_meter
                or any(k.vehicle == vehicle and k.holds_at(h.at) for k in self.links)
            )
        ]
        facts.data_points_meter = len({(h.device, h.at) for h in meter_beats})
        facts.data_points_vehicle = len(vehicle_beats)
        facts.duplicates = sum(h.duplicates for h in meter_beats + vehicle_beats)
        temperatures = [h.temperature for h in vehicle_beats if h.temperature is not None]
        facts.temperature_sum = sum(temperatures)
        facts.temperature_count = len(temperatures)
        gaps(facts.ac, meter_beats)
        gaps(facts.dc, vehicle_beats)
        facts.linked = any(k.start < self.end and k.end > self.start for k in self.links)
        for k in self.links:
            given = sum(self.in_window(i) for i in self.fed(k).intervals)
            if given or (k.start < self.end and k.end > self.start):
                facts.given[k.meter] = facts.given.get(k.meter, 0) + given
        own = self.ac + self.dc
        if self.of_meter:
            own = self.ac + self.unlinked()
            facts.unlinked_energy = sum(self.in_window(i) for i in self.unlinked())
            known = union(intersection(self.meter_known(self.owner), [(self.start, self.end)]))
            facts.unlinked_known = length(known) - facts.ac.known
        facts.has_energy = any(
            i.energy
            and (
                (i.start < self.end and i.end > self.start)
                if i.placed
                else self.start <= i.end < self.end
            )
            for i in own
        )
        return facts

    def energies(
        self,
        side: Side,
        intervals: Sequence[Interval],
        events: Sequence[Event],
        known: Sequence[Range],
    ) -> None:
        side.energy = sum(self.in_window(i) for i in intervals)
        side.unplaced = sum(self.in_window(i) for i in intervals if not i.placed)
        side.known = length(intersection(known, [(self.start, self.end)]))
        for e in events:
            if self.start <= e.at < self.end:
                side.left_out += e.left_out
                side.left_out_energy += e.left_out_energy
                side.conflicts += e.conflicts
                side.conflicting_energy += e.conflicting_energy

    def match(
        self,
        side: Side,
        own: Sequence[Interval],
        own_known: Sequence[Range],
        others: Sequence[Interval],
        others_known: Sequence[Range],
    ) -> None:
        """Section 8, the table of matched energy."""
        for piece in own:
            s, e, energy = piece.start, piece.end, piece.energy
            a, b = max(s, self.start), min(e, self.end)
            if a >= b:
                continue

            def known_until(t: int, s: int = s) -> int:
                return length(intersection(others_known, [(s, t)]))

            def others_until(t: int, s: int = s) -> int:
                return sum(energy_until(o, t) - energy_until(o, s) for o in others)

            by_time = energy_until(piece, b) - energy_until(piece, a)
            c = others_until(e)
            is_finer = all(
                o.end - o.start <= e - s
                for o in others
                if o.start <= s < o.end or o.start < e <= o.end
            )
            if intersection(own_known, [(s, e)]) != [(s, e)]:
                matched, unmatched = 0, by_time
            elif known_until(e) == e - s and is_finer and c > 0 and 10 * c >= abs(energy):
                matched = rint(Fraction(energy * others_until(b), c)) - rint(
                    Fraction(energy * others_until(a), c)
                )
                unmatched = 0
            else:
                matched = rint(Fraction(energy * known_until(b), e - s)) - rint(
                    Fraction(energy * known_until(a), e - s)
                )
                unmatched = by_time - matched
            sign = (energy > 0) - (energy < 0)
            side.matched += matched
            side.unmatched += unmatched
            side.gross += sign * (matched + unmatched)
            side.gross_matched += sign * matched


def joined(amounts: Iterable[Amounts]) -> Amounts:
    """All intervals and events of several channels or series."""
    result = Amounts()
    for one in amounts:
        result.intervals += one.intervals
        result.events += one.events
    return result


def energy_until(interval: Interval, t: int) -> int:
    """Section 7: the energy of a placed interval up to `t`."""
    if t <= interval.start:
        return 0
    if t >= interval.end:
        return interval.energy
    return rint(Fraction(interval.energy * (t - interval.start), interval.end - interval.start))


def parts(interval: Interval, cuts: Iterable[int]) -> list[Interval]:
    """A placed interval cut at times."""
    times = sorted(
        {interval.start, interval.end, *(t for t in cuts if interval.start < t < interval.end)}
    )
    return [
        Interval(a, b, energy_until(interval, b) - energy_until(interval, a))
        for a, b in pairwise(times)
    ]


def pieces(intervals: Iterable[Interval], cuts: set[int]) -> list[Interval]:
    """Section 8: the pieces of a side."""
    placed = [i for i in intervals if i.placed]
    times = sorted(cuts | {t for i in placed for t in (i.start, i.end)})
    found = []
    for a, b in pairwise(times):
        inside = [i for i in placed if i.start <= a and b <= i.end]
        if inside:
            energy = sum(energy_until(i, b) - energy_until(i, a) for i in inside)
            found.append(Interval(a, b, energy))
    return found


def union(ranges: Iterable[Range]) -> list[Range]:
    """Sorted ranges that neither overlap nor touch."""
    result: list[Range] = []
    for a, b in sorted(ranges):
        if a >= b:
            continue
        if result and a <= result[-1][1]:
            result[-1] = (result[-1][0], max(b, result[-1][1]))
        else:
            result.append((a, b))
    return result


def intersection(some: Iterable[Range], others: Iterable[Range]) -> list[Range]:
    """Where both are."""
    others = list(others)
    return union(
        (max(a, c), min(b, d)) for a, b in some for c, d in others if max(a, c) < min(b, d)
    )


def length(ranges: Iterable[Range]) -> int:
    """Time of ranges that do not overlap."""
    return sum(b - a for a, b in ranges)


def gaps(side: Side, beats: Sequence[Heartbeat]) -> None:
    """First and last heartbeat, and the longest time between two."""
    times = sorted(h.at for h in beats)
    if times:
        side.first, side.last = times[0], times[-1]
        side.inner_gap = max((b - a for a, b in _pairs(times)), default=0)


def _pairs(times: Sequence[int]) -> Iterator[Range]:
    return pairwise(times)


def _equal(readings: Sequence[Reading]) -> bool:
    return all(r.energy == readings[0].energy for r in readings)
