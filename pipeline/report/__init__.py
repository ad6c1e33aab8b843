"""The report of a run: figures as PNG and CSV, and one self-contained HTML page."""

from pipeline.report.page import curves, write

__all__ = ["curves", "write"]
