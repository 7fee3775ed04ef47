"""The one error that users are meant to read."""

import unicodedata


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line that names it and says what to do.

    The command line prints the message and exits with status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(map(_shown, message)))


def _shown(letter: str) -> str:
    """A letter of a line: what files put into messages must not break it, nor steer the terminal."""
    if letter in "\n\r\v\f\x85\u2028\u2029":
        return " "
    if unicodedata.category(letter) in ("Cc", "Cf", "Cs"):
        return letter.encode("unicode_escape").decode("ascii")
    return letter
