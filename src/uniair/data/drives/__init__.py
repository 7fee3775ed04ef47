"""Drives: contract, windows, readers, sensors and the digital twin."""
