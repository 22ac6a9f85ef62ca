"""Figures and HTML of runs, reports and explanations. No widgets."""
