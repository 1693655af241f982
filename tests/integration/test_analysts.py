"""The examples for analysts do what they say."""

import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import polars as pl
import pytest

from lake import HOUR, Lake, replace_hours
from lake.schema.vehicle_efficiency import VEHICLE_EFFICIENCY_HOURLY
from tests.harness.command_line import DONE, wattlake
from tests.samples import HOUR_10

GUIDE = Path(__file__).parents[2] / "docs/analysts.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with one critical and one healthy vehicle."""
    lake = Lake(str(tmp_path / "data" / "lake"))
    lake.create_tables()
    usual: dict[str, object] = {column.name: 0 for column in VEHICLE_EFFICIENCY_HOURLY.columns}
    usual |= {"hour_start": HOUR_10, "link_source": "link", "meter_ids": ["METER001"]}
    schema = lake.scan(lake.open(VEHICLE_EFFICIENCY_HOURLY.name)).collect_schema()
    rows = [
        {**usual, "vehicle_id": name, "status": status, "efficiency_percent": percent}
        for name, status, percent in (("VEH001", "critical", 71.5), ("VEH002", "good", 88.0))
    ]
    names = VEHICLE_EFFICIENCY_HOURLY.names
    frame = pl.DataFrame(rows, schema={name: schema[name] for name in names}, strict=False)
    replace_hours(lake, VEHICLE_EFFICIENCY_HOURLY, frame, HOUR_10, HOUR_10 + HOUR)
    return tmp_path / "data"


def examples(language: str) -> list[str]:
    """The code blocks of the guide for analysts."""
    text = GUIDE.read_text(encoding="utf-8")
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return found


@pytest.mark.parametrize("library", ["polars", "duckdb"])
def test_the_python_examples_show_the_critical_vehicle(folder: Path, library: str) -> None:
    (code,) = [code for code in examples("python") if f"import {library}" in code]
    printed = StringIO()
    with redirect_stdout(printed):
        exec(code.replace("FOLDER", str(folder)), {})
    assert "VEH001" in printed.getvalue()
    assert "VEH002" not in printed.getvalue()


def test_the_query_examples_show_the_tables_and_the_critical_vehicle(folder: Path) -> None:
    (block,) = [block for block in examples("") if "wattlake query" in block]
    listing, query = re.findall(r"wattlake (query (?:[^\n\"]|\"[^\"]*\")*)", block)
    tables = wattlake(folder, *shlex.split(listing), DATA_FOLDER=str(folder))
    assert (tables.returncode, "percent" in tables.stdout) == (DONE, True), tables.stderr
    rows = wattlake(folder, *shlex.split(query), DATA_FOLDER=str(folder))
    assert rows.returncode == DONE, rows.stderr
    assert "VEH001" in rows.stdout
    assert "71.5" in rows.stdout
    assert "VEH002" not in rows.stdout
