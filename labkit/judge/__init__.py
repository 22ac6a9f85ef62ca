"""What predictions are worth: scores with intervals, the worst mistakes, and the baselines to beat."""
