"""Make a digital twin of DeepSense 6G: drives by a roadside 60 GHz receiver with a camera, by ray tracing.

Cars, vans, buses and trucks drive through streets of the scenes that come with sionna-rt (a street canyon, Munich); one
car carries the UE. --out gets a folder per site in DeepSense's own layout: beam powers, GPS, pictures from the base
station, beam and blockage labels. A run that was killed goes on where it stopped when the same command is given again,
and ends with the same bytes; more --drives add to those that are there.

Example:
  uniair twin --out runs/twin --drives 40
  uniair import twin runs/twin --out runs/twin-drives
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.data.drives import twin_campaign
from uniair.data.drives.twin import SITES, Twin
from uniair.errors import InputError


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--out", type=str, required=True, help="folder for the scenarios")
    parser.add_argument("--scene", type=str | None, default=None, help="only the sites in this scene, e.g. munich")
    parser.add_class_arguments(Twin, skip={"sites"})


def run(options: Any) -> dict[str, Any]:
    """Makes the drives and sums up."""
    settings = {name: options[name] for name in Twin.__dataclass_fields__ if name in options}
    sites = tuple(site for site in SITES if options.scene in (None, site.scene))
    if not sites:
        scenes = sorted({site.scene for site in SITES})
        raise InputError(f"--scene {options.scene}: no site is there; choose one of {', '.join(scenes)}")
    card = twin_campaign.run(Twin(**settings, sites=sites), Path(options.out))
    print(f"{'scenario':12} {'scene':32} {'drives':>7} {'steps':>7} {'LOS, %':>7} {'beams used':>11}")
    for name, row in card["scenarios"].items():
        used = sum(count > 0 for count in row["best_beam_histogram"])
        print(
            f"{name:12} {row['scene']:32} {row['drives']:7,} {row['steps']:7,} {100 * row['los_share']:7.1f} {used:11}"
        )
    print(f"→ {options.out}/card.json")
    return {"out": options.out, "seed": card["seed"], "scenarios": card["scenarios"]}
