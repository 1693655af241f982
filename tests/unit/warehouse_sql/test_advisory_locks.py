"""Advisory locks: what two queries lock by one number is the same thing."""

import re
from importlib.resources import files

QUERIES = {
    file.name: file.read_text(encoding="utf-8")
    for file in files("warehouse_sql").joinpath("queries").iterdir()
    if file.name.endswith(".sql")
}
LISTED = re.compile(r"^--   (\d+)(?:, (\w+))?  +\S.*$", re.MULTILINE)
LOCKED = re.compile(r"pg_(?:try_)?advisory_\w*lock\w*\((\d+)(, )?")


def test_each_lock_is_in_the_list_and_stands_for_one_thing_in_one_file() -> None:
    listed = [(number, bool(key)) for number, key in LISTED.findall(QUERIES["raw_counts.sql"])]
    locked = {
        (number, bool(key), file)
        for file, text in QUERIES.items()
        for number, key in LOCKED.findall(text)
    }
    assert sorted((number, has_key) for number, has_key, _ in locked) == listed
    assert len({number for number, _ in listed}) == len(listed)


def test_every_use_of_a_lock_names_its_number() -> None:
    for text in QUERIES.values():
        locked = LOCKED.findall(text)
        assert text.count("advisory_") == len(locked)
        assert {*re.findall(r"classid = (\d+)", text)} <= {number for number, _ in locked}
