"""Why an answer came about: the paths that a channel was read as, the walls that explain them, and the doubt left."""
