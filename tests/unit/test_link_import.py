"""Reading links from a body."""

import pytest

from ingestion_api.link_import import read_links
from ingestion_api.validation import BatchTooLarge, WrongShape

HEADER = b"valid_from,meter_id,note,vehicle_id\n"
ROW = b"2026-01-01T00:00:00Z,M,,V\n"


def test_columns_come_in_any_order_and_blank_lines_count_for_nothing() -> None:
    links, refusals = read_links(HEADER + b"\n" + ROW + b"\n" + ROW, is_csv=True, most=2)
    assert [(at, link.meter_id, link.vehicle_id, link.valid_to) for at, link in links] == [
        (0, "M", "V", None),
        (1, "M", "V", None),
    ]
    assert refusals == []


def test_a_row_without_all_its_cells_is_refused_on_its_own() -> None:
    links, refusals = read_links(HEADER + b",\n" + ROW, is_csv=True, most=10)
    assert [at for at, _ in links] == [1]
    assert {(one.index, one.field) for one in refusals} == {
        (0, "valid_from"),
        (0, "meter_id"),
        (0, "vehicle_id"),
    }


@pytest.mark.parametrize("rows", [b",\n" * 8_000_000, ROW * 3])
def test_no_more_rows_are_read_than_are_needed_to_refuse_them(rows: bytes) -> None:
    with pytest.raises(BatchTooLarge, match="more than 2 links"):
        read_links(HEADER + rows, is_csv=True, most=2)


def test_blank_lines_alone_are_no_links() -> None:
    with pytest.raises(WrongShape, match="no link"):
        read_links(HEADER + b"\n" * 1000, is_csv=True, most=2)
