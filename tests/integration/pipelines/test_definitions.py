"""Definitions as analysts and operators see them before anything has run."""

import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster import AssetKey
from dagster._core.instance.ref import InstanceRef

from lake import METER, STREAMS, VEHICLE
from lake.schema.catalog import DAILY_EFFICIENCY, DERIVED_TABLES
from pipelines.definitions import definitions
from tests.harness.requirements import skip_or_fail

PROJECT = Path(__file__).parents[3]
TABLES = {
    *(stream.raw_table for stream in STREAMS.values()),
    *(stream.history_table for stream in STREAMS.values()),
    *(spec.name for spec in DERIVED_TABLES),
}
REPORTS = {f"{adverb}_efficiency_report" for adverb in ("daily", "weekly", "monthly")}
ASSETS = {
    "charging_links",
    "device_registry",
    "tariffs",
    "alerts",
    "raw_meter_heartbeats",
    "raw_vehicle_heartbeats",
    "meter_telemetry_history",
    "vehicle_telemetry_history",
    *(spec.name for spec in DERIVED_TABLES),
    "warehouse/vehicle_efficiency_hourly",
    "warehouse/charger_efficiency_hourly",
    "warehouse/fleet_efficiency_hourly",
    *(f"warehouse/{spec.name}" for spec in DAILY_EFFICIENCY),
    "warehouse/charging_session",
    "warehouse/maintenance_visit",
    *REPORTS,
}
# What people keep or the collector makes: Dagster computes none of it.
REGISTRY = {"charging_links", "device_registry", "tariffs"}
EXTERNAL = {*REGISTRY, "alerts", "raw_meter_heartbeats", "raw_vehicle_heartbeats"}
MAINTENANCE = {
    "raw_meter_heartbeats_retention",
    "raw_vehicle_heartbeats_retention",
    "marts_retention",
    "runs_retention",
    *(f"{table}_upkeep" for table in TABLES),
    *(f"{stream.raw_table}_merge" for stream in STREAMS.values()),
    *(f"{table}_archive" for table in TABLES if not table.startswith("raw_")),
}
# Assets whose columns say where they come from.
TRACED = ASSETS - EXTERNAL - REPORTS


@pytest.fixture(scope="module")
def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_the_code_location_is_valid_without_a_database_or_a_lake(tmp_path: Path) -> None:
    environment = {
        "PATH": str(Path(sys.executable).parent),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(PROJECT),
    }
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "pipelines.definitions"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_development_has_the_pools_of_the_product(tmp_path: Path) -> None:
    product = yaml.safe_load((PROJECT / "pipelines" / "dagster.yaml").read_text())
    development = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    assert product.pop("storage")
    assert development == product

    # As `dagster dev` and `dg dev` make it in the folder of the project.
    made = InstanceRef.from_dir(str(tmp_path), config_dir=str(PROJECT))
    with dg.DagsterInstance.from_ref(made) as instance:
        assert instance.global_op_concurrency_default_limit == 1


