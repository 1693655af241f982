"""Rooms and their doors: who may import whom, what a room shows, whose a library is.

A room is a folder, or a module that lies at the first level of a package. All imports count, also
those below `if TYPE_CHECKING` and in functions. Whoever needs an import that is not here first asks
in which room its line belongs.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

# The packages that another one may import, or a room of one, and for each of its rooms the others
# that it may: all of them, or one module. What is not named here is imported by no other room, and
# imports none.
PACKAGES = {
    "lake": "",
    "warehouse_sql": "",
    "ingestion_api": "lake warehouse_sql",
    "pipelines": "lake warehouse_sql",
    "local_stack": "lake warehouse_sql",
    # they run from a checkout, which has the harness of the tests
    "benchmarks": "lake warehouse_sql ingestion_api pipelines local_stack tests.harness",
}
ROOMS = {
    "lake": {
        "errors": "",
        "engine": "",
        "prefetch": "",
        "time_zones": "",
        "csv_injection": "",
        "schema": "",
        "settings": "",
        "recordings": "errors schema settings time_zones",
        "energy": "schema settings",
        "health": "energy schema engine settings",
        "costs": "energy schema time_zones",
        "sessions": "energy schema settings",
        "condition": "schema",
        "reports": "errors schema",
        "rollups": "costs energy health sessions schema engine settings",
        "delta": "schema errors settings",
        "history": "delta schema engine errors prefetch settings",
        "reads": "delta energy history.deduplication schema engine settings",
        "upkeep": "delta history.scans schema errors",
        "__init__": "delta errors history schema settings",
    },
    "warehouse_sql": {
        "errors": "",
        "database_url": "",
        "named_queries": "",
        "binary_parameters": "",
        "outbox": "named_queries",
        "settings": "database_url",
        "session": "errors",
        "migrate": "errors",
        "comments": "migrate named_queries session",
        "statement_pipeline": "named_queries",
        "api_keys": "errors named_queries session",
        "device_attributes": "",
        "devices": "device_attributes errors named_queries session",
        "device_csv": "device_attributes devices errors",
    },
    "ingestion_api": {
        "settings": "",
        "errors": "",
        "token_bucket": "",
        "background_tasks": "",
        "heartbeats": "",
        "observability": "settings",
        "database": "",
        "page": "",
        "rest": "errors heartbeats.contract settings",
        "outbox": "heartbeats database observability background_tasks settings",
        "rejections": "observability background_tasks settings",
        "commit": "heartbeats outbox.pack outbox.backlog database observability background_tasks "
        "errors settings",
        "auth": "rest database background_tasks token_bucket",
        "server": "rest observability token_bucket settings",
        "alerts": "rest database observability background_tasks settings",
        "analytics": "rest database outbox.pack observability background_tasks",
        "cells": "alerts.leased_worker alerts.store commit.transaction database "
        "outbox.lake_binding background_tasks settings",
        "report_delivery": "alerts analytics.lake_access background_tasks settings",
        "services": "alerts analytics auth commit outbox rejections rest database observability "
        "background_tasks settings",
        "ingest": "services auth heartbeats rejections rest observability errors settings",
        "bulk_import": "heartbeats commit.transaction outbox.lake_binding rejections.text database "
        "settings",
        "routes": "services ingest alerts report_delivery analytics auth heartbeats rejections "
        "rest page server database observability outbox.backlog",
        "app": "routes services ingest alerts cells report_delivery analytics auth commit outbox "
        "rejections rest server database background_tasks settings",
        "__main__": "app alerts server database observability settings",
    },
    "pipelines": {
        "settings": "",
        "ledger": "",
        "dagster_storage": "",
        "run_session": "",
        "database": "",
        "engine": "settings",
        "checks": "",
        "first_partition": "settings",
        "partitions": "first_partition",
        "resources": "database run_session",
        "compute": "checks.hours checks.rules database ledger",
        "assets": "compute checks engine ledger partitions resources settings",
        "report": "assets compute partitions resources settings",
        "maintenance": "assets resources settings",
        "automation": "assets checks compute ledger partitions first_partition resources "
        "run_session settings",
        "verify": "assets checks compute engine ledger resources settings",
        "definitions": "assets automation maintenance partitions report resources",
    },
    "local_stack": {
        "errors": "",
        "terminal": "",
        "settings": "errors",
        "folders": "errors",
        "client": "errors folders",
        "simulator": "client errors",
        "stack": "client simulator errors folders settings",
        "cli": "client simulator stack terminal errors settings",
        "__main__": "cli",
    },
}

# What other packages import from the lake: these names, from the room itself.
PUBLIC = {
    "lake": """
        BEGUN DAY HOUR INTERVAL METER REGISTER STREAMS VEHICLE Column Compaction DeliveredHorizon
        EnergySettings ImportProgress Lake LakeDamaged LakeError LakeSettings LogGone OldTable
        StaleRead Stream TableMissing UnusableFile WrongLake append_files append_once
        begin_outbox compact_hour compact_hours follow_horizon hour_of hours_between
        read_delivered_horizon read_import_progress replace_hours rows_by_hour scan_heartbeats
        scan_history write_hour_file
    """,
    "lake.condition": """
        ANOMALIES CLOSE_AFTER DECISIONS FleetCondition LOSSES MAINTENANCE MODEL OPEN PRICES
        SESSIONS TRENDS TooFewSessions
        adjusted_deviations apply_decisions assess_condition efficiency_trends excess_loss
        expected_efficiency find_anomalies fit_expected no_maintenance prepare_sessions
        update_maintenance weekly_levels
    """,
    "lake.costs": """
        BadTariff DayCosts EfficiencyPointValue Pricing Tariffs calculate_costs
        costs_by_group costs_of_day flows_of_fleet group_by_price hourly_flows needs_chargers
        price_sessions read_tariffs repriced sum_energies value_of_one_point worst_devices
    """,
    "lake.delta": """
        READ_ERRORS Append DamagedFile DataFile RawSnapshot Replacement appends_of_others
        change_window commit_replacement count_rows_by_hour data_files diagnose_read_errors
        empty_commits find_damage find_damaged_files live_files remove_file replace_if_changed
        require_table_id run_sql scan_files scan_window write_replacement
    """,
    "lake.energy": """
        CADENCE CHARGER_CLASSES FactsOfFew HEARTBEAT LINK Link MeasuredSide PAIR RATED REASONS RULE
        RunningFew STATUSES charger_totals contested_meters curve_step energy_of_devices
        exact_sum facts_of_few fleet_efficiency joined_few jumps_after_standstill linked_sides
        links_around links_by_rule measured merged_few named_links ratio_percent reach_of_crossing
        resolve_links rows_of_few running_few time_of_unbroken_name uncontested_links vehicle_curve
    """,
    "lake.health": """
        LOOK_BACK
    """,
    "lake.history": """
        HistoryWindow LONGEST_CADENCE READINGS_BESIDE SequentialHistoryReader merge_heartbeats
        no_heartbeats rebuild_files rebuild_hour series_ends
    """,
    "lake.reads": """
        ALWAYS DeviceReader Heard HourIndex LakeSnapshot LruCache PagePosition PageQuery
        PartOfFleet Reach Readings TableReader TableVersion page_position read_page row_period
        side_of_devices
    """,
    "lake.recordings": """
        ENERGIES FIELDS IDS LOCAL_TIME MAX_INTERVAL_KWH MAX_REGISTER_KWH NUMBERS TEXTS
        ColumnMapping EnergyRows LocalTimes UnitCheck cell_count_fault local_micros map_column
        map_columns no_zone_fault parse_number read_header require_utf8 to_kwh
        unknown_columns with_default_stream
    """,
    "lake.reports": """
        FORMS KINDS Kind Period ReportFolder ReportVersion Scope changed_figures list_reports
        parse_period
        read_file read_note read_versions remove_version write_file
    """,
    "lake.rollups": """
        DayInputs HourInputs Tables as_windows cadences_of_hour efficiency_of_day
        efficiency_of_hour health_of_day health_of_hour lacking_readings merge_charger_hours
        merge_vehicle_hours tables_of_hours
    """,
    "lake.schema": """
        BATTERY_HEALTH_DAILY CHARGER_EFFICIENCY_DAILY CHARGER_EFFICIENCY_HOURLY
        CHARGING_SESSION CHARGING_STRETCH_HOURLY
        CONDITION_TABLES CONFLICTING_ENERGY CONFLICTS DAILY_EFFICIENCY DAILY_TABLES DATE
        DATE_PARTITION DERIVED_TABLES DEVICE_ANOMALY EFFICIENCY_TREND FACT_COLUMNS
        FLEET_EFFICIENCY_DAILY FLEET_EFFICIENCY_HOURLY GRID_HEALTH_HOURLY
        HEARTBEAT_COMPLETENESS_HOURLY HOURLY_EFFICIENCY HOURLY_TABLES HOUR_PARTITION
        HOUR_START MAINTENANCE_VISIT SESSION_EXCESS_LOSS TIMESTAMP VEHICLE_EFFICIENCY_DAILY
        VEHICLE_EFFICIENCY_HOURLY TableSpec
        contiguous_hours contiguous_ranges days_within decode_history history_table
        in_raw_partitions in_window number_column text_column
    """,
    "lake.sessions": """
        IDENTITY LINKS LONGEST_SESSION charging_sessions hours_as_stretches
        identified_sessions
    """,
    "lake.upkeep": """
        ArchiveResult RawHourSize archive_day checkpoint_if_due clean_log days_to_archive
        drop_raw_partitions merge_raw_hours raw_hour_sizes vacuum
    """,
}

# The libraries, and the packages and rooms that alone may use them.
LIBRARIES = {
    "adbc_driver_manager": "ingestion_api.outbox pipelines.verify",
    "adbc_driver_postgresql": "ingestion_api.outbox pipelines.assets pipelines.resources "
    "pipelines.verify",
    "altair": "pipelines.report",
    "dagster": "pipelines.__init__ pipelines.assets pipelines.automation pipelines.checks.results "
    "pipelines.dagster_storage pipelines.definitions pipelines.maintenance pipelines.partitions "
    "pipelines.report pipelines.resources",
    "dagster_postgres": "pipelines.dagster_storage",
    "deltalake": "lake.delta lake.upkeep lake.reads.open_tables lake.history.context "
    # its types and errors alone
    "ingestion_api.analytics ingestion_api.bulk_import ingestion_api.outbox local_stack.cli "
    "pipelines.verify",
    "fastapi": "ingestion_api.app ingestion_api.ingest ingestion_api.rest ingestion_api.routes "
    "ingestion_api.services",
    "fastapi_offline": "ingestion_api.app",
    "httptools": "ingestion_api.server",
    "httpx": "ingestion_api.alerts ingestion_api.report_delivery local_stack.client "
    "local_stack.stack pipelines.automation",
    "jinja2": "ingestion_api.page pipelines.report",
    "markupsafe": "pipelines.report",
    "msgspec": "ingestion_api.heartbeats",
    "numpy": "ingestion_api lake local_stack warehouse_sql",
    "obstore": "lake.delta.object_store",
    "polars": "ingestion_api.analytics ingestion_api.bulk_import ingestion_api.rest "
    "ingestion_api.routes lake local_stack.cli pipelines",
    "prometheus_client": "ingestion_api.observability ingestion_api.routes ingestion_api.server",
    "psycopg": "ingestion_api local_stack.stack pipelines warehouse_sql",
    "psycopg_pool": "ingestion_api.database "
    # its error alone
    "ingestion_api.rest.problems",
    "pyarrow": "ingestion_api lake local_stack pipelines",
    "pydantic": "ingestion_api lake local_stack pipelines warehouse_sql",
    "pydantic_core": "ingestion_api lake.settings warehouse_sql",
    "pydantic_settings": "ingestion_api.settings lake.settings local_stack.settings "
    "pipelines.settings warehouse_sql.settings",
    "ray": "pipelines.engine",
    "rich": "ingestion_api.bulk_import local_stack.cli local_stack.stack local_stack.terminal "
    "pipelines.verify",
    "scipy": "lake.condition",
    # its error alone
    "sqlalchemy": "pipelines.dagster_storage",
    "starlette": "ingestion_api",
    "structlog": "ingestion_api",
    "typer": "local_stack.cli",
    "typing_extensions": "ingestion_api.heartbeats",
    "typst": "pipelines.report",
    "uvicorn": "ingestion_api.__main__ ingestion_api.server",
    "vl_convert": "ingestion_api.page pipelines.report",
    "xlsxwriter": "pipelines.report",
    "yaml": "ingestion_api.alerts lake.costs",
}


def module_of(file: Path) -> str:
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for name in PACKAGES for file in (REPOSITORY / name).rglob("*.py")}


@dataclass(frozen=True)
class Import:
    """One imported name, or a module where it is one."""

    importer: str
    module: str
    name: str | None = None

    @property
    def is_within_a_package(self) -> bool:
        return package_of(self.importer) == package_of(self.module)

    def __str__(self) -> str:
        return f"{self.importer} imports {self.module}" + (f".{self.name}" if self.name else "")


def imports_of(module: str, source: str) -> Iterator[Import]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            assert node.module
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = whole in MODULES
                yield (
                    Import(module, whole) if is_module else Import(module, node.module, alias.name)
                )


def package_of(module: str) -> str:
    return module.partition(".")[0]


def room_of(module: str) -> str:
    """The folder or module at the first level of its package."""
    return (*module.split("."), "__init__")[1]


def is_in(module: str, places: str) -> bool:
    """True if a module is one of the places, or in one of them; `__init__` is a package's own."""
    own = module if "." in module else f"{module}.__init__"
    return any(own == place or own.startswith(f"{place}.") for place in places.split())


