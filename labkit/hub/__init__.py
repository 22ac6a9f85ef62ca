"""Models and data sets by name: downloaded, checked, cached."""
