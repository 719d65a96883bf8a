"""The report of a scoring or an evaluation: one HTML page that needs nothing else, made to be looked at."""

from reasrm.report.page import Comparison, write_report

__all__ = ["Comparison", "write_report"]
