"""Something happens in the middle of an append."""

from collections.abc import Callable
from typing import Any

import pytest

import lake.append
from lake.data_files import write_data_file


def between_files_and_commit(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    """Let it happen once, after an append has written its first file and before it commits."""
    done = False

    def write(*arguments: Any, **named: Any) -> Any:
        nonlocal done
        added = write_data_file(*arguments, **named)
        if not done:
            done = True
            happen()
        return added

    monkeypatch.setattr(lake.append, "write_data_file", write)
