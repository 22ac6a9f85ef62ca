"""Widgets that the steps are made of."""
