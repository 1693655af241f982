"""Comparison of two versions of a report by the figures of their first pages."""

from collections.abc import Mapping
from typing import Any


def changed_figures(known: Mapping[str, Any], figures: Mapping[str, str]) -> list[str]:
    """Say what is written otherwise than in a version: its name, each figure before and now.

    `known` is what `read_note` says of the version. Empty where all figures are written alike.
    """
    differing = [
        f"{name} {_without_unit(before, now)} \N{RIGHTWARDS ARROW} {now}"
        for name, now in figures.items()
        if (before := known["figures"].get(name)) is not None and before != now
    ]
    made = str(known["madeAt"])[:16].replace("T", " ")
    title = f"Changed since version {known['version']} of {made} UTC:"
    return [title, *differing] if differing else []


def _without_unit(before: str, now: str) -> str:
    number, _, unit = before.rpartition(" ")
    return number if number and now.endswith(f" {unit}") else before
