"""Recorded charging sessions, replayed over HTTP into a fresh stack, end as the published totals.

The published totals are given to 0.01 kWh, and published percentages are ratios of them. A ratio
of the unrounded energies may differ from that by what the rounding hides, which is 0.2 points for
a session of 1.78 kWh.
"""

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake import METER, VEHICLE, Lake, hours_between, scan_heartbeats
from pipelines.automation.sensors import late_hours
from tests.harness.collector import Collector, running_collector
from tests.harness.command_line import wattlake as run_wattlake
from tests.harness.pipelines import pipeline_stack
from tests.harness.postgres import copied_database
from tests.harness.requirements import skip_or_fail
from tests.harness.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
RECORDINGS = REPOSITORY.parent / "shared" / "data"
WATTLAKE = Path(sys.executable).parent / "wattlake"

if not RECORDINGS.is_dir():
    skip_or_fail(f"recordings are not at {RECORDINGS}")


@dataclass(frozen=True)
class Session:
    """Published figures of one charging session, kWh and percent."""

    vehicle_id: str
    ac: float
    dc: float
    percent: float

    @property
    def tolerance(self) -> float:
        """0.1 points, and what half a hundredth of a kWh on both sides makes of the ratio."""
        return 0.1 + 0.005 * (100 + self.percent) / self.ac


SOME_REFUSED = 3
WITHOUT_REGISTER = "tf-2016"
SESSIONS = [
    Session("tm-uses-max", 18.59, 16.64, 89.5),
    Session("tf-2016", 10.65, 10.11, 94.9),
    Session("tm-voltage-correction-220-to-127-p1", 8.92, 8.48, 95.1),
    Session("tm-phase-correction-2-to-3", 1.78, 1.68, 94.4),
]


@pytest.fixture(scope="module")
def replayed(
    postgres: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collector]:
    """A collector that has taken in every session, and all of their hours computed."""
    folder = tmp_path_factory.mktemp("recordings")
    with (
        copied_database(postgres, migrated_template) as url,
        running_collector(url, folder, FLUSH_SECONDS="1") as collector,
    ):
        links = write_links(folder / "links.csv")
        command = [WATTLAKE, "links", "import", links, "--url", str(collector.http.base_url)]
        subprocess.run([*map(str, command)], check=True)  # as it is installed
        wattlake(collector, "replay", str(RECORDINGS / "charging_meter_heartbeats.parquet"))
        wattlake(
            collector,
            "replay",
            str(RECORDINGS / "charging_registers.parquet"),
            *("--stream", "vehicle", "--reading-type", "register", "--order-by", "source_row"),
            *("--rename", "charge_energy_added_kwh=kwh_delivered_dc"),
        )
        wattlake(collector, "replay", str(write_intervals(folder / "intervals.parquet")))
        wait_for(lambda: status(collector)["outboxRows"] == 0)
        compute_what_waits(collector)
        assert status(collector)["hoursWaiting"] == 0 < status(collector)["hoursCompacted"]
        yield collector


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.vehicle_id)
def test_the_api_finds_the_published_session(replayed: Collector, session: Session) -> None:
    start, end = recorded_window(session.vehicle_id)
    # The first reading tells of the time before it.
    answer = performance(replayed, session.vehicle_id, start - timedelta(minutes=5), end)
    check(session, answer["energyConsumedAc"], answer["energyDeliveredDc"])
    assert answer["efficiencyRatio"] == pytest.approx(session.percent, abs=session.tolerance)
    assert answer["links"][-1]["source"] == "link"


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.vehicle_id)
def test_the_postgres_table_adds_up_to_the_published_session(
    replayed: Collector, session: Session
) -> None:
    (row,) = replayed.sql(
        "SELECT sum(energy_ac_kwh), sum(energy_dc_kwh) FROM vehicle_efficiency_hourly"
        " WHERE vehicle_id = %s",
        session.vehicle_id,
    )
    check(session, *row)


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.vehicle_id)
def test_the_delta_table_adds_up_to_the_published_session(
    replayed: Collector, session: Session
) -> None:
    lake = Lake(str(replayed.lake_folder))
    rows = (
        lake.scan(lake.open("vehicle_efficiency_hourly"))
        .filter(pl.col("vehicle_id") == session.vehicle_id)
        .select("energy_ac_kwh", "energy_dc_kwh")
        .sum()
        .collect()
    )
    check(session, *rows.row(0))


def test_the_three_faces_of_an_hour_are_the_same(replayed: Collector) -> None:
    lake = Lake(str(replayed.lake_folder))
    delta = lake.scan(lake.open("vehicle_efficiency_hourly")).collect()
    mart = replayed.sql(
        "SELECT hour_start, vehicle_id, energy_ac_kwh, energy_dc_kwh, efficiency_percent, status"
        " FROM vehicle_efficiency_hourly ORDER BY hour_start, vehicle_id"
    )
    in_lake = delta.select(
        "hour_start", "vehicle_id", "energy_ac_kwh", "energy_dc_kwh", "efficiency_percent", "status"
    ).sort("hour_start", "vehicle_id")
    assert mart == in_lake.rows()
    for hour, vehicle_id, ac, dc, percent, status in mart:
        answer = performance(replayed, vehicle_id, hour, hour + timedelta(hours=1))
        found = (answer["energyConsumedAc"], answer["energyDeliveredDc"])
        assert (*found, answer["efficiencyPercent"], answer["status"]) == (ac, dc, percent, status)


