"""A registry of models and heads: signed releases in a folder or behind a web server, pulled by nodes that verify them.

Signatures and the order in which they are checked are The Update Framework's (TUF, specification 1.0), by python-tuf.
"""
