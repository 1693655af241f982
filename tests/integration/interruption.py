"""Interruptions in the middle of an append."""

from collections.abc import Callable
from typing import Any

import pytest

from lake.delta import append
from lake.delta.parquet_files import write_data_file


def between_files_and_commit(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    """Call `happen` once, after an append has written its first file and before it commits."""
    done = False

    def write(*arguments: Any, **named: Any) -> Any:
        nonlocal done
        added = write_data_file(*arguments, **named)
        if not done:
            done = True
            happen()
        return added

    monkeypatch.setattr(append, "write_data_file", write)
