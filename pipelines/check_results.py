"""Check results that name the devices and hours, so that a person knows where to look."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import dagster as dg
import polars as pl

_SHOWN = 20


def check_result(
    name: str,
    offenders: pl.DataFrame,
    hours: Sequence[datetime],
    *,
    what: str,
    asset_key: dg.AssetKey | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """Passed if there is no offender; else the first offenders as a table."""
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


def selected(
    context: dg.AssetExecutionContext, results: Iterable[dg.AssetCheckResult]
) -> list[dg.AssetCheckResult]:
    """Those results that the run was asked for; each names its asset."""
    asked = {(key.asset_key, key.name) for key in context.selected_asset_check_keys}
    return [result for result in results if (result.asset_key, result.check_name) in asked]


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
