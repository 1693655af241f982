"""Verification of marts: the copies in Postgres against the rows of the lake."""

from datetime import UTC, datetime

import adbc_driver_manager
import polars as pl
from adbc_driver_postgresql import dbapi

from pipelines.assets.mart import Mart
from pipelines.resources import WarehouseResource
from pipelines.verify.findings import Finding, Remedy, row_finding

_AWAY = {"08", "57"}  # classes of SQLSTATE: no connection, or the server is stopping


class MartUnreadable(Exception):
    """A mart can't be read from Postgres: it was dropped, or its pages are damaged."""


class MartReader:
    """Reader of marts over one connection, which is opened when it is needed."""

    def __init__(self, warehouse: WarehouseResource) -> None:
        self._warehouse = warehouse
        self._connection: dbapi.Connection | None = None

    def close(self) -> None:
        """Close the connection to Postgres."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def rows(
        self, mart: Mart, start: datetime, end: datetime, like: pl.DataFrame | None = None
    ) -> pl.DataFrame:
        """Read rows of a mart; raises MartUnreadable, or the error of an unreachable Postgres."""
        if self._connection is None:
            self._connection = dbapi.connect(self._warehouse.dsn, autocommit=True)
        try:
            return mart.rows(self._connection, start, end, like)
        except adbc_driver_manager.Error as error:
            self.close()  # the driver leaves a failed transaction open
            if error.sqlstate is None or error.sqlstate[:2] in _AWAY:
                raise
            raise MartUnreadable(" ".join(str(error).split())[:300]) from error

    def finding(
        self, mart: Mart, hour: datetime, window: tuple[datetime, datetime], in_lake: pl.DataFrame
    ) -> Finding | None:
        """Finding where a mart differs from the rows that the lake has of a window.

        It names `hour`. None where the retention has met the window.
        """
        name = "/".join(mart.asset_key.path)
        try:
            in_mart = self.rows(mart, *window, in_lake)
        except MartUnreadable as error:
            return _unreadable(hour, name, error)
        if window[0] < mart.first(datetime.now(UTC)):
            return None  # asked after the rows were read: the retention may just have met them
        return row_finding(hour, name, in_lake, in_mart, mart.table.key)


def _unreadable(hour: datetime, name: str, error: MartUnreadable) -> Finding:
    return Finding(
        hour=hour,
        table=name,
        expected="a table of Postgres that can be read",
        found=str(error),
        first=(),
        remedy=Remedy.MART,
    )
