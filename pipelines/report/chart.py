"""The chart of a period: AC and DC energy by hour or day, and the efficiency above them."""

from collections.abc import Mapping
from typing import Any, Final

import altair as alt
import polars as pl
import vl_convert

# Stand-ins that become the colours of a palette.
_INK, _RULE, _AC, _DC, _LINE, _QUIET = (f"#00000{n}" for n in range(1, 7))
_NAMES: Final = {
    _INK: "ink",
    _RULE: "rule",
    _AC: "ac",
    _DC: "dc",
    _LINE: "line",
    _QUIET: "quiet",
}

# The variables of the page, so that the chart follows its dark mode; and colours for paper.
ON_PAGE: Final[Mapping[str, str]] = {name: f"var(--{name})" for name in _NAMES.values()}
ON_PAPER: Final[Mapping[str, str]] = {
    "ink": "#22252a",
    "rule": "#d9d6cd",
    "ac": "#8a93a3",
    "dc": "#2f7d6b",
    "line": "#b4552d",
    "quiet": "#656a72",
}
_LABELS: Final = 12


def step_chart(
    steps: pl.DataFrame,
    title: str,
    good_from_percent: float,
    width: int,
    colours: Mapping[str, str] = ON_PAGE,
    font: str = "system-ui, sans-serif",
) -> str:
    """An SVG, `width` pixels wide at its natural size.

    `steps`: rows with `label`, `energy_ac_kwh`, `energy_dc_kwh` and `efficiency_percent`, which are
    null where a step has no such figure. `good_from_percent` is drawn as the line below which
    charging is at fault.
    """
    labels = [label.removesuffix(":00") for label in steps["label"]]
    every = list(range(0, len(labels), -(-len(labels) // _LABELS)))
    shown = steps.select("energy_ac_kwh", "energy_dc_kwh", "efficiency_percent")
    rows: list[dict[str, Any]] = [{**row, "step": n} for n, row in enumerate(shown.to_dicts())]
    efficiency = [row["efficiency_percent"] for row in rows if row["efficiency_percent"]]
    lowest = min([80.0, good_from_percent, *efficiency])
    domain = list(range(len(labels)))
    step = alt.X(
        "step:O",
        title=title,
        scale=alt.Scale(domain=domain),
        axis=alt.Axis(labelAngle=0, values=every, labelExpr=f"{labels!r}[datum.value]"),
    )
    percent = alt.Scale(domain=[5 * (lowest // 5), max([100.0, *efficiency])], nice=False)
    ratio = (
        alt.Chart({"values": rows})
        .mark_line(point=alt.OverlayMarkDef(color=_LINE, size=28), color=_LINE, strokeWidth=2)
        .encode(
            x=alt.X("step:O", axis=None, scale=alt.Scale(domain=domain)),
            y=alt.Y(
                "efficiency_percent:Q",
                title="efficiency, %",
                scale=percent,
                axis=alt.Axis(tickCount=4),
            ),
        )
        .properties(width=width, height=110)
    )
    fault_line = (
        alt.Chart({"values": [{"percent": good_from_percent}]})
        .mark_rule(color=_QUIET, strokeDash=[4, 3])
        .encode(y=alt.Y("percent:Q", scale=percent))
    )
    energy = (
        alt.Chart({"values": _by_side(rows)})
        .mark_bar()
        .encode(
            x=step,
            xOffset=alt.XOffset("side:N", sort=["AC", "DC"]),
            y=alt.Y("kwh:Q", title="energy, kWh", axis=alt.Axis(tickCount=5)),
            color=alt.Color(
                "side:N",
                scale=alt.Scale(domain=["AC", "DC"], range=[_AC, _DC]),
                # The page has the legend: the renderer measures labels in another font.
                legend=None,
            ),
        )
        .properties(width=width, height=180)
    )
    chart = (
        alt.vconcat(fault_line + ratio, energy, spacing=14)
        .resolve_scale(x="independent")
        .configure(background="transparent", font=font, padding=2)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=_INK,
            titleColor=_INK,
            titleFontWeight="normal",
            domainColor=_RULE,
            gridColor=_RULE,
            tickColor=_RULE,
            labelFontSize=11,
            titleFontSize=11,
        )
        .configure_axisX(grid=False)
    )
    svg: str = vl_convert.vegalite_to_svg(chart.to_json())
    for stand_in, name in _NAMES.items():
        svg = svg.replace(stand_in, colours[name])
    return svg


def _by_side(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"step": row["step"], "side": side, "kwh": row[column]}
        for row in rows
        for side, column in (("AC", "energy_ac_kwh"), ("DC", "energy_dc_kwh"))
    ]
