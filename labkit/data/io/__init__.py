"""Readers of files, folders, tables in memory and URLs."""
