"""The report of a run: one HTML file that needs nothing else, and its figures beside it."""

from raytrain.reporting.report.write import write_report

__all__ = ["write_report"]
