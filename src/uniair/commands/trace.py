"""Ray-trace links: PLACES → areas → base stations and users → paths on disk.

PLACES are building footprints (OpenStreetMap, GeoJSON, GeoPackage, Shapefile and others, see `docs/maps.md`), folders
of them, scenes of the sionna-rt wheel (sionna:munich) or generated towns (procedural:7). A run that was killed goes on
where it stopped when the same command is given again, and ends with the same bytes for the same seed, whatever the
engine and the workers.

With --users the users are your own: a CSV of lon,lat or x,y, a GPX track, or points in GeoJSON.

Example:
  uniair trace sionna:munich procedural:7 --areas 40 --out runs/links

On a cluster, start Ray once (`ray start --head`, and `ray start --address HOST:6379` on every other machine); uniair,
the footprints and the folder for the links must lie at the same paths on all of them. This is paper 1's S1 campaign,
5 BS x 30 UE in each of 10,000 areas, on 64 cores:
  uniair trace /shared/footprints --areas 10000 --out /shared/links --engine ray --address HOST:6379 --workers 64
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from uniair.data.links import campaign
from uniair.data.links.campaign import Campaign
from uniair.evaluation.data_card import write_data_card


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("place", nargs="*", type=str, help="footprint files or folders, sionna:NAME, procedural:SEED")
    parser.add_argument("--places", type=tuple[str, ...], default=(), help="the same as a list, for recipes")
    parser.add_argument("--out", type=str, required=True, help="folder for the links")
    parser.add_argument("--workers", type=int, default=2, help="shards traced at the same time, one core each")
    parser.add_argument(
        "--engine", type=Literal["local", "ray"], default="local", help="processes of this machine, or Ray tasks"
    )
    parser.add_argument(
        "--address", type=str | None, default=None,
        help="Ray cluster to trace on, HOST:PORT of its head or auto; without it Ray runs on this machine alone",
    )  # fmt: skip
    parser.add_argument("--limit", type=int | None, default=None, help="trace only this many areas of the plan for now")
    parser.add_class_arguments(Campaign, skip={"places"})


def run(options: Any) -> dict[str, Any]:
    """Traces and sums up."""
    settings = {name: options[name] for name in Campaign.__dataclass_fields__}
    settings["places"] = (*options.places, *(options.place or ()))
    manifest = campaign.run(
        Campaign(**settings), Path(options.out), options.workers, options.limit, options.engine, options.address
    )
    print(
        f"{manifest['links']:,} links in {manifest['areas']:,} areas of {len(manifest['places'])} places "
        f"→ {options.out}"
    )
    readings = {}
    for place in campaign.load_places(Campaign(**settings)):
        if place.reading:
            readings[place.name] = place.reading.as_dict()
            print(f"{place.name}: {'; '.join(place.reading.lines())}")
    if settings["users"]:
        squares, left = campaign.users_by_square(Campaign(**settings))
        missed = "".join(f"; {count:,} {reason}" for reason, count in left.items())
        print(f"{sum(len(users) for _, users in squares):,} users of {settings['users']}{missed}")
    write_data_card(Path(options.out))
    print(f"data card: {Path(options.out) / 'card.html'}")
    return {k: manifest[k] for k in ("links", "areas", "places")} | {"readings": readings, "out": options.out}
