"""Named SQL is found, complete and understood by the server."""

import re
from importlib.resources import files

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
