"""Make a digital twin of DeepSense 6G: drives by a roadside 60 GHz receiver with a camera, by ray tracing.

Cars, vans, buses and trucks drive through streets of the scenes that come with sionna-rt (a street canyon, Munich); one
car carries the UE. --out gets a folder per site in DeepSense's own layout: beam powers, GPS, pictures from the base
station, beam and blockage labels. At the sites of --sites blocked buses, trucks and corners come between base station
and UE; the table counts how often sight is lost. A run that was killed goes on where it stopped when the same command
is given again, and ends with the same bytes; more --drives add to those that are there.

Example:
  uniair twin --out runs/twin --drives 40
  uniair import twin runs/twin --out runs/twin-drives
  uniair twin --sites blocked --out runs/twin-blocked
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.data.drives import twin_campaign
from uniair.data.drives.twin import ALL_SITES, Twin
from uniair.errors import InputError


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--out", type=str, required=True, help="folder for the scenarios")
    parser.add_argument("--sites", type=str, default="open",
                        help="open (101 to 108), blocked (111 to 116), or all")  # fmt: skip
    parser.add_argument("--scene", type=str | None, default=None, help="only the sites in this scene, e.g. munich")
    parser.add_class_arguments(Twin, skip={"sites"})


def run(options: Any) -> dict[str, Any]:
    """Makes the drives and sums up."""
    settings = {name: options[name] for name in Twin.__dataclass_fields__ if name != "sites" and name in options}
    if options.sites not in ALL_SITES:
        raise InputError(f"--sites {options.sites!r}: choose {', '.join(ALL_SITES)}")
    every = ALL_SITES[options.sites]
    sites = tuple(site for site in every if options.scene in (None, site.scene))
    if not sites:
        scenes = sorted({site.scene for site in every})
        raise InputError(f"--scene {options.scene}: no site is there; choose one of {', '.join(scenes)}")
    card = twin_campaign.run(Twin(**settings, sites=sites), Path(options.out))
    print(f"{'scenario':12} {'scene':32} {'drives':>7} {'steps':>7} {'LOS, %':>7} {'lost':>6} "
          f"{'beams used':>11}")  # fmt: skip
    for name, row in card["scenarios"].items():
        used = sum(count > 0 for count in row["best_beam_histogram"])
        print(
            f"{name:12} {row['scene']:32} {row['drives']:7,} {row['steps']:7,} {100 * row['los_share']:7.1f} "
            f"{row['sight_lost']:6,} {used:11}"
        )
    print(f"→ {options.out}/card.json")
    return {"out": options.out, "seed": card["seed"], "scenarios": card["scenarios"]}