def doors_of(module: str) -> list[str]:
    package = package_of(module)
    allowed = ROOMS.get(package, {}).get(room_of(module), "")
    return [f"{package}.{place}" for place in allowed.split()]


IMPORTS = [
    one
    for module, file in MODULES.items()
    for one in imports_of(module, file.read_text(encoding="utf-8"))
]
OWN = [one for one in IMPORTS if one.module in MODULES]
BETWEEN_ROOMS = [
    one
    for one in OWN
    if one.is_within_a_package
    and package_of(one.importer) in ROOMS
    and room_of(one.importer) != room_of(one.module)
]


def forbidden(imports: list[Import]) -> list[str]:
    return sorted(str(one) for one in imports)


def test_a_package_imports_only_the_packages_it_may() -> None:
    ours = {*PACKAGES, "tests"}
    assert not forbidden(
        [
            one
            for one in IMPORTS
            if not one.is_within_a_package
            and package_of(one.module) in ours
            and not is_in(one.module, PACKAGES[package_of(one.importer)])
        ]
    )


def test_a_room_imports_only_the_rooms_it_may() -> None:
    assert not forbidden(
        [one for one in BETWEEN_ROOMS if not is_in(one.module, " ".join(doors_of(one.importer)))]
    )


def test_every_room_is_in_the_table_and_every_door_of_it_is_used() -> None:
    for package, rooms in ROOMS.items():
        there = {room_of(module) for module in MODULES if package_of(module) == package}
        assert there - {"__init__"} == rooms.keys() - {"__init__"}
    used = {
        (package_of(one.importer), room_of(one.importer), door)
        for one in BETWEEN_ROOMS
        for door in doors_of(one.importer)
        if is_in(one.module, door)
    }
    doors = {
        (package, room, f"{package}.{door}")
        for package, rooms in ROOMS.items()
        for room, allowed in rooms.items()
        for door in allowed.split()
    }
    assert doors == used


