"""Reading links from a body."""

import pytest
from pydantic_core import to_json

from ingestion_api.heartbeats.strict_decoder import BatchTooLarge, WrongShape
from ingestion_api.routes.link_bodies import read_links

HEADER = b"valid_from,meter_id,,vehicle_id\n"
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
    assert {(one.index, one.field, one.reason) for one in refusals} == {
        (0, column, "the cell is empty") for column in ("valid_from", "meter_id", "vehicle_id")
    }


def test_a_row_that_was_cut_off_is_no_open_link() -> None:
    body = b"meter_id,vehicle_id,valid_from,valid_to\nM,V,2026-01-01T00:00:00Z"
    assert [link.valid_to for _, link in read_links(body + b",\n", is_csv=True, most=9)[0]] == [
        None
    ]
    links, [refusal] = read_links(body, is_csv=True, most=9)
    assert links == []
    assert refusal.reason.startswith("has fewer cells than the first line")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            b"meter_id,vehicle_id,valid_from,validto\n",
            "validto: .*did you mean valid_to. There are",
        ),
        (
            b"meter_id,vehicle_id,valid_from,note\n",
            "note: there is no such column; there are meter",
        ),
        (b"meter_id,vehicle_id,valid_from,valid_from\n", "has the column valid_from twice"),
    ],
)
def test_a_column_that_nobody_knows_refuses_the_whole_file(header: bytes, said: str) -> None:
    with pytest.raises(WrongShape, match=said):
        read_links(header + b"M,V,2026-01-01T00:00:00Z,\n", is_csv=True, most=10)


def test_what_a_link_can_not_say_refuses_it_alone() -> None:
    row = {"meterId": "M", "vehicleId": "V", "validFrom": "2026-01-01T00:00:00Z"}
    body = to_json([row, {**row, "validto": None}])
    links, [refusal] = read_links(body, is_csv=False, most=10)
    assert [at for at, _ in links] == [0]
    assert (refusal.index, refusal.field, refusal.reason) == (
        1,
        "validto",
        "there is no such field, did you mean validTo? There are meterId, vehicleId, validFrom, "
        "validTo",
    )
    links, [refusal] = read_links(HEADER + ROW + ROW.strip() + b",x\n", is_csv=True, most=10)
    assert [at for at, _ in links] == [0]
    assert (refusal.index, refusal.field) == (1, "cell 5")
    assert refusal.reason.startswith("stands in no column; the columns are meter_id")


@pytest.mark.parametrize("rows", [b",\n" * 8_000_000, ROW * 3])
def test_no_more_rows_are_read_than_are_needed_to_refuse_them(rows: bytes) -> None:
    with pytest.raises(BatchTooLarge, match="more than 2 links"):
        read_links(HEADER + rows, is_csv=True, most=2)


def test_blank_lines_alone_are_no_links() -> None:
    with pytest.raises(WrongShape, match="no link"):
        read_links(HEADER + b"\n" * 1000, is_csv=True, most=2)
