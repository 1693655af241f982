"""Writer of `docs/data-dictionary.md` from the lake's schemas and the migrations: `make docs`."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from lake import STREAMS, Column, Stream
from lake.schema import (
    DATE,
    DATE_PARTITION,
    DERIVED_TABLES,
    HOUR_PARTITION,
    TableSpec,
    history_table,
)
from warehouse_sql.migrate import migrations

DOCUMENT: Final = Path(__file__).parent / "data-dictionary.md"
_ABOVE: Final = """\
<!-- Written by `make docs` from lake/schema and the migrations. Edit the descriptions there. -->

# Data dictionary

Every table of the lake, and which of them the schema `mart` of Postgres has for the last
`MART_RETENTION_DAYS`. How numbers come about is in [energy.md](energy.md), how to read the tables
in [analysts.md](analysts.md). Times and days are UTC. Where `null` stands beside the type a value
may be missing, which is no zero; a column that a later version added is null in older rows.

"""
_VIEW: Final = re.compile(r"^CREATE VIEW (mart\.\w+) AS SELECT \* FROM (\w+);", re.MULTILINE)
# The words of descriptions that tell a unit; the last one counts.
_UNITS: Final = {
    "kWh a year": "kWh/a",
    "kWh": "kWh",
    "kW": "kW",
    "volt": "V",
    "percent a month": "%/month",
    "percent": "%",
    "currency a year": "currency/a",
    "in the currency": "currency",
    "days": "d",
    "standard errors": "standard errors",
    "factor": "1",
    "degrees Celsius": "°C",
    "minutes": "min",
    "0-1": "0-1",
    "seconds": "s",
    "heartbeats": "heartbeats",
}
_UNIT: Final = re.compile(rf"\b({'|'.join(_UNITS)})\b")


def document() -> str:
    """The content of the document."""
    views = {table: view for text in migrations().values() for view, table in _VIEW.findall(text)}
    tables = [
        *map(_raw, STREAMS.values()),
        *(_computed(history_table(stream), views) for stream in STREAMS.values()),
        *(_computed(spec, views) for spec in DERIVED_TABLES),
    ]
    return _ABOVE + "\n".join(tables)


def unit_of(column: Column) -> str:
    """The unit of a column's values; empty where they have none."""
    if pa.types.is_decimal(column.type):
        return "currency"
    kind = column.type.value_type if pa.types.is_list(column.type) else column.type
    if not pa.types.is_floating(kind):
        return ""
    if column.name.endswith("_seconds"):
        return "s"
    words = _UNIT.findall(column.description)
    return _UNITS[words[-1]] if words else ""


def _raw(stream: Stream) -> str:
    name = stream.raw_table
    about = f"{stream.name} heartbeats as they were received, copies included"
    key = f"`{', '.join(stream.key)}` and the copies of each"
    columns = (*stream.columns, DATE_PARTITION, HOUR_PARTITION)
    return "".join(_table(name, about, key, "`date`, `hour`", None, columns))


def _computed(spec: TableSpec, views: dict[str, str]) -> str:
    columns = spec.columns if DATE in spec.columns else (*spec.columns, DATE_PARTITION)
    key, view = f"`{', '.join(spec.key)}`", views.get(spec.name)
    return "".join(_table(spec.name, spec.description, key, "`date`", view, columns))


def _table(
    name: str, about: str, key: str, partition: str, view: str | None, columns: Iterable[Column]
) -> Iterator[str]:
    yield f"## {name}\n\n{about[0].upper()}{about[1:]}.\n\n"
    copy = f"lake, Postgres as `{view}`" if view else "lake"
    yield f"Key: {key}. Partition: {partition}. Where: {copy}.\n\n"
    yield "| column | type | unit | meaning |\n|---|---|---|---|\n"
    for column in columns:
        kind = _type(column.type) + (", null" if column.nullable else "")
        yield f"| `{column.name}` | {kind} | {unit_of(column)} | {_cell(column.description)} |\n"


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    if pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_timestamp(kind):
        return "time"
    return "date" if pa.types.is_date(kind) else str(kind).replace("decimal128", "decimal")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    DOCUMENT.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
