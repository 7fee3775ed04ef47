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

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any, get_args

from docstring_parser import parse
from jsonargparse import ArgumentParser

from uniair.benchmark.catalogue import FIGURES, PAGE, SPEED, Entry
from uniair.errors import InputError

CATALOGUE = FIGURES | PAGE | SPEED
FLAGS = ("--json",)  # options without a value


def _lines(entries: Mapping[str, Entry]) -> str:
    return "\n".join(f"  {name:13} {entry.title}" for name, entry in entries.items())


__doc__ = (__doc__ or "").format(figures=_lines(FIGURES), page=_lines(PAGE), speed=_lines(SPEED))


@dataclass(frozen=True)
class Option:
    """An option as it is declared to the parser: `--name`."""

    name: str
    about: str
    kind: Any = str
    default: Any = None
    many: bool = False
    required: bool = False


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


def declare(parser: ArgumentParser, options: Iterable[Option]) -> None:
    """Gives a parser the options."""
    for option in options:
        more: dict[str, Any] = {"nargs": "*"} if option.many else {}
        more |= {"required": True} if option.required else {"default": option.default}
        parser.add_argument(f"--{option.name}", type=option.kind, help=option.about, **more)


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


def options_of(name: str) -> list[Option]:
    """What one name of the catalogue takes."""
    if name not in FIGURES:
        return parameters(CATALOGUE[name].load())
    from uniair.benchmark.benchmark import DATA, Benchmark

    benchmark: Benchmark = FIGURES[name].load()
    options = [Option("model", "packaged model or checkpoint folder", default="small")] if benchmark.asks_model else []
    options += [Option("out", "folder for the runs", default="runs/bench"),
                Option("budget", "quick or full", default="quick"),
                Option("seeds", "repetitions of what is drawn at random", int, 3)]  # fmt: skip
    options += [Option(need, f"needed, a folder: {DATA[need]}", Path | None) for need in benchmark.needs]
    options += [Option(need, f"if at hand, a folder: {DATA[need]}", Path | None) for need in benchmark.may_use]
    return options + parameters(benchmark.run, keyword_only=True)


def parameters(function: Callable[..., Any], keyword_only: bool = False) -> list[Option]:
    """A function's parameters as options: types and defaults of its signature, help of its docstring."""
    about = {found.arg_name: (found.description or "").rstrip(".") for found in parse(function.__doc__ or "").params}
    options = []
    for name, parameter in signature(function, eval_str=True).parameters.items():
        if keyword_only and parameter.kind is not Parameter.KEYWORD_ONLY:
            continue
        kind, required = parameter.annotation, parameter.default is Parameter.empty
        many = isinstance(parameter.default, tuple)
        default = list(parameter.default) if many else None if required else parameter.default
        options.append(Option(name, about[name], get_args(kind)[0] if many else kind, default, many, required))
    return options


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
            found[name] = function(**_given(parameters(function), options))
    return found


def folders_for(figures: Sequence[str], options: Any) -> dict[str, Path]:
    """The folders of data that were given.

    Raises:
        InputError: a figure lacks one that it needs.
    """
    from uniair.benchmark.benchmark import DATA

    folders = {name: options[name] for name in DATA if options.get(name) is not None}
    for name in figures:
        for need in FIGURES[name].load().needs:
            if need not in folders:
                raise InputError(f"{name} needs --{need}, a folder; make it: {DATA[need]}")
    return folders


def figure(name: str, folders: Mapping[str, Path], options: Any) -> dict[str, Any]:
    """Makes one figure and shows it."""
    import uniair
    from uniair.benchmark.benchmark import Benchmark, Setup, show

    benchmark: Benchmark = FIGURES[name].load()
    model = uniair.load(options.get("model", "small"))
    setup = Setup(model, Path(options.out) / name, folders, options.budget, options.seeds)
    return show(
        name, FIGURES[name].title, benchmark, setup, **_given(parameters(benchmark.run, keyword_only=True), options)
    )


def _given(wanted: Sequence[Option], options: Any) -> dict[str, Any]:
    """The values of some options, as their function takes them."""
    return {
        option.name: tuple(options[option.name]) if option.many else options[option.name] for option in wanted
    }  # fmt: skip
