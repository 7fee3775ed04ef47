"""The figures of the papers, and ours."""
