"""A history of the version before is right though it counts no conflicts; a wrong count is told."""

from datetime import timedelta

import polars as pl
import pytest

from lake import METER
from lake.history import merge_heartbeats, no_heartbeats
from pipelines.verify.checks import history_findings
from pipelines.verify.heartbeats import StreamHour
from tests.samples import HOUR_10, heartbeats

NULLS = {"conflicts": pl.lit(None, pl.Int64), "conflicting_energy": pl.lit(None, pl.Float64)}


@pytest.mark.parametrize(
    ("changed", "findings"),
    [
        ({}, 0),
        (NULLS, 0),
        ({"conflicts": pl.lit(0, pl.Int64)}, 1),
        ({**NULLS, "kwh_consumed_ac": pl.lit(0.1)}, 1),
        ({**NULLS, "phase": pl.lit("L1")}, 1),
    ],
    ids=["as it should be", "older", "wrong count", "older and wrong", "another phase"],
)
def test_only_what_a_history_tells_is_compared(changed: dict[str, pl.Expr], findings: int) -> None:
    raw = pl.DataFrame(
        heartbeats(
            METER,
            [
                {
                    "meter_id": "M1",
                    "phase": phase,
                    "kwh_consumed_ac": 0.1 * copy,
                    "received_at": HOUR_10 + timedelta(seconds=copy),
                }
                for phase in (None, "L2")
                for copy in (2, 3)
            ],
        )
    )
    merged = merge_heartbeats(METER, no_heartbeats(METER).lazy(), [raw.lazy()]).collect()
    assert merged["conflicts"].to_list() == [1, 1]
    hour = StreamHour(
        stream=METER,
        raw_rows=raw.height,
        lost=merged.clear(),
        last_arrival=HOUR_10,
        expected=merged,
        history=merged.with_columns(**changed),
        raw_whole=True,
        history_whole=True,
    )
    found = list(history_findings(HOUR_10, hour))
    assert len(found) == findings
