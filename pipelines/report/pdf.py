"""The report as PDF."""

import json
from importlib.resources import files
from typing import Any, Final

import typst

from lake import EnergySettings
from pipelines.report.chart import ON_PAPER, step_chart
from pipelines.report.figures import Figures

# Fonts that the library brings; those of the machine would make another file of the same figures.
_CHART_FONT: Final = "Libertinus Serif"


def pdf_document(content: dict[str, Any], figures: Figures, settings: EnergySettings) -> bytes:
    """A PDF with tags and bookmarks; the same bytes for the same content.

    `content` is what `content_of` says of the figures.
    """
    chart = step_chart(
        figures.steps,
        str(content["step_name"]),
        settings.good_from_percent,
        *(620, ON_PAPER, _CHART_FONT),
    )
    template = files("pipelines.report").joinpath("templates/efficiency.typ").read_bytes()
    document: bytes = typst.compile(
        template,
        format="pdf",
        ignore_system_fonts=True,
        font_paths=[],
        sys_inputs={"report": json.dumps(content), "chart": chart},
        timestamp=int(figures.generated_at.timestamp()),
    )
    return document
