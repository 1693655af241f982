"""The daily efficiency report: figures, chart, page."""
