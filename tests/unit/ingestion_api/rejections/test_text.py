"""What a device sent is shown safely, shortly, and always."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_api.rejections.text import printable_text

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("METER001", "METER001"),
        ('{"soc": 101}', '{"soc": 101}'),
        ({"meterId": "M1", "voltage": -1, "x": None}, '{"meterId":"M1","voltage":-1,"x":null}'),
        (5, "5"),
        (None, "null"),
        (b'{"soc": 101', '{"soc": 101'),
        (b"\xff{", "\\xff{"),
        ("a\x00b", "a\\x00b"),
        ("\ud800", "\\ud800"),
        ({"id": "\ud800\x00"}, '{"id":"\\ud800\\u0000"}'),
        ("\u202egnp.exe\x1b[2J", "\\u202egnp.exe\\x1b[2J"),
        ("Zähler\n", "Z\\xe4hler\\n"),
    ],
)
def test_text_and_values_are_shown_with_what_is_invisible_escaped(value: Any, text: str) -> None:
    assert printable_text(value, 64) == text


@given(values, st.integers(3, 100))
def test_whatever_was_sent_is_short_printable_ascii(value: Any, most: int) -> None:
    text = printable_text(value, most)
    assert len(text) <= most
    assert text.isascii()
    assert text == "" or text.isprintable()


def test_of_what_json_cannot_say_the_start_is_shown() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    text = printable_text({"meterId": "M1", "voltage": deep}, 2000)
    assert text.startswith('{"meterId":"M1","voltage":[[[')
    assert len(text) <= 2000
    assert (
        printable_text({"meterId": "M1", "voltage": 10**5000}, 2000)
        == '{"meterId":"M1","voltage":...'
    )
    del deep
