"""What commands share that make figures of the catalogue: their options, the folders that they need, and the making."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, get_args

from docstring_parser import parse
from jsonargparse import ArgumentParser

from uniair.benchmark.catalogue import CATALOGUE, FIGURES
from uniair.errors import InputError


@dataclass(frozen=True)
class Option:
    """An option as it is declared to the parser: `--name`."""

    name: str
    about: str
    kind: Any = str
    default: Any = None
    many: bool = False
    required: bool = False


def declare(parser: ArgumentParser, options: Iterable[Option]) -> None:
    """Gives a parser the options."""
    for option in options:
        more: dict[str, Any] = {"nargs": "*"} if option.many else {}
        more |= {"required": True} if option.required else {"default": option.default}
        parser.add_argument(f"--{option.name}", type=option.kind, help=option.about, **more)


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
        name, FIGURES[name].title, benchmark, setup, **given_of(parameters(benchmark.run, keyword_only=True), options)
    )


def given_of(wanted: Sequence[Option], options: Any) -> dict[str, Any]:
    """The values of some options, as their function takes them."""
    return {
        option.name: tuple(options[option.name]) if option.many else options[option.name] for option in wanted
    }  # fmt: skip
