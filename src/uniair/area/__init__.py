"""Buildings: footprints, crops and map images."""
