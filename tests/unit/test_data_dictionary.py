"""The data dictionary has every table and column of the lake, each number with its unit."""

import pyarrow as pa
import pytest

from docs.data_dictionary import DOCUMENT, document, unit_of
from lake import STREAMS
from lake.schema.catalog import DERIVED_TABLES
from lake.schema.table_spec import TableSpec


def test_the_dictionary_is_that_of_the_schemas() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")
    assert written == document(), f"{DOCUMENT.name} is stale: run `make docs`"
    names = {stream.raw_table for stream in STREAMS.values()}
    names |= {stream.history_table for stream in STREAMS.values()}
    names |= {spec.name for spec in DERIVED_TABLES}
    assert {line[3:] for line in written.splitlines() if line.startswith("## ")} == names
    assert written.count("Postgres as `mart.") == 7


@pytest.mark.parametrize("spec", DERIVED_TABLES, ids=lambda spec: spec.name)
def test_every_number_has_a_unit(spec: TableSpec) -> None:
    numbers = [c for c in spec.columns if pa.types.is_floating(c.type)]
    assert not [column.name for column in numbers if not unit_of(column)]