def test_no_room_imports_back_up() -> None:
    for package, rooms in ROOMS.items():
        below: set[str] = set()
        for room, allowed in rooms.items():
            above = {door.split(".")[0] for door in allowed.split()} - below
            assert not above, f"{package}.{room} imports {above}, which stand above it"
            below.add(room)


def test_modules_import_one_another_in_no_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for one in OWN:
        graph[one.importer].add(one.module)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_the_lake_is_entered_by_what_its_rooms_show() -> None:
    outside = [
        one
        for one in OWN
        if package_of(one.module) == "lake" and package_of(one.importer) in {*ROOMS} - {"lake"}
    ]
    assert not forbidden(
        [
            one
            for one in outside
            if one.name is not None
            and one.name not in PUBLIC.get(one.module, "").split()
            # a room of one module shows all of it
            and MODULES[one.module].parent != REPOSITORY / "lake"
        ]
    )
    assert not forbidden([one for one in outside if one.name is None and "." in one.module])


@pytest.mark.parametrize("room", PUBLIC)
def test_a_room_shows_exactly_these_names(room: str) -> None:
    source = ast.parse(MODULES[room].read_text(encoding="utf-8"))
    (shown,) = (
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert set(shown) == set(PUBLIC[room].split())
    # A module of that name would be hidden by it.
    assert not [name for name in shown if f"{room}.{name}" in MODULES]


def test_a_library_is_used_only_in_the_rooms_it_belongs_to() -> None:
    ours = {*PACKAGES, "tests"}
    assert not forbidden(
        [
            one
            for one in IMPORTS
            if (library := package_of(one.module)) not in sys.stdlib_module_names
            and library not in ours
            and package_of(one.importer) in ROOMS
            and not is_in(one.importer, LIBRARIES.get(library, ""))
        ]
    )
