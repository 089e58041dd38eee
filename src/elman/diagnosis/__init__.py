"""Seeing the gradient go through time: `elman.diagnose` and its report of plain numbers."""

from __future__ import annotations

from elman.diagnosis.comparison import Comparison, compare
from elman.diagnosis.measure import Probe, Sampling, diagnose
from elman.diagnosis.report import Report
from elman.diagnosis.watch import learning

__all__ = ["Comparison", "Probe", "Report", "Sampling", "compare", "diagnose", "learning"]
