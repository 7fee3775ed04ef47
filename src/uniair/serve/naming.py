"""Stations and sectors by number or by name, and what is not there."""

from __future__ import annotations

from collections.abc import Sequence

from uniair.errors import InputError


class NotHereError(InputError):
    """The site has no such station, sector, link, head or file."""


def number_of(asked: int | str, names: Sequence[str], what: str) -> int:
    """The number of one of several, from that or its name.

    Args:
        what: they are, for the message.

    Raises:
        NotHereError: it is none of them.
    """
    number = names.index(asked) if asked in names else asked
    if isinstance(number, str):
        number = int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else -1
    if not 0 <= number < len(names):
        raise NotHereError(f"{what} {asked}: the site has 0 to {len(names) - 1}, {', '.join(names)[:200]}")
    return number
