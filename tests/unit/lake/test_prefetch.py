"""Things that are made while the ones before them are in use."""

from collections.abc import Iterator
from threading import Event

import pytest

from lake.prefetch import prefetch


def test_everything_comes_in_order() -> None:
    assert list(prefetch(range(5))) == [0, 1, 2, 3, 4]
    assert list(prefetch([])) == []


def test_the_next_is_made_while_one_is_in_use_and_no_other() -> None:
    began = [Event() for _ in range(3)]

    def make() -> Iterator[int]:
        for number, event in enumerate(began):
            event.set()
            yield number

    things = prefetch(make())
    assert next(things) == 0
    assert began[1].wait(60)
    assert not began[2].is_set()


def test_what_fails_while_it_is_made_fails_where_it_is_used() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    things = prefetch(make())
    assert next(things) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(things)
