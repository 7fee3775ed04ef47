"""Make the papers' figures and tables, or measure how fast a part is. WHAT is one or more of the figures

{figures}
  all           every one of them
{page}

each a JSON, a table and a picture in OUT/WHAT, or of the measurements of speed

{speed}

uniair bench WHAT --help says which options these take. A run that was stopped goes on where it was; --budget quick
shows the shape in minutes, full is what is reported.

Example:
  uniair bench fig6 --links runs/test
  uniair bench table3 fig10 fig13 --dense runs/dense --budget full
  uniair bench service --site runs/site --rate 100
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, takewhile
from typing import Any

from jsonargparse import ArgumentParser

from uniair.benchmark.catalogue import CATALOGUE, FIGURES, PAGE, SPEED, Entry
from uniair.commands.figures import Option, declare, figure, folders_for, given_of, options_of, parameters
from uniair.errors import InputError

FLAGS = ("--json",)  # options without a value


def _lines(entries: Mapping[str, Entry]) -> str:
    return "\n".join(f"  {name:13} {entry.title}" for name, entry in entries.items())


__doc__ = (__doc__ or "").format(figures=_lines(FIGURES), page=_lines(PAGE), speed=_lines(SPEED))


def arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Declares the options of what the words name, and no others.

    Raises:
        InputError: a word names nothing of the catalogue.
    """
    names = named(words)
    parser.add_argument("what", nargs="+", help="what to make or measure")
    if names:
        parser.prog = f"uniair bench {' '.join(dict.fromkeys(word for word in words if word in (*names, 'all')))}"
        parser.description = _lines({name: CATALOGUE[name] for name in names})
    declared: dict[str, Option] = {}
    for name in names:
        for option in options_of(name):  # two that take the same mean the same by it
            declared.setdefault(option.name, option)
    declare(parser, declared.values())


def named(words: Sequence[str]) -> list[str]:
    """The names in a command line, in order and each once; `all` stands for every figure.

    Raises:
        InputError: one of the words before the first option is no name.
    """
    known = {name: [name] for name in CATALOGUE} | {"all": list(FIGURES)}
    first = list(takewhile(lambda word: not word.startswith("-"), words))
    if odd := [word for word in first if word not in known]:
        raise InputError(f"no {odd[0]!r} to make or measure; choose from {', '.join(known)}")
    given = [
        word for before, word in pairwise(["", *words])
        if word in known and (not before.startswith("-") or "=" in before or before in FLAGS)
    ]  # fmt: skip
    return list(dict.fromkeys(name for word in given for name in known[word]))


def run(options: Any) -> dict[str, Any]:
    """Makes or measures what was named, in that order, and prints the tables."""
    names = named(options.what)
    figures = [name for name in names if name in FIGURES]
    folders = folders_for(figures, options)
    found: dict[str, Any] = {}
    for name in names:
        if name in figures:
            found[name] = figure(name, folders, options)
        else:
            function = CATALOGUE[name].load()
            found[name] = function(**given_of(parameters(function), options))
    return found
