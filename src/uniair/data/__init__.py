"""Data sets: readers, splits, statistics; links and drives apart."""
