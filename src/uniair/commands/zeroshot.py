"""Measure a model's zero-shot answers: LOS, scale, matching, CSI feedback, each beside what chance would reach.

LINKS is a folder that `uniair trace` made, of places that the model was not trained on. The untrained network of the
same preset is measured beside the model unless --untrained false is given.

Example:
  uniair zeroshot runs/test --model small
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.data.links import shards
from uniair.evaluation.zero_shot_suite import untrained, zero_shot_suite


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("links", type=str, help="links folder")
    parser.add_argument("--model", type=str, default="small", help="packaged model or checkpoint folder")
    parser.add_argument("--untrained", type=bool, default=True, help="measure the untrained network too")


def run(options: Any) -> dict[str, Any]:
    """Measures and prints the table."""
    model = uniair.load(options.model)
    links = shards.read(Path(options.links))
    result = zero_shot_suite(model, links, progress=True)
    plain = zero_shot_suite(untrained(model), links, progress=True) if options.untrained else None
    print(f"{result.links:,} links in {len(result.areas)} areas of {', '.join(sorted(set(links.places)))}")
    print(f"{'':48}{options.model:>10}  {'untrained':>10}   reference")
    for key, figure in result.figures.items():
        name, value, reference = figure.text()
        print(f"{name:48}{value:>10}  {plain.figures[key].text()[1] if plain else '':>10}   {reference}")
    values = {"links": result.links, "areas": len(result.areas), "figures": result.values()}
    return values | ({"untrained": plain.values()} if plain else {})
