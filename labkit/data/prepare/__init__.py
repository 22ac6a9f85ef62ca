"""Cleaning, splitting, duplicates and data quality."""
