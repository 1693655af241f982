"""Hours or days of a part of the fleet, added up from its devices as they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl
import pyarrow as pa

from lake.energy.fleet import fleet_efficiency
from lake.reads.table_reader import TableVersion
from lake.schema.cost_columns import COST_COLUMNS
from lake.schema.table_spec import TableSpec

_COSTS: Final = pl.DataFrame(pa.schema([c.field() for c in COST_COLUMNS]).empty_table()).schema


@dataclass(frozen=True)
class PartOfFleet:
    """Some vehicles and meters as if they were the fleet: rows of `spec`, a table of the fleet.

    `vehicles` and `chargers` are the tables of the same hours or days; `hours` are the two tables
    of hours, which tell how many hours of a day have a row. Days have no costs.
    """

    spec: TableSpec
    vehicles: TableVersion
    chargers: TableVersion
    hours: tuple[TableVersion, TableVersion]
    vehicle_ids: Sequence[str]
    meter_ids: Sequence[str]

    @property
    def number(self) -> tuple[int, ...]:
        """The numbers of the versions, others whenever the rows may be others."""
        return tuple(one.number for one in (self.vehicles, self.chargers, *self.hours))

    def scan(self, start: datetime, end: datetime) -> pl.LazyFrame:
        """Scan the rows about times in [start, end), sorted by time."""
        rows = fleet_efficiency(
            self._of_these(self.vehicles, start, end),
            self._of_these(self.chargers, start, end),
            self.spec.time_column,
        )
        if "hours" in self.spec.names:
            known = pl.concat(
                self._of_these(one, start, end).select(
                    pl.col("hour_start"), date=pl.col("hour_start").dt.date()
                )
                for one in self.hours
            )
            counted = known.group_by("date").agg(
                hours=pl.col("hour_start").n_unique().cast(pl.Int64)
            )
            rows = rows.join(counted, on="date", how="left", maintain_order="left").with_columns(
                pl.col("hours").fill_null(0)
            )
            rows = rows.with_columns(
                pl.lit(None, kind).alias(name) for name, kind in _COSTS.items()
            )
        return rows.select(self.spec.names)

    def _of_these(self, table: TableVersion, start: datetime, end: datetime) -> pl.LazyFrame:
        rows = table.scan(start, end)
        if "vehicle_id" in table.spec.key:
            return rows.filter(pl.col("vehicle_id").is_in(self.vehicle_ids))
        return rows.filter(pl.col("meter_id").is_in(self.meter_ids))
