"""One verb: report. What was measured, as one HTML file that needs nothing else."""

from ketformer.report.page import report_of, write_report

__all__ = ["report_of", "write_report"]
