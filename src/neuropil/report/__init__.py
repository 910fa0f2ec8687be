"""One self-contained page about one run or several: `write_report`."""

from neuropil.report.html import write_report
from neuropil.report.model import Look, ReportData, Strip, Timing

__all__ = ["Look", "ReportData", "Strip", "Timing", "write_report"]
