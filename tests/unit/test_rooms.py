"""Who may import whom: the walls of the house."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROOMS = {"ingestion_api", "lake", "warehouse_sql", "pipelines", "local_stack"}
MAY_ENTER = {
    "lake": set[str](),
    "warehouse_sql": set[str](),
    "ingestion_api": {"lake", "warehouse_sql"},
    "pipelines": {"lake", "warehouse_sql"},
    "local_stack": {"lake", "warehouse_sql"},
}
OUTSIDE = {
    "lake": {"fastapi", "dagster", "psycopg", "adbc_driver_postgresql", "httpx"},
    "warehouse_sql": {"fastapi", "dagster", "deltalake", "polars", "httpx"},
}


def imported(room: str) -> set[str]:
    names: set[str] = set()
    for file in (REPOSITORY / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_enters_only_the_rooms_it_may(room: str) -> None:
    assert imported(room) & ROOMS - {room} <= MAY_ENTER[room]
    assert not imported(room) & {"tests", "benchmarks"}


@pytest.mark.parametrize("room", sorted(OUTSIDE))
def test_a_foundation_knows_nothing_of_what_stands_on_it(room: str) -> None:
    assert not imported(room) & OUTSIDE[room]
