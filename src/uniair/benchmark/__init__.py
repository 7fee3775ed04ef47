"""Suites, ablations and reports."""
