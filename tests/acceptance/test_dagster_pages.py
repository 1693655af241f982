"""Dagster's own pages in a real browser: what analysts select there is taken."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Response

from local_stack.stack.liveness import url_answers
from pipelines.assets.hourly import SPECS
from tests.acceptance.browser import chromium
from tests.harness.processes import free_port
from tests.harness.waiting import wait_for

PROJECT = Path(__file__).parents[2]
START_SECONDS = 200
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a webserver with an instance of its own; no daemon works for it."""
    home = tmp_path_factory.mktemp("dagster")
    shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster.yaml")
    port = free_port()
    command = [sys.executable, "-P", "-m", "dagster_webserver", "-h", "127.0.0.1"]
    command += ["-p", str(port), "-w", str(PROJECT / "workspace.yaml")]
    own = {"DAGSTER_HOME": str(home), "PYTHONPATH": str(PROJECT), "PARTITIONS_START": "2026-01-01"}
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
    try:
        check = url_answers(f"http://127.0.0.1:{port}/server_info")
        wait_for(
            lambda: check() or process.poll() is not None,
            START_SECONDS,
            describe=(home / "log").read_text,
        )
        assert process.poll() is None, (home / "log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()  # its code server notices within seconds
        process.wait()


def test_both_histories_and_the_hourly_tables_are_taken_as_one_backfill(pages: str) -> None:
    tables = [spec.key.to_user_string() for spec in SPECS]
    names = ",".join(["meter_telemetry_history", "vehicle_telemetry_history", *tables])
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(100_000)
        page.goto(f"{pages}/asset-groups/~/{names}")
        count = len(tables) + 2
        page.get_by_role("button", name=f"Materialize selected ({count})").click()
        page.get_by_role("button", name="Latest").wait_for()  # as the partitions are loaded
        # One partition would be a run and no backfill.
        chosen = page.get_by_placeholder("No matching partitions")
        chosen.fill("[2026-11-20-09:00...2026-11-20-10:00]")
        chosen.press("Tab")
        with page.expect_response(_launches) as answer:
            page.get_by_role("button", name="Launch backfill").click()
        told = answer.value.json()["data"]["launchPartitionBackfill"]

    assert told["__typename"] == "LaunchBackfillSuccess", told


def _launches(response: Response) -> bool:
    return "launchPartitionBackfill" in (response.request.post_data or "")
