"""One self-contained page about one run or several: `write_report`."""

from neuropil.report.html import write_report
from neuropil.report.model import Look, ReportData, Timing

__all__ = ["Look", "ReportData", "Timing", "write_report"]
