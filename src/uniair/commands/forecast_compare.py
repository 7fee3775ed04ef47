"""WMLM beside its baselines on known sites and on ones left out: tables, Fig. 4d and 4e of paper 3.

The baselines are persistence, nearest positions, a GRU and, with --language, a reprogrammed language model, all trained
by the same loop. A run that was stopped goes on where it was.

Example:
  uniair forecast compare --drives runs/drives --out runs/compare
  uniair forecast compare --drives runs/drives --out runs/compare --budget full --ablations
  uniair forecast compare --drives runs/drives --out runs/anchors --settings "['S4 -> 1, 2, 5']"
      --anchors [none,power,position] --align_steps 3000 --methods "['anchor none','anchor power','anchor position']"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.benchmark.forecast_comparison import Comparison, tables
from uniair.commands.drives import FOLDER, SCENARIOS, TOWER, drives_of, sized
from uniair.models.forecast import SIZES, ForecastPreset
from uniair.training.forecasting import ForecastTraining


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--drives", type=str, required=True, help=FOLDER)
    parser.add_argument("--out", type=str, required=True, help="folder for the runs")
    parser.add_argument("--scenarios", type=list[str], default=[], help=SCENARIOS)
    parser.add_argument("--budget", type=str, default="quick", help="quick or full")
    parser.add_argument("--seeds", type=int, default=3, help="of weights and batches")
    parser.add_argument("--methods", type=list[str], default=[], help="these alone")
    parser.add_argument("--settings", type=list[str], default=[],
                        help="these alone, by the names that the tables have, e.g. ['S4 -> 1, 2, 5']")  # fmt: skip
    parser.add_argument("--anchors", type=list[str], default=[],
                        help="of stage 1, methods 'anchor …': none, a modality, or several joined by +")  # fmt: skip
    parser.add_argument("--align_steps", type=int, default=0, help="of stage 1; 0: as many as of stage 2")
    parser.add_argument("--tower", type=str, default="small", help=TOWER)
    parser.add_argument("--ablations", action="store_true", help="WMLM without each of its parts too")
    parser.add_argument("--size", type=str | None, default=None, help=f"sets the width: {', '.join(SIZES)}")
    # beams, past and future steps are the drives' and the split's
    parser.add_class_arguments(ForecastPreset, "preset", skip={"beams", "past", "future"}, help="shape of WMLM")
    parser.set_defaults({"preset.width": 64})
    parser.add_argument(
        "--training", type=ForecastTraining, default=ForecastTraining(), help="batch, losses, optimiser"
    )
    parser.add_argument("--language", type=str | None, default=None,
                        help="backbone of the reprogrammed language model, e.g. smollm2-135m")  # fmt: skip
    parser.add_argument("--layers", type=int, default=6, help="first layers of that backbone that are used")


def run(options: Any) -> dict[str, Any]:
    """Trains and measures every method and prints the tables."""
    drives, language = drives_of(Path(options.drives), options.scenarios), None
    if options.language is not None:
        from uniair.models.backbone import load_backbone

        language = load_backbone(options.language)
        config = language.model.config
        config.num_hidden_layers = min(options.layers, config.num_hidden_layers)
    comparison = Comparison(
        tuple(drives), Path(options.out), options.budget, options.seeds, sized(options.preset, options.size),
        options.training, language=language, ablations=options.ablations, anchors=tuple(options.anchors),
        tower=uniair.load(options.tower) if any("csi" in anchor.split("+") for anchor in options.anchors) else None,
        align_steps=options.align_steps, named=tuple(options.settings),
    )  # fmt: skip
    result = comparison.run(options.methods)
    for heading, table in tables(result):
        print(f"\n{heading}\n{table.text()}")
    print(f"\n{comparison.out}/result.json, fig4d.svg and fig4e.svg")
    return result
