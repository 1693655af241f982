"""Old runs of Dagster go; what the pages of assets and partitions show stays."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import RunsFilter

from pipelines.maintenance.run_retention import prune_runs, runs_retention

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01")


@dg.asset(partitions_def=DAYS)
def numbers() -> None: ...


@dg.asset
def broken() -> None:
    raise ValueError


@dg.asset
def maintained() -> None: ...


DEFINITIONS = dg.Definitions(
    assets=[numbers, broken],
    jobs=[
        dg.define_asset_job("daily", selection=[numbers]),
        dg.define_asset_job("hourly", selection=[numbers]),
        dg.define_asset_job("other", selection=[broken]),
    ],
)


def test_runs_go_unless_they_are_young_or_hold_the_newest_record_of_a_partition() -> None:
    with dg.DagsterInstance.ephemeral() as instance:

        def run(job: str, day: str | None = None) -> str:
            of = DEFINITIONS.resolve_job_def(job)
            done = of.execute_in_process(instance=instance, partition_key=day, raise_on_error=False)
            return done.run_id

        replaced = run("daily", "2026-01-01")
        hourly = run("hourly", "2026-01-01")
        newest = [run("daily", "2026-01-01"), run("daily", "2026-01-02")]
        failed = run("other")
        now = datetime.now(UTC)

        young = prune_runs(instance, ["daily"], now - timedelta(days=1))
        assert (young.deleted, young.kept) == (0, 0)
        done = prune_runs(instance, ["daily"], now + timedelta(days=1))

        assert (done.deleted, done.kept) == (2, 2)
        left = {record.dagster_run.run_id for record in instance.get_run_records(RunsFilter())}
        assert left == {hourly, *newest}
        assert not instance.get_records_for_run(replaced).records
        assert not instance.get_records_for_run(failed).records
        found = instance.fetch_materializations(numbers.key, limit=10).records
        assert {(record.partition_key, record.run_id) for record in found} >= {
            ("2026-01-01", newest[0]),
            ("2026-01-02", newest[1]),
        }
        again = prune_runs(instance, ["daily"], now + timedelta(days=1))
        assert (again.deleted, again.kept) == (0, 2)


@dg.asset(key=["maintenance", "numbers"])
def upkeep_of_an_earlier_version() -> None: ...


def test_assets_that_the_nightly_steps_were_are_forgotten_and_no_other() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([upkeep_of_an_earlier_version, maintained], instance=instance)
        for _ in range(2):
            with dg.build_op_context(instance=instance) as context:
                runs_retention(context)
            assert instance.get_asset_keys() == [maintained.key]
