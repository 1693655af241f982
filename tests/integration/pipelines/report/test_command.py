"""`wattlake report`: the forms of a report from the lake, without Dagster."""

from pathlib import Path

import polars as pl
import psycopg
import pytest

from pipelines.report.__main__ import main
from tests.harness.pipelines import StackTemplate, copied_stack


def test_a_report_is_rendered_in_every_form_and_nothing_is_stored(
    computed_template: StackTemplate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with copied_stack(computed_template, tmp_path / "lake") as stack:
        stored = sorted((tmp_path / "lake" / "reports").rglob("*"))
        begins = {"html": b"<!doctype", "pdf": b"%PDF-", "xlsx": b"PK", "csv": b"period,"}
        for form, begin in begins.items():
            file = tmp_path / f"report.{form}"
            assert main(["2026-11-20", f"--format={form}", f"--output={file}"]) == 0
            assert file.read_bytes().startswith(begin)
        file = tmp_path / "report.parquet"
        assert main(["2026-W47", "--format=parquet", f"--output={file}"]) == 0
        rows = pl.read_parquet(file)
        assert rows["period"].unique().to_list() == ["2026-W47"]
        of_day = stack.table("vehicle_efficiency_daily").sort("vehicle_id")
        vehicles = rows.filter(pl.col("scope") == "vehicle")
        # All that was charged in the week was charged on this day.
        for name in ("vehicle_id", "matched_energy_ac_kwh", "efficiency_percent"):
            assert vehicles[name].to_list() == of_day[name].to_list()
        assert sorted((tmp_path / "lake" / "reports").rglob("*")) == stored

        with psycopg.connect(stack.database_url) as connection:
            connection.execute("INSERT INTO depot (id) VALUES ('north'), ('empty')")
            connection.execute("UPDATE device SET depot_id = 'north' WHERE device_id = 'METER002'")
        capsys.readouterr()
        assert main(["2026-11-20", "--depot=empty", f"--output={file}"]) == 1
        assert "depots with chargers: north" in capsys.readouterr().err
        assert main(["2026-11-20", "--format=csv", "--output=/none/x.csv"]) == 1
        assert "can't write /none/x.csv: No such file or directory" in capsys.readouterr().err
        assert main(["2026-11", "--depot=north", "--format=csv", f"--output={file}"]) == 0
        assert pl.read_csv(file)["meter_id"].to_list() == [None, "METER002"]
