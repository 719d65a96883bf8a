"""The report of a training run: one self-contained HTML page, made from the files of the run."""

from reasrm_training.report.page import REPORT, write_report
from reasrm_training.report.run_folder import RunFolder, baselines

__all__ = ["REPORT", "RunFolder", "baselines", "write_report"]
