"""The forms of a report."""

from typing import Any

import polars as pl

from lake import EnergySettings
from pipelines.report.figures import Figures
from pipelines.report.page import html_page
from pipelines.report.pdf import pdf_document
from pipelines.report.tables import csv_table, parquet_table
from pipelines.report.workbook import workbook


def render(
    form: str,
    content: dict[str, Any],
    figures: Figures,
    rows: pl.DataFrame,
    settings: EnergySettings,
) -> bytes:
    """Return a report in one of FORMS; `content` and `rows` are those of its figures."""
    match form:
        case "html":
            return html_page(content, figures, settings).encode()
        case "pdf":
            return pdf_document(content, figures, settings)
        case "xlsx":
            return workbook(content, figures)
        case "csv":
            return csv_table(rows)
        case "parquet":
            return parquet_table(rows)
    raise ValueError(f"there is no form {form!r} of a report")
