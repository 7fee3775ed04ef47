"""Instructions in plain English: tokens, words, and the arguments that they name."""
