"""The report of a scoring or an evaluation: one HTML page that needs nothing else, made to be looked at."""

from reasrm.report.drawing import check_installed
from reasrm.report.page import BenchmarkTable, write_report

__all__ = ["BenchmarkTable", "check_installed", "write_report"]
