"""ETags: what a caller has is not sent again."""

import pytest

from ingestion_api.rest.etags import etag_headers, etag_matches, fingerprint


@pytest.mark.parametrize(
    "named", [None, [], [""], ["one"], ['"two"'], ['"one-more"'], ['"two", W/"three"']]
)
def test_another_tag_or_none_is_not_known(named: list[str] | None) -> None:
    assert not etag_matches("one", named)


@pytest.mark.parametrize("named", [["*"], ['"two"', "{}"], ['"two",  {}']])
def test_a_tag_is_known_in_any_of_the_headers_as_it_was_sent(named: list[str]) -> None:
    assert etag_matches("one", [text.format(etag_headers("one")["ETag"]) for text in named])


def test_after_an_upgrade_no_answer_of_the_code_before_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = [etag_headers("one")["ETag"]]
    assert etag_matches("one", before)
    monkeypatch.setattr("ingestion_api.rest.etags._CODE", "another")
    assert not etag_matches("one", before)


def test_a_fingerprint_tells_parts_apart() -> None:
    told = [("a", "b"), ("ab",), ("a", ["b"]), ("b", "a"), ()]
    assert len({fingerprint(*parts) for parts in told}) == len(told)
    assert fingerprint("a", 1) == fingerprint("a", 1)
