"""What leaves the lab: predictors and exports."""
