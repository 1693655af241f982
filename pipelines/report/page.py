"""The report as one HTML page."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lake import EnergySettings
from pipelines.report.chart import step_chart
from pipelines.report.figures import Figures


def html_page(content: dict[str, Any], figures: Figures, settings: EnergySettings) -> str:
    """The self-contained page: no script, and nothing that is loaded from elsewhere.

    `content` is what `content_of` says of the figures.
    """
    environment = Environment(
        loader=PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    good_from, name = settings.good_from_percent, str(content["step_name"])
    return environment.get_template("efficiency.html.j2").render(
        **content,
        # Drawn from numbers and the labels of times alone, hence safe as it is.
        chart_wide=Markup(step_chart(figures.steps, name, good_from, width=760)),
        chart_narrow=Markup(step_chart(figures.steps, name, good_from, width=290)),
    )