def test_dg_checks_a_clean_clone_and_says_that_no_database_is_named(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(PROJECT), str(clone)], check=True)
    shutil.copyfile(PROJECT / "pyproject.toml", clone / "pyproject.toml")
    dg_tool = Path(sys.executable).with_name("dg")
    if not dg_tool.exists():
        skip_or_fail("dagster-dg-cli of requirements-dev.lock is not installed")
    done = subprocess.run(
        [str(dg_tool), "check", "defs"],
        cwd=clone,
        env={"PATH": str(dg_tool.parent), "HOME": str(tmp_path), "DAGSTER_DG_CLI_CONFIG": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "All definitions loaded successfully" in said
    assert "DATABASE_URL: is not set" in said


def test_the_workspace_file_names_the_code_location() -> None:
    assert "python_module: pipelines.definitions" in (PROJECT / "workspace.yaml").read_text()


def test_every_asset_says_what_it_is_and_who_owns_it(specs: dict[str, dg.AssetSpec]) -> None:
    assert specs.keys() == ASSETS
    for name, spec in specs.items():
        assert spec.description, name
        assert "**Caveats.**" in spec.description, name
        assert spec.owners, name
        assert spec.kinds, name
        groups = {
            "registry",
            "raw",
            "history",
            "efficiency",
            "health",
            "sessions",
            "serving",
            "daily",
            "condition",
            "reports",
            "alerts",
        }
        assert spec.group_name in groups, name


def test_each_night_every_table_is_kept_and_each_step_waits_for_the_writer_of_its_table() -> None:
    nodes = definitions.resolve_job_def("maintenance").all_node_defs
    steps = {node.name: node for node in nodes if isinstance(node, dg.OpDefinition)}
    assert steps.keys() == MAINTENANCE
    for step in steps.values():
        assert "**Caveats.**" in str(step.description), step.name
        assert step.retry_policy, step.name
    graph = definitions.resolve_asset_graph()
    for stream in STREAMS.values():
        for work in ("upkeep", "archive"):
            pools = steps[f"{stream.history_table}_{work}"].pools
            assert pools == graph.get(AssetKey(stream.history_table)).pools


def test_no_asset_without_partitions_lists_the_partitions_since_the_start() -> None:
    graph = definitions.resolve_asset_graph()
    found = {
        mapping
        for node in graph.asset_nodes
        if node.partitions_def is None
        for key in node.parent_keys
        if graph.get(key).partitions_def is not None
        for mapping in [node.partition_mappings.get(key)]
    }
    assert found == {dg.LastPartitionMapping()}


def test_every_column_of_every_table_is_described(specs: dict[str, dg.AssetSpec]) -> None:
    for name in ASSETS - REPORTS:
        schema = specs[name].metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchema)
        for column in schema.columns:
            assert column.description, f"{name}.{column.name}"


@pytest.mark.parametrize("report", sorted(REPORTS))
def test_a_report_goes_back_to_the_raw_heartbeats(
    specs: dict[str, dg.AssetSpec], report: str
) -> None:
    upstream = {AssetKey(report)}
    for _ in ASSETS:
        upstream |= {dep.asset_key for key in upstream for dep in specs[key.to_user_string()].deps}

    assert {AssetKey("raw_meter_heartbeats"), AssetKey("raw_vehicle_heartbeats")} <= upstream


def test_checks_that_guard_the_history_block() -> None:
    graph = definitions.resolve_asset_graph()
    blocking = {key.name for key in graph.asset_check_keys if graph.get(key).blocking}

    assert blocking == {"rows_conserved", "no_duplicate_key"}


def test_the_columns_of_every_table_are_traced_back_to_what_devices_sent(
    specs: dict[str, dg.AssetSpec],
) -> None:
    def columns(asset: str) -> set[str]:
        schema = specs[asset].metadata["dagster/column_schema"]
        names = {c.name for c in schema.columns}
        # A partition that is no figure of the table itself is only a place.
        return names - {"date", "hour"} if names & {"timestamp", "hour_start", "ends"} else names

    for name in TRACED:
        lineage = specs[name].metadata["dagster/column_lineage"]
        assert lineage.deps_by_column.keys() == columns(name), name
        for column, deps in lineage.deps_by_column.items():
            assert deps, f"{name}.{column}"
            for dep in deps:
                assert dep.column_name in columns(dep.asset_key.to_user_string()), (column, dep)
                assert dep.asset_key in {upstream.asset_key for upstream in specs[name].deps} | {
                    AssetKey(METER.history_table),
                    AssetKey(VEHICLE.history_table),
                }

    def origins(asset: str, column: str) -> set[tuple[str, str]]:
        if asset not in TRACED:
            return {(asset, column)}
        deps = specs[asset].metadata["dagster/column_lineage"].deps_by_column[column]
        found = (origins(dep.asset_key.to_user_string(), dep.column_name) for dep in deps)
        return set().union(*found)

    assert ("device_registry", "charger_class") in origins("vehicle_efficiency_daily", "status")
    assert ("charging_links", "valid_from") in origins("charging_session", "energy_ac_kwh")
    assert ("tariffs", "price_per_kwh") in origins(
        "warehouse/vehicle_efficiency_daily", "cost_of_losses"
    )
    measured = {("raw_meter_heartbeats", METER.energy), ("raw_vehicle_heartbeats", VEHICLE.energy)}
    assert measured <= origins("warehouse/fleet_efficiency_hourly", "efficiency_percent")
    assert ("raw_vehicle_heartbeats", VEHICLE.energy) not in origins(
        "vehicle_efficiency_hourly", "energy_ac_kwh"
    )


def test_everything_that_is_computed_says_when_it_is_stale(specs: dict[str, dg.AssetSpec]) -> None:
    for name in ASSETS - EXTERNAL:
        assert specs[name].freshness_policy, name
