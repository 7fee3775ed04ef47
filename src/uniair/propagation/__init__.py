"""Rays, paths, arrays and channels."""
