"""What products and figures share: the zero-shot suite, classical methods, posteriors, tables, data cards."""
