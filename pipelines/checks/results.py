"""Check results that name devices and hours."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import dagster as dg
import polars as pl
import psycopg

from warehouse_sql.named_queries import query

_SHOWN = 20
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


def check_result(
    name: str,
    offenders: pl.DataFrame,
    hours: Sequence[datetime],
    *,
    what: str,
    asset_key: dg.AssetKey | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """Result that passes if there is no offender; else it shows the first ones as a table."""
    window = f"{hours[0]:%Y-%m-%d %H:00} to {hours[-1]:%Y-%m-%d %H:59} UTC"
    metadata: dict[str, str | int | dg.MetadataValue[str]] = {
        "hours_checked": window,
        "count": offenders.height,
    }
    if offenders.height:
        metadata["first_ones"] = dg.MetadataValue.md(_markdown(offenders.head(_SHOWN)))
    return dg.AssetCheckResult(
        asset_key=asset_key,
        check_name=name,
        passed=offenders.is_empty(),
        severity=severity,
        metadata=metadata,
        description=f"{offenders.height or 'no'} {what}, {window}",
    )


def selected_results(
    context: dg.AssetExecutionContext, results: Iterable[dg.AssetCheckResult]
) -> list[dg.AssetCheckResult]:
    """Results that the run was asked for; each names its asset."""
    asked = {(key.asset_key, key.name) for key in context.selected_asset_check_keys}
    return [result for result in results if (result.asset_key, result.check_name) in asked]


def latched_result(
    connection: psycopg.Connection,
    name: str,
    offenders: pl.DataFrame,
    hours: Sequence[datetime],
    *,
    what: str,
    asset_key: dg.AssetKey,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    since: datetime = _BEGINNING,
) -> dg.AssetCheckResult:
    """Result of a check of `hours` that fails until every hour from `since` on is good.

    The next good hour would otherwise paint over a bad one. `offenders` have `hour_start` or
    `timestamp`. Where only hours of other runs are bad it is a warning, which blocks nothing.
    """
    asset = asset_key.to_user_string()
    bad = _by_hour(offenders)
    parameters = {"asset": asset, "check": name, "hours": list(hours), "since": since}
    found = {"bad": bad["hour"].to_list(), "offenders": bad["offenders"].to_list()}
    connection.execute(query("note_bad_hours"), parameters | found)
    rows = connection.execute(query("bad_hours"), parameters).fetchall()
    result = check_result(name, offenders, hours, what=what, asset_key=asset_key, severity=severity)
    own = set(hours)
    others = [hour for hour, _ in rows if hour not in own]
    if not rows:
        return result
    listed = pl.DataFrame(
        [(hour.astimezone(UTC), count) for hour, count in rows[:_SHOWN]],
        schema=["hour", "offenders"],
        orient="row",
    )
    more = f"; {len(others)} other hours are still bad" if others else ""
    return result._replace(
        passed=False,
        severity=severity if offenders.height else dg.AssetCheckSeverity.WARN,
        metadata={
            **result.metadata,
            "bad_hours": dg.MetadataValue.int(len(rows)),
            "newest_bad_hours": dg.MetadataValue.md(_markdown(listed)),
        },
        description=f"{result.description}{more}",
    )


def _by_hour(offenders: pl.DataFrame) -> pl.DataFrame:
    """Number of offenders of each bad hour: hour, offenders."""
    if offenders.is_empty():
        return pl.DataFrame(schema={"hour": pl.Datetime("us", "UTC"), "offenders": pl.Int64})
    time = pl.col("hour_start" if "hour_start" in offenders.columns else "timestamp")
    hour = time.dt.truncate("1h").alias("hour")
    return offenders.group_by(hour).agg(offenders=pl.len().cast(pl.Int64)).sort("hour")


def _markdown(rows: pl.DataFrame) -> str:
    lines = [rows.columns, ["---"] * rows.width, *map(list, rows.rows())]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    # A device id may hold any printable character; a bar would end the cell.
    return str(value).replace("|", "\\|")
