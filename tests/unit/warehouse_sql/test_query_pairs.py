"""Queries of meters and of vehicles that say the same: nobody changes one alone."""

import re

import pytest

from warehouse_sql.named_queries import query

PAIRS = [
    "restamp_foreign_meter_outbox",
    "meter_flush_horizon",
    "settle_meter_outbox",
    "note_meter_cadences",
    "remove_meter_live_state",
]
PARTS = {
    "the devices": ("overview_live", r"\b{kind} AS NOT MATERIALIZED .*?\n\)"),
    "the counts": ("overview_live", r"\(SELECT '{kind}' AS kind.*? AS newest$"),
    "the filters": ("live_fleet", r"OR {kind}_id COLLATE.*?(?=\n +AND CASE WHEN %\(after_id\))"),
    "the order": ("live_fleet", r"ORDER BY place IS NULL, place,\n[^,]*THEN {kind}_id .*?\n\)"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_query_of_meters_is_that_of_vehicles_but_for_the_stream(name: str) -> None:
    assert of_vehicles(text_of(name)) == text_of(name.replace("meter", "vehicle"))


@pytest.mark.parametrize(("name", "part"), PARTS.values(), ids=PARTS)
def test_a_query_asks_the_same_of_meters_and_of_vehicles(name: str, part: str) -> None:
    meters, vehicles = (
        re.findall(part.format(kind=kind), text_of(name), re.DOTALL | re.MULTILINE)
        for kind in ("meter", "vehicle")
    )
    assert len(meters) == len(vehicles) == 1
    assert of_vehicles(meters[0]) == vehicles[0]


def text_of(name: str) -> str:
    """A query without its comments, and without the names of both streams side by side."""
    text = re.sub(r"^ *--.*\n", "", query(name).decode(), flags=re.MULTILINE)
    return text.replace("'meter', 'vehicle'", "'both'")


def of_vehicles(text: str) -> str:
    """What is said of meters, said of vehicles."""
    return text.replace("kwh_consumed_ac", "kwh_delivered_dc").replace("meter", "vehicle")