def test_what_the_car_did_not_send_stays_null(replayed: Collector) -> None:
    lake = Lake(str(replayed.lake_folder))
    sent = recorded_intervals().sort("timestamp")
    history = (
        lake.scan(lake.open(VEHICLE.history_table))
        .filter(pl.col("vehicle_id") == WITHOUT_REGISTER)
        .sort("timestamp")
        .select(sent.columns)
        .collect()
    )
    assert history.equals(sent)
    assert 0 < history["kwh_delivered_dc"].null_count() < history.height


def test_one_house_has_its_voltage_and_its_gaps(
    postgres: str, migrated_template: str, tmp_path: Path
) -> None:
    file = Path(shutil.copy(RECORDINGS / "household_meter_heartbeats.parquet", tmp_path))
    sent = pl.read_parquet(file)
    start, end = sent["timestamp"][0], sent["timestamp"][-1] + timedelta(seconds=1)
    with (
        copied_database(postgres, migrated_template) as url,
        running_collector(url, tmp_path, FLUSH_SECONDS="1") as collector,
    ):
        # Four minutes were recorded without any value; such a heartbeat says nothing.
        wattlake(collector, "replay", str(file), exit_code=SOME_REFUSED)
        wait_for(lambda: status(collector)["outboxRows"] == 0)
        lake = Lake(str(collector.lake_folder))
        stored = scan_heartbeats(
            lake, METER, start, end, dirty_hours=hours_between(start, end)
        ).collect()
    assert stored.select(sent.columns).equals(sent.drop_nulls())
    for statistic in (pl.Series.min, pl.Series.mean, pl.Series.max):
        assert statistic(stored["voltage"]) == pytest.approx(statistic(sent["voltage"]))
    steps = stored["timestamp"].sort().diff().dt.total_seconds()
    gaps = steps.filter(steps > 60).sort().to_list()
    assert gaps[-1] > timedelta(days=31).total_seconds()
    assert sum(gap / 60 - 1 for gap in gaps[:-1]) == 4


def performance(
    collector: Collector, vehicle_id: str, start: datetime, end: datetime
) -> dict[str, Any]:
    """The API's answer for a vehicle and a window."""
    answer = collector.http.get(
        f"/v1/analytics/performance/{vehicle_id}",
        params={"start": start.isoformat(), "end": end.isoformat()},
    )
    assert answer.status_code == 200, answer.text
    value: dict[str, Any] = answer.json()
    return value


def check(session: Session, ac: float, dc: float) -> None:
    """The energies to the published hundredth, and the ratio of the published totals."""
    assert (round(ac, 2), round(dc, 2)) == (session.ac, session.dc)
    assert 100 * round(dc, 2) / round(ac, 2) == pytest.approx(session.percent, abs=0.1)


def recorded_window(vehicle_id: str) -> tuple[datetime, datetime]:
    """From the session's start to just after its last reading."""
    sessions = pl.read_parquet(RECORDINGS / "charging_sessions.parquet")
    row = sessions.row(by_predicate=pl.col("vehicle_id") == vehicle_id, named=True)
    start: datetime = row["start"]
    end: datetime = row["end"]
    return start, end + timedelta(seconds=1)


def recorded_intervals() -> pl.DataFrame:
    """Heartbeats of the car whose recording has no register, without those that say nothing."""
    rows = pl.read_parquet(RECORDINGS / "charging_vehicle_heartbeats.parquet")
    measured = pl.any_horizontal(pl.col("soc", "kwh_delivered_dc").is_not_null())
    return rows.filter(pl.col("vehicle_id") == WITHOUT_REGISTER, measured)


def write_intervals(file: Path) -> Path:
    """The same as a file to replay."""
    recorded_intervals().write_parquet(file)
    return file


def write_links(file: Path) -> Path:
    """A CSV that links each session's meter to its vehicle for that time."""
    pairs = pl.DataFrame(
        {"vehicle_id": [WITHOUT_REGISTER], "meter_id": [f"onboard-ac-{WITHOUT_REGISTER}"]}
    ).vstack(
        pl.read_parquet(RECORDINGS / "charging_registers.parquet").select("vehicle_id", "meter_id")
    )
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["meter_id", "vehicle_id", "valid_from", "valid_to"])
        for vehicle_id, meter_id in pairs.unique().sort("vehicle_id").rows():
            rows.writerow([meter_id, vehicle_id, *map(str, recorded_window(vehicle_id))])
    return file


def wattlake(collector: Collector, *arguments: str, exit_code: int = 0) -> None:
    """Run the command line against the collector."""
    url = f"http://127.0.0.1:{collector.port}"
    done = run_wattlake(collector.lake_folder.parent, *arguments, "--url", url)
    assert done.returncode == exit_code, done.stdout + done.stderr


def compute_what_waits(collector: Collector) -> None:
    """Run what the sensor asks for, as the daemon does, until it asks for nothing."""
    lake = Lake(str(collector.lake_folder))
    with (
        pytest.MonkeyPatch.context() as patch,
        pipeline_stack(lake, collector.database_url, patch) as stack,
    ):
        while requests := stack.evaluate_sensor(late_hours).run_requests:
            for request in requests:
                assert stack.run("hourly", request.tags).success


def status(collector: Collector) -> dict[str, Any]:
    """Status of the collector."""
    answer: dict[str, Any] = collector.http.get("/v1/status").json()
    return answer
