"""Tables of efficiency for a terminal; every number comes from the collector."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from rich import box
from rich.table import Table
from rich.text import Text

from local_stack.client.collector import Collector

# in the order of concern, with the colour of each
STATUS_STYLES: Mapping[str, str] = {
    "excellent": "green",
    "good": "green",
    "warning": "yellow",
    "critical": "red",
    "idle": "bright_black",
    "insufficient_data": "magenta",
    "unmapped": "magenta",
    "implausible": "red",
}
_RATED = ("critical", "warning", "good", "excellent")
_WITHOUT_RATING = ("implausible", "insufficient_data", "unmapped")
_MOST_ROWS = 10_000


class _Row(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")


class FleetHour(_Row):
    """Energy and efficiency of the fleet in a UTC hour."""

    hour_start: datetime
    rated_energy_ac_kwh: float
    rated_energy_dc_kwh: float
    loss_kwh: float
    efficiency_percent: float | None
    vehicles_excellent: int
    vehicles_good: int
    vehicles_warning: int
    vehicles_critical: int
    vehicles_idle: int
    vehicles_insufficient_data: int
    vehicles_unmapped: int
    vehicles_implausible: int

    def vehicles_by_status(self) -> dict[str, int]:
        """Number of vehicles of each status."""
        return {status: getattr(self, f"vehicles_{status}") for status in STATUS_STYLES}


class VehicleHour(_Row):
    """Energy and efficiency of a vehicle in a UTC hour."""

    vehicle_id: str
    status: str
    reason: str
    energy_ac_kwh: float | None
    energy_dc_kwh: float | None
    loss_kwh: float | None
    efficiency_percent: float | None
    average_battery_temp: float | None
    meter_ids: list[str]


class _FleetAnswer(BaseModel):
    rows: list[FleetHour]


class _VehicleAnswer(BaseModel):
    rows: list[VehicleHour]


def fleet_hours(collector: Collector, hours: int, before: datetime) -> list[FleetHour]:
    """The newest computed hours of the fleet in the 30 days before a time, oldest first."""
    answer = collector.read(
        _FleetAnswer,
        "/v1/analytics/efficiency/fleet",
        start=(before - timedelta(days=30)).isoformat(),
        end=before.isoformat(),
        limit=hours,
    )
    return answer.rows[::-1]


def worst_vehicles(collector: Collector, hour: datetime, count: int) -> list[VehicleHour]:
    """The vehicles with the lowest efficiency in an hour, lowest first."""
    worst: list[VehicleHour] = []
    for status in _RATED:
        if len(worst) < count:
            answer = collector.read(
                _VehicleAnswer,
                "/v1/analytics/efficiency/vehicles",
                start=hour.isoformat(),
                end=(hour + timedelta(hours=1)).isoformat(),
                status=status,
                limit=_MOST_ROWS,
            )
            worst += answer.rows
    rated = [row for row in worst if row.efficiency_percent is not None]
    return sorted(rated, key=lambda row: row.efficiency_percent or 0)[:count]


def reasons_without_rating(collector: Collector, hour: datetime) -> Mapping[str, int]:
    """Count the vehicles without a rating in an hour by their reason; idle ones need none."""
    answer = collector.read(
        _VehicleAnswer,
        "/v1/analytics/efficiency/vehicles",
        start=hour.isoformat(),
        end=(hour + timedelta(hours=1)).isoformat(),
        status=_WITHOUT_RATING,
        limit=_MOST_ROWS,
    )
    return Counter(row.reason for row in answer.rows)


def reasons_text(counts: Mapping[str, int]) -> str:
    """The reasons, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    parts = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in ordered]
    return f"not rated: {', '.join(parts)}"


def fleet_table(hours: Sequence[FleetHour]) -> Table:
    """The fleet by hour; energies are those of the vehicles that have a ratio."""
    table = _table("Fleet efficiency")
    table.caption = "energies are those of the vehicles rated excellent to critical\n"
    table.add_column("hour (UTC)", no_wrap=True)
    for name in ("AC kWh", "DC kWh", "loss kWh", "efficiency"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("vehicles")
    for hour in hours:
        table.add_row(
            f"{hour.hour_start:%d %b %H:%M}",
            f"{hour.rated_energy_ac_kwh:,.1f}",
            f"{hour.rated_energy_dc_kwh:,.1f}",
            f"{hour.loss_kwh:,.1f}",
            _percent(hour.efficiency_percent),
            _two_lines(hour.vehicles_by_status()),
        )
    return table


def worst_table(vehicles: Sequence[VehicleHour], hour: datetime) -> Table:
    """The vehicles that waste most of what they draw."""
    table = _table(f"Worst vehicles, {hour:%d %b %H:%M} UTC")
    table.add_column("vehicle")
    for name in ("AC kWh", "DC kWh", "loss kWh", "efficiency"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status")
    table.add_column("battery", justify="right", no_wrap=True)
    table.add_column("meter")
    for row in vehicles:
        table.add_row(
            row.vehicle_id,
            _energy(row.energy_ac_kwh),
            _energy(row.energy_dc_kwh),
            _energy(row.loss_kwh),
            _percent(row.efficiency_percent),
            Text(row.status, style=STATUS_STYLES.get(row.status, "")),
            "-" if row.average_battery_temp is None else f"{row.average_battery_temp:.0f} °C",
            ", ".join(row.meter_ids),
        )
    return table


def status_text(counts: Mapping[str, int]) -> Text:
    """Vehicles of each status that occurs."""
    parts = [
        Text(f"{counts[status]:,} {status.replace('_', ' ')}", style)
        for status, style in STATUS_STYLES.items()
        if counts.get(status)
    ]
    return Text(", ").join(parts) if parts else Text("none yet")


def _two_lines(counts: Mapping[str, int]) -> Text:
    """Vehicles with a ratio, and below them those without."""
    rated = {status: count for status, count in counts.items() if status in _RATED}
    others = {status: count for status, count in counts.items() if status not in _RATED}
    lines = [status_text(part) for part in (rated, others) if any(part.values())]
    return Text("\n").join(lines)


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_style="bold",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )


def _energy(kwh: float | None) -> str:
    return "-" if kwh is None else f"{kwh:,.2f}"


def _percent(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.1f} %"
