"""Named SQL is found, complete and understood by the server."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from warehouse_sql.named_queries import query

NAMES = [
    name
    for file in files("warehouse_sql").joinpath("queries").iterdir()
    if file.name.endswith(".sql")
    for name in re.findall(r"^-- name: (\S+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
]


def test_every_name_is_unique_and_loads() -> None:
    assert len(NAMES) == len(set(NAMES)) > 0
    assert all(query(name) for name in NAMES)


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        query("no_such_query")


def test_a_search_for_a_name_finds_who_calls_it() -> None:
    packages = ("ingestion_api", "pipelines", "local_stack", "warehouse_sql")
    code = "".join(
        file.read_text(encoding="utf-8")
        for package in packages
        for file in (Path(__file__).parents[3] / package).rglob("*.py")
    )
    assert not [name for name in NAMES if f'"{name}"' not in code]
