"""No text of ours is a formula in a spreadsheet, and what we read back is what it was."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_api.bulk_import.source import Source
from ingestion_api.rest.table_formats import CSV, render_table
from ingestion_api.routes.link_bodies import read_links
from lake import Column
from lake.csv_injection import (
    escape_column,
    escape_formula,
    escape_frame,
    unescape_column,
    unescape_formula,
)
from lake.recordings import ColumnMapping
from local_stack.cli.device_csv import read_updates
from local_stack.client.recordings import recorded_heartbeats
from warehouse_sql.device_attributes import DeviceAttributes
from warehouse_sql.devices import DeviceUpdate

FORMULA = '=HYPERLINK("http://evil.example";"click")'
STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
TEXTS = st.lists(st.none() | st.text(st.sampled_from("'=-+@\t\r\nab \uff1d\N{SNOWMAN}")))


@pytest.mark.parametrize("start", STARTS)
def test_text_that_begins_like_a_formula_does_not_any_more(start: str) -> None:
    assert escape_formula(f"{start}1+1") == f"'{start}1+1"
    assert escape_formula(f"a{start}1") == f"a{start}1"


@given(texts=TEXTS)
def test_cells_frames_and_columns_are_treated_alike_and_come_back(texts: list[str | None]) -> None:
    cells = [None if text is None else escape_formula(text) for text in texts]
    column = pa.array(texts, pa.large_string())
    assert escape_column(column).to_pylist() == cells
    assert unescape_column(escape_column(column)).to_pylist() == texts
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    assert escape_frame(frame)["text"].to_list() == cells
    assert [None if cell is None else unescape_formula(cell) for cell in cells] == texts


def test_a_table_has_harmless_text_and_its_numbers() -> None:
    columns = [Column("vehicle_id", pa.string(), "id"), Column("loss", pa.float64(), "kWh")]
    rows = pl.DataFrame({"vehicle_id": [FORMULA, "-V1", "V2"], "loss": [-0.5, 1.0, None]})
    header, *read = csv.reader(render_table(rows, columns, CSV).decode().splitlines())
    assert header == ["vehicle_id", "loss"]
    assert read == [[f"'{FORMULA}", "-0.5"], ["'-V1", "1.0"], ["V2", ""]]


@pytest.mark.parametrize("device", ["=cmd|' /C calc'!A0", "-V1", "+1", "@V", "'=V", "''-V", "'V"])
def test_what_is_read_back_is_the_id_that_was_written(tmp_path: Path, device: str) -> None:
    file = tmp_path / "devices.csv"

    def write(*rows: list[str]) -> Path:
        with file.open("w", newline="") as opened:
            csv.writer(opened).writerows([[escape_formula(cell) for cell in row] for row in rows])
        return file

    write(["stream", "device_id", "retired_at"], ["meter", device, "none"])
    assert read_updates(file, (), ()) == (
        [DeviceUpdate("meter", device, DeviceAttributes(retired_at=None))],
        [],
    )
    write(["meter_id", "vehicle_id", "valid_from"], [device, device, "2026-01-01T00:00:00Z"])
    ((_, link),), refused = read_links(file.read_bytes(), is_csv=True, most=10)
    assert (link.meter_id, link.vehicle_id, refused) == (device, device, [])
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC).isoformat()
    write(["meter_id", "timestamp", "kwh_consumed_ac"], [device, noon, "0.5"], ["M", noon, "1"])
    first, _ = recorded_heartbeats(file, ColumnMapping())
    assert first.heartbeat["meterId"] == device
    (part,) = Source(file, ColumnMapping()).parts(0)
    assert part.rows["meterId"].to_pylist() == [device, "M"]
