"""One self-contained page about one run or several: `write_report`."""

from neuropil.report.html import write_report
from neuropil.report.model import Arm, LabelEfficiency, Look, ReportData, Strip, Timing

__all__ = ["Arm", "LabelEfficiency", "Look", "ReportData", "Strip", "Timing", "write_report"]
