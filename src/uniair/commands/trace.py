"""Ray-trace links: PLACES → areas → base stations and users → paths on disk.

PLACES are building footprints (buildings.json, GeoJSON, .osm.pbf, .osm.gz), folders of them, scenes of the sionna-rt
wheel (sionna:munich) or generated towns (procedural:7). A run that was killed goes on where it stopped when the same
command is given again, and ends with the same bytes for the same seed.

Example:
  uniair trace sionna:munich procedural:7 --areas 40 --out runs/links
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.data import campaign
from uniair.data.campaign import Campaign


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("place", nargs="*", type=str, help="footprint files or folders, sionna:NAME, procedural:SEED")
    parser.add_argument("--places", type=tuple[str, ...], default=(), help="the same as a list, for recipes")
    parser.add_argument("--out", type=str, required=True, help="folder for the links")
    parser.add_argument("--workers", type=int, default=2, help="processes that trace at the same time")
    parser.add_argument("--limit", type=int | None, default=None, help="trace only this many areas of the plan for now")
    parser.add_class_arguments(Campaign, skip={"places"})


def run(options: Any) -> dict[str, Any]:
    """Traces and sums up."""
    settings = {name: options[name] for name in Campaign.__dataclass_fields__}
    settings["places"] = (*options.places, *(options.place or ()))
    manifest = campaign.run(Campaign(**settings), Path(options.out), options.workers, options.limit)
    print(
        f"{manifest['links']:,} links in {manifest['areas']:,} areas of {len(manifest['places'])} places "
        f"→ {options.out}"
    )
    return {k: manifest[k] for k in ("links", "areas", "places")} | {"out": options.out}
