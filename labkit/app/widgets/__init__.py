"""Widgets used by the lab steps."""
