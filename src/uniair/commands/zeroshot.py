"""Measure a model's zero-shot answers: LOS, scale, matching, CSI feedback, each beside what chance would reach.

LINKS is a folder that `uniair trace` made, of places that the model was not trained on. The untrained network of the
same preset is measured beside the model unless --untrained false is given. Where a calibration is kept beside the
weights (uniair bench doubt --save), what its doubt and its sets of answers are worth on these links is measured too.

Example:
  uniair zeroshot runs/test --model small
  uniair zeroshot runs/test --radio '{"array": {"kind": "upa", "rows": 4, "columns": 8}, "clock": "first_path"}'
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.data.links import shards
from uniair.errors import InputError
from uniair.evaluation.zero_shot_suite import untrained, zero_shot_suite
from uniair.explanation.doubt_figures import doubt_figures, lines
from uniair.explanation.doubted import NONE
from uniair.models.universal import RadioWarning
from uniair.radio import Radio


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("links", type=str, help="links folder")
    parser.add_argument("--model", type=str, default="small", help="packaged model or checkpoint folder")
    parser.add_argument("--radio", type=str | None, default=None,
                        help="that sees the links: file or JSON; their own if not given")  # fmt: skip
    parser.add_argument("--untrained", type=bool, default=True, help="measure the untrained network too")


def run(options: Any) -> dict[str, Any]:
    """Measures and prints the table."""
    model = uniair.load(options.model)
    calibration = uniair.load_calibration(options.model, model)
    links = shards.read(Path(options.links))
    own = links.one_radio()
    radio = own if options.radio is None else Radio.parse(options.radio)
    if radio.carrier != own.carrier:
        raise InputError(f"--radio: carrier {radio.carrier / 1e9:g} GHz, but {options.links} has paths at "
                         f"{own.carrier / 1e9:g} GHz; give that carrier, or trace at the other")  # fmt: skip
    remarks = model.remarks(radio)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RadioWarning)  # it is among the remarks
        result = zero_shot_suite(model, links, progress=True, radio=radio)
        plain = zero_shot_suite(untrained(model), links, progress=True, radio=radio) if options.untrained else None
        doubt = None if calibration is None else doubt_figures(model, links, radio, calibration, progress=True)
    print(*(f"seen by {radio}", *remarks), sep="\n")
    print(f"{result.links:,} links in {len(result.areas)} areas of {', '.join(sorted(set(links.places)))}")
    print(f"{'':48}{options.model:>10}  {'untrained':>10}   reference")
    for key, figure in result.figures.items():
        name, value, reference = figure.text()
        print(f"{name:48}{value:>10}  {plain.figures[key].text()[1] if plain else '':>10}   {reference}")
    print(*([NONE] if doubt is None else lines(doubt)), sep="\n")
    values = {"links": result.links, "areas": len(result.areas), "radio": radio.to_json(), "remarks": list(remarks),
              "figures": result.values(), "doubt": doubt}  # fmt: skip
    return values | ({"untrained": plain.values()} if plain else {})
