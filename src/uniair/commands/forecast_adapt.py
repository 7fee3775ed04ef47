"""Adapt a forecaster to the drives of a new site: its head, LoRA or all of it, with earlier sites replayed.

Held-out drives of the site show what was gained. LoRA's changes are added into the weights, so what comes out is
evaluated, streamed, served and exported as any other forecaster.

Example:
  uniair forecast adapt --drives runs/new --earlier runs/drives --model runs/wmlm --out runs/adapted
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.commands.drives import FOLDER, SCENARIOS, TOWER, check_drives, drives_of, forecaster
from uniair.tasks.beam_forecast import figures, forecasts
from uniair.training.checkpoint import save_model
from uniair.training.distributed import world
from uniair.training.forecast_adaptation import OnSite, adapt_on_site
from uniair.training.forecast_split import sensing, settings
from uniair.training.forecasting import PACKAGED


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--drives", type=str, required=True, help=f"the site's {FOLDER}")
    parser.add_argument("--out", type=str, required=True, help="folder for the adapted model")
    parser.add_argument("--model", type=str | None, default=None,
                        help="folder of uniair forecast train; the packaged one if not given")  # fmt: skip
    parser.add_argument("--tower", type=str, default="small", help=TOWER)
    parser.add_argument("--scenarios", type=list[str], default=[], help=SCENARIOS)
    parser.add_argument("--earlier", type=str | None, default=None, help="drives of earlier sites, for replay")
    parser.add_argument("--adaptation", type=OnSite, default=OnSite(), help="what learns, how long, from what")


def run(options: Any) -> dict[str, Any]:
    """Adapts, saves and prints the figures before and after."""
    folder, out, config = Path(options.drives), Path(options.out), options.adaptation
    drives, model = drives_of(folder, options.scenarios), forecaster(Path(options.model or PACKAGED), options.tower)
    check_drives(folder, drives, model.preset)
    old = None
    if options.earlier:
        earlier = drives_of(Path(options.earlier), ())
        check_drives(Path(options.earlier), earlier, model.preset)
        old = settings(earlier, sensing(model.preset), model.preset.ahead)[0].passages(
            config.length, config.augmentation
        )
    site = settings(drives, sensing(model.preset), model.preset.ahead)[0]
    began = time.perf_counter()
    with world() as here:
        adapted, tuned = adapt_on_site(model, site.passages(config.length, config.augmentation), config, old, here)
        save_model(adapted, out)
        if not here.main:
            return {}
    seconds = time.perf_counter() - began
    by_state = {name: {scenario: figures(forecasts(one, steps, one.preset.past), steps, one.preset.past)
                       for scenario, (_, steps) in site.parts.get("held out", {}).items()}
                for name, one in (("before", model), ("after", adapted))}  # fmt: skip
    for scenario, horizons in by_state["before"].items():
        after = by_state["after"][scenario]
        gained = ", ".join(f"{f['top1']:.3f} → {after[h]['top1']:.3f}" for h, f in horizons.items())
        print(f"{scenario:14}top-1 of held-out drives by step: {gained}")
    print(f"{out}: {tuned:,} parameters of {config.part} tuned in {seconds:.0f} s")
    return {"out": str(out), "part": config.part, "tuned": tuned, "seconds": seconds, **by_state}
