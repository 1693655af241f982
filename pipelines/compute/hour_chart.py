"""Picture of an hour's efficiency for its pages in Dagster, drawn without a chart library.

Dagster's pages show Markdown of less than 1,000 characters right in the table of metadata, and
hide a longer one behind a click. A renderer would also take longer to load than an hour takes to
compute.
"""

from base64 import b64encode
from html import escape

import polars as pl

# Upper limit in percent, label and colour of each bar; what is not below the last is implausible.
_BARS = (
    (70.0, "<70", "#c33"),
    (75.0, "70", "#c33"),
    (80.0, "75", "#c33"),
    (85.0, "80", "#da0"),
    (90.0, "85", "#7b4"),
    (95.0, "90", "#284"),
    (100.0, "95", "#284"),
    (float("inf"), ">100", "#93c"),
)
_STEP, _TALLEST = 42, 58
_WIDTH = _STEP * len(_BARS)


def hour_chart(vehicles: pl.DataFrame) -> str:
    """Histogram of the vehicles' ratios in steps of 5 percent, believable or over 100 %.

    `vehicles` are rows of VEHICLE_EFFICIENCY_HOURLY or its like for another time. The value is a
    Markdown image that holds itself, of less than 1,000 characters.
    """
    rated = vehicles.filter(~pl.col("status").is_in(["insufficient_data", "unmapped", "idle"]))
    percents = rated["efficiency_percent"].drop_nulls()
    counts, below = [], 0
    for limit, _, _ in _BARS:
        upto = int((percents <= limit if limit >= 100 else percents < limit).sum())
        counts.append(upto - below)
        below = upto
    encoded = b64encode(_svg(counts).encode()).decode()
    return f"![efficiency %](data:image/svg+xml;base64,{encoded})"


def _svg(counts: list[int]) -> str:
    tallest = max(1, *counts)
    heights = [-(-_TALLEST * count // tallest) for count in counts]
    bars = "".join(
        f'<path d="M{_STEP * place + _STEP // 2} 76v-{height}" stroke="{colour}"/>'
        for place, (height, (_, _, colour)) in enumerate(zip(heights, _BARS, strict=True))
        if height
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="92" '
        'style="font:11px monospace" fill="#789">'
        f'<g stroke-width="34">{bars}</g>{_row(12, [str(count or "") for count in counts])}'
        f"{_row(88, [label for _, label, _ in _BARS])}</svg>"
    )


def _row(y: int, words: list[str]) -> str:
    """A line of text with each word in the middle of its bar; one element, to save bytes."""
    text = "".join(f"{word:\N{NO-BREAK SPACE}^6}" for word in words)
    return f'<text y="{y}" textLength="{_WIDTH}">{escape(text)}</text>'
