"""The report of a run: one self-contained HTML page, and its figures as PNG and CSV files."""

from pipeline.report.page import curves, write

__all__ = ["curves", "write"]
