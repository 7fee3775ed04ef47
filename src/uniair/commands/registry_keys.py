"""What the commands share that sign a registry: the folder of keys and its passphrase."""

from __future__ import annotations

import getpass
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.errors import InputError
from uniair.releases.keys import Keys
from uniair.releases.release import now
from uniair.releases.repository import DAYS

PASSPHRASE = "UNIAIR_REGISTRY_PASSPHRASE"
SOON = 14  # days before a signature ends that it is said


def add_keys(parser: ArgumentParser) -> None:
    """Declares `--keys`, where its passphrase comes from, and how long signatures hold."""
    parser.add_argument("--keys", type=str | None, default=None, help="folder of the keys, outside the registry")
    parser.add_argument("--passphrase_file", type=str | None, default=None,
                        help=f"file whose first line opens them; {PASSPHRASE} or a prompt if not given")  # fmt: skip
    parser.add_argument("--without_passphrase", type=bool, default=False, help="the keys are not encrypted")


def add_days(parser: ArgumentParser) -> None:
    """Declares how long the signature holds that nodes look at first."""
    parser.add_argument("--days", type=float, default=DAYS["timestamp"],
                        help="after which nodes refuse the registry, unless it is signed again by then")  # fmt: skip


def keys_of(options: Any, new: bool = False) -> Keys:
    """The keys that are meant.

    Args:
        new: they are made, so that a prompt asks twice.

    Raises:
        InputError: none named, or no passphrase to be had.
    """
    if options["keys"] is None:
        raise InputError("give --keys, the folder of the keys, which lies outside the registry")
    return Keys(Path(options["keys"]), _passphrase(options, new))


def days_of(options: Any) -> dict[str, float]:
    """How long each role's signature holds.

    Raises:
        InputError: no time at all, or longer than that of what it signs.
    """
    if not 0 < options.days <= DAYS["targets"]:
        raise InputError(f"--days {options.days:g}: give more than 0 and at most {DAYS['targets']:g}")
    return {**DAYS, "timestamp": options.days}


def ends(expiries: dict[str, datetime]) -> list[str]:
    """Until when signatures hold: the first of them, and whatever ends soon."""
    lines: list[str] = []
    for role, end in sorted(expiries.items(), key=lambda item: item[1]):
        left = (end - now()).total_seconds() / 86400
        if not lines or left < SOON:
            lines.append(f"{role} signed until {end:%Y-%m-%d %H:%M} UTC" + (", which is over" if left <= 0 else ""))
    return lines


def _passphrase(options: Any, new: bool) -> str | None:
    if options.without_passphrase:
        return None
    if options.passphrase_file is not None:
        try:
            lines = Path(options.passphrase_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--passphrase_file {options.passphrase_file}: not to be read ({error})") from error
        return (lines or [""])[0]
    if (given := os.environ.get(PASSPHRASE)) is not None:
        return given
    if not sys.stdin.isatty():
        raise InputError(
            f"the keys need a passphrase: --passphrase_file, the variable {PASSPHRASE}, or --without_passphrase true"
        )
    given = getpass.getpass("passphrase of the keys: ")
    if new and getpass.getpass("the same again: ") != given:
        raise InputError("the two passphrases differ; nothing was made")
    return given
