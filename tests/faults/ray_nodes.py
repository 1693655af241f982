"""Workers and a node of a Ray cluster are killed, and all is as one process computes it.

`python -m tests.faults.ray_nodes`, in a network of its own: see `command_on_loopback`. It needs the
extra `ray`. On a cluster of two nodes `verify` loses a worker, and a backfill a worker and then the
second node, each while it computes: the report and every row are those of the local engine.
"""

import argparse
import io
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from typing import Any, Final

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from benchmarks.full_fleet import FullFleet
from lake import DAY, HOUR, STREAMS, Lake, replace_hours
from lake.schema import HOURLY_TABLES
from pipelines.assets import hourly
from pipelines.automation.jobs import range_tags
from pipelines.definitions import definitions
from pipelines.partitions import hour_key
from pipelines.verify import __main__ as verify
from pipelines.verify.stretch import week_stretches
from tests.faults.console import print_line
from tests.harness.pipelines import PipelineStack, pipeline_stack
from tests.harness.postgres import running_postgres, server_folder
from tests.harness.processes import signal_all
from tests.harness.ray_cluster import RayNode, bring_loopback_up, ray_nodes
from tests.harness.waiting import wait_for
from tests.samples import HOUR_10
from warehouse_sql.migrate import migrate

_VEHICLES: Final = 20
_SECONDS: Final = 300


def main() -> None:
    """Run the campaign; AssertionError where anything differs."""
    parser = argparse.ArgumentParser(description="Kill workers and a node of a Ray cluster.")
    parser.add_argument("--days", type=int, default=8, help="of a small fleet, seven at least")
    days = parser.parse_args().days
    bring_loopback_up()
    with (
        server_folder() as folder,
        running_postgres(folder / "postgres") as server,
        # started before the settings are in the environment: a node has none of them
        ray_nodes(folder / "ray", nodes=2) as (address, nodes),
        pytest.MonkeyPatch.context() as patch,
    ):
        lake = Lake(str(folder / "lake"))
        migrate(server.url())
        lake.create_tables()
        with pipeline_stack(lake, server.url(), patch) as stack:
            _Campaign(stack, days).run(address, nodes, patch)


class _Campaign:
    """Days of a small fleet, computed with one engine and then with the other."""

    def __init__(self, stack: PipelineStack, days: int) -> None:
        self._stack, self._hours = (
            stack,
            [HOUR_10 - DAY * days + n * HOUR for n in range(days * 24)],
        )

    def run(self, address: str, nodes: Sequence[RayNode], patch: pytest.MonkeyPatch) -> None:
        """Compute and verify here, and again on the cluster while its parts are killed."""
        fleet = FullFleet(vehicles=_VEHICLES)
        for stream in STREAMS.values():
            rows = pl.concat(fleet.hour(stream, hour) for hour in self._hours)
            self._stack.deliver(stream, rows.to_arrow())
        assert self._stack.run_hours(self._hours[0], self._hours[-1]).success
        expected, verified = self._tables(), self._verify()
        print_line("computed and verified here")

        patch.setenv("ENGINE", "ray")
        patch.setenv("RAY_ADDRESS", address)
        patch.setattr(
            hourly,
            "_SETTINGS",
            hourly._SETTINGS.model_copy(update={"engine": "ray", "ray_address": address}),
        )
        with _meanwhile(lambda: _kill_worker("verify_stretch", nodes)):
            assert self._verify() == verified
        print_line("verified on Ray with a worker killed, and the report is the same")

        self._empty()
        with _meanwhile(lambda: self._kill_worker_and_node(nodes)):
            self._compute_again()
        for name, found in self._tables().items():
            assert_frame_equal(found, expected[name], check_exact=True)
        print_line("computed on Ray with a worker and a node killed, and every row is the same")

    def _compute_again(self) -> None:
        tables = {dg.AssetKey(spec.name) for spec in HOURLY_TABLES}
        job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=tables)
        tags = range_tags(hour_key(self._hours[0]), hour_key(self._hours[-1]))
        assert job.execute_in_process(instance=self._stack.instance, tags=tags).success

    @staticmethod
    def _kill_worker_and_node(nodes: Sequence[RayNode]) -> None:
        _kill_worker("compute_stretch", nodes[:1])
        wait_for(lambda: nodes[1].workers("compute_stretch"), _SECONDS)
        nodes[1].kill()

    def _verify(self) -> tuple[int, Any]:
        """Exit code and report of a verification of two days, which are of two stretches."""
        sunday = next(
            hour for hour in self._hours[24:] if len(week_stretches([hour - DAY, hour])) > 1
        )
        days = [f"--from={sunday - DAY:%Y-%m-%d}", f"--to={sunday:%Y-%m-%d}"]
        with redirect_stdout(io.StringIO()) as told:
            code = verify.main(["--json", *days])
        return code, json.loads(told.getvalue())

    def _empty(self) -> None:
        for spec in HOURLY_TABLES:
            nothing = pl.DataFrame(spec.schema.empty_table())
            replace_hours(self._stack.lake, spec, nothing, self._hours[0], self._hours[-1] + HOUR)

    def _tables(self) -> dict[str, pl.DataFrame]:
        return {spec.name: self._stack.table(spec.name) for spec in HOURLY_TABLES}


def _kill_worker(function: str, nodes: Sequence[RayNode]) -> None:
    workers = wait_for(lambda: [pid for node in nodes for pid in node.workers(function)], _SECONDS)
    signal_all(workers[:1], signal.SIGKILL)


@contextmanager
def _meanwhile(harm: Callable[[], None]) -> Iterator[None]:
    """Do harm while the block is at work; its error, where the block ends and it waits in vain."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(harm)
        yield
        done.result()


if __name__ == "__main__":
    main()
