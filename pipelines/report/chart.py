"""The chart of the day: AC and DC energy by hour, and the efficiency above them."""

import altair as alt
import polars as pl
import vl_convert

# Stand-ins that become CSS variables of the page, so that the chart follows its dark mode.
_VARIABLES = {
    "#000001": "var(--ink)",
    "#000002": "var(--rule)",
    "#000003": "var(--ac)",
    "#000004": "var(--dc)",
    "#000005": "var(--line)",
    "#000006": "var(--quiet)",
}
_INK, _RULE, _AC, _DC, _LINE, _QUIET = _VARIABLES

_HOURS = list(range(24))


def day_chart(hours: pl.DataFrame, good_from_percent: float, width: int) -> str:
    """An inline SVG, `width` pixels wide at its natural size.

    `hours`: one row for each hour 0-23 with `hour`, `energy_ac_kwh`, `energy_dc_kwh` and
    `efficiency_percent`; null where an hour has no such figure. `good_from_percent` is drawn as
    the line below which charging is at fault.
    """
    rows = hours.to_dicts()
    efficiency = [row["efficiency_percent"] for row in rows if row["efficiency_percent"]]
    lowest = min([80.0, good_from_percent, *efficiency])
    hour = alt.X(
        "hour:O",
        title="hour (UTC)",
        scale=alt.Scale(domain=_HOURS),
        axis=alt.Axis(
            labelAngle=0, values=list(range(0, 24, 3)), labelExpr="pad(datum.value, '0', 2)"
        ),
    )
    percent = alt.Scale(domain=[5 * (lowest // 5), max([100.0, *efficiency])], nice=False)
    ratio = (
        alt.Chart({"values": rows})
        .mark_line(point=alt.OverlayMarkDef(color=_LINE, size=28), color=_LINE, strokeWidth=2)
        .encode(
            x=alt.X("hour:O", axis=None, scale=alt.Scale(domain=_HOURS)),
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
            x=hour,
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
        .configure(background="transparent", font="system-ui, sans-serif", padding=2)
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
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return svg


def _by_side(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [
        {"hour": row["hour"], "side": side, "kwh": row[column]}
        for row in rows
        for side, column in (("AC", "energy_ac_kwh"), ("DC", "energy_dc_kwh"))
    ]
