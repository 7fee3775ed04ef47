"""The one error that users are meant to read."""


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line that names it and says what to do.

    The command line prints the message and exits with status 2.
    """
