"""The report of a training run: one HTML page that needs nothing else, made from what the run left on disk."""

from reasrm_training.report.history import RunFolder, baselines
from reasrm_training.report.page import REPORT, write_report

__all__ = ["REPORT", "Left", "baselines", "write_report"]
