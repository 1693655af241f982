"""The report as a workbook: numbers as numbers, one sheet a question."""

import io
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import polars as pl
import polars.selectors as cs
import xlsxwriter

from pipelines.report.figures import Figures
from pipelines.report.totals import Totals

# Of text nothing is guessed: no formula, no link, no number.
_OPTIONS: Final = {
    "in_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}
_WIDEST: Final = 60
_NO_ROWS: Final = ("hour_start", "battery_temp_sum", "battery_temp_count")
_KINDS: Final = (
    # what the name of a column ends with, and how its numbers are written
    ("kWh", "#,##0.000"),
    ("%", "0.0"),
    ("currency", "#,##0.00"),
    ("", "#,##0"),
)


def workbook(content: dict[str, Any], figures: Figures) -> bytes:
    """An XLSX file; the same bytes for the same figures.

    `content` is what `content_of` says of the figures.
    """
    sink = io.BytesIO()
    with xlsxwriter.Workbook(sink, _OPTIONS) as book:
        book.set_properties(
            {
                "title": f"{figures.name}, {content['key']}",
                "created": figures.generated_at.replace(tzinfo=None),
            }
        )
        sheets = _Sheets(book)
        sheets.add("Summary", *_summary(content, figures))
        sheets.add("By hour" if figures.period.kind == "day" else "By day", *_steps(figures))
        sheets.add("Worth a visit", *_visits(figures))
        sheets.add("Not rated", *_excluded(figures))
        sheets.add("Silent", *_silent(figures))
        sheets.add("Vehicles", *_devices(figures.vehicles))
        sheets.add("Chargers", *_devices(figures.chargers))
        if figures.is_of_fleet and figures.depots.height:
            sheets.add("Depots", *_devices(figures.depots))
        sheets.add("Sources", ["table", "version"], list(figures.sources.items()))
    return sink.getvalue()


class _Sheets:
    """Writer of tables, each on a sheet with a head that stays and a filter."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._head = book.add_format(
            {"bold": True, "text_wrap": True, "valign": "top", "bottom": 1}
        )
        self._formats = {end: book.add_format({"num_format": form}) for end, form in _KINDS}

    def add(self, name: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Add a sheet; the end of a head says what its numbers are."""
        sheet = self._book.add_worksheet(name)
        widths = [min(max(len(word) for word in head.split() or [""]), _WIDEST) for head in heads]
        for column, head in enumerate(heads):
            sheet.write_string(0, column, head, self._head)
        count = 0
        for count, row in enumerate(rows, 1):
            for column, value in enumerate(row):
                width = self._write(sheet, count, column, value, heads[column])
                widths[column] = max(widths[column], min(width, _WIDEST))
        for column, width in enumerate(widths):
            sheet.set_column(column, column, width + 2)
        sheet.freeze_panes(1, 1)
        if count:
            sheet.autofilter(0, 0, count, len(heads) - 1)

    def _write(self, sheet: Any, row: int, column: int, value: Any, head: str) -> int:
        """Write a cell by its type; return how wide it is."""
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            text = " ".join(value) if isinstance(value, list) else str(value)
            sheet.write_string(row, column, text)
            return len(text)
        end = next(end for end, _ in _KINDS if head.endswith(end))
        if isinstance(value, float) and not end:
            sheet.write_number(row, column, value)
        else:
            sheet.write_number(row, column, float(value), self._formats[end])
        return len(f"{value:,.3f}")


def _summary(content: dict[str, Any], figures: Figures) -> tuple[list[str], list[list[Any]]]:
    labels = [row["label"] for row in content["rows"]]
    units = [row["unit"] for row in content["rows"]]
    of = [_numbers(figures.totals), *(_numbers(one.totals) for one in figures.compared)]
    rows: list[list[Any]] = [
        [label, unit, *(values[n] for values in of)]
        for n, (label, unit) in enumerate(zip(labels, units, strict=True))
    ]
    rows += [[], [content["title"]], [figures.name], [content["state"]], [content["basis"]]]
    rows += [[text] for text in content["changed"]]
    rows += [
        [" ".join([change["text"], *(f"{d['id']} {d['note']}" for d in change["devices"])])]
        for change in content["changes"]
    ]
    return ["", "unit", content["key"], *(one.label for one in figures.compared)], rows


def _numbers(totals: Totals) -> list[Any]:
    money = totals.money
    return [
        totals.bought_kwh,
        totals.delivered_kwh,
        totals.lost_kwh,
        totals.efficiency_percent,
        *(None if value is None else float(value) for value in (money.energy, money.losses)),
    ]


def _steps(figures: Figures) -> tuple[list[str], list[tuple[Any, ...]]]:
    names = {
        "label": figures.zone if figures.period.kind == "day" else "day",
        "energy_ac_kwh": "AC kWh",
        "energy_dc_kwh": "DC kWh",
        "unlinked_energy_ac_kwh": "unlinked AC kWh",
        "rated_energy_ac_kwh": "rated AC kWh",
        "rated_energy_dc_kwh": "rated DC kWh",
        "loss_kwh": "lost kWh",
        "efficiency_percent": "efficiency %",
    }
    return list(names.values()), figures.steps.select(*names).rows()


def _visits(figures: Figures) -> tuple[list[str], list[list[Any]]]:
    heads = ["device", "kind", "saves a year, currency", "", "saves a year, kWh", "at stake, kWh"]
    heads += ["since", "sessions", "temperature, C", "power, kW", "known, part", "guessed, part"]
    rows = [
        [
            *(v.device_id, v.kind, v.saves, v.currency, v.saves_kwh, v.at_stake_kwh, v.since),
            *(v.sessions, v.temperature, v.power_kw, v.coverage, v.guessed, v.reason),
        ]
        for v in (*figures.visits.chargers, *figures.visits.vehicles, *figures.visits.wrong)
    ]
    return [*heads, "why"], rows


def _excluded(figures: Figures) -> tuple[list[str], list[list[Any]]]:
    of_reasons = [["", e.code, e.energy_kwh, e.reason] for e in figures.excluded]
    of_devices = [[u.device_id, u.code, u.energy_kwh, u.reason] for u in figures.quality.unrated]
    return ["device; none: all", "reason", "AC kWh", "why"], [*of_reasons, *of_devices]


def _silent(figures: Figures) -> tuple[list[str], list[list[Any]]]:
    rows = [
        [s.device_id, s.kind, s.last and f"{s.last:%Y-%m-%d %H:%M}", _hours(s.silent_for)]
        for s in figures.quality.silent
    ]
    return ["device", "kind", "last heartbeat, UTC", "silent for, hours"], rows


def _hours(length: timedelta | None) -> float | None:
    return None if length is None else round(length.total_seconds() / 3600, 1)


def _devices(rows: pl.DataFrame) -> tuple[list[str], Iterable[Sequence[Any]]]:
    shown = rows.drop(*_NO_ROWS, strict=False).drop(cs.temporal())
    heads = [
        name.replace("_kwh", " kWh").replace("_percent", " %").replace("_", " ")
        if not name.startswith("cost")
        else f"{name.replace('_', ' ')}, currency"
        for name in shown.columns
    ]
    return heads, shown.iter_rows()
