"""Exercises and helpers of the tutorials."""
