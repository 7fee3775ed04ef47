"""One place of the user's own: its streets, base stations, links, heads and report."""
