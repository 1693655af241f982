"""The picture of an hour: small, valid, and with the numbers of the table."""

import time
from base64 import b64decode
from xml.etree import ElementTree

import polars as pl
import pytest

from lake.energy import STATUSES
from pipelines.compute.hour_chart import hour_chart

# Dagster's pages hide a longer text behind a click.
SHOWN_AT_ONCE = 1_000


def bars(rows: list[tuple[str, float | None]]) -> dict[str, int]:
    """Texts of each bar of the picture."""
    frame = pl.DataFrame(
        rows, schema={"status": pl.String(), "efficiency_percent": pl.Float64()}, orient="row"
    )
    encoded = hour_chart(frame).rpartition("base64,")[2].removesuffix(")")
    drawn = ElementTree.fromstring(b64decode(encoded))
    counts, labels = (
        str(e.text).replace("\N{NO-BREAK SPACE}", " ") for e in drawn.iter() if e.text
    )
    drawn_bars = sum(e.tag.endswith("path") for e in drawn.iter())
    found = {
        labels[at : at + 6].strip(): int(counts[at : at + 6])
        for at in range(0, len(labels), 6)
        if counts[at : at + 6].strip()
    }
    assert drawn_bars == len(found)
    return found


def test_the_picture_counts_vehicles_by_efficiency_also_those_above_100_percent() -> None:
    rated = [("excellent", 94.9), ("excellent", 95.0), ("critical", 12.0), ("excellent", 100.0)]
    others = [("implausible", 130.0), ("idle", None), ("insufficient_data", 88.0)]

    assert bars([*rated, *others]) == {"<70": 1, "90": 1, "95": 2, ">100": 1}


def test_an_hour_without_vehicles_has_an_empty_picture() -> None:
    assert bars([]) == {}


@pytest.mark.parametrize("vehicles", [3, 10_000, 400_000])
def test_the_picture_is_small_enough_to_be_shown_and_takes_no_time(vehicles: int) -> None:
    number = pl.int_range(vehicles, eager=True)
    fleet = pl.DataFrame(
        {
            "status": (number % 4).replace_strict(dict(enumerate(STATUSES[:4]))),
            "efficiency_percent": 66.0 + number % 40,
        }
    )

    started = time.process_time()
    markdown = hour_chart(fleet)

    assert time.process_time() - started < 0.3
    assert len(markdown) < SHOWN_AT_ONCE
