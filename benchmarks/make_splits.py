"""Writes the packaged splits by place, base station and drive. Run once a version; files that are there stay.

    python benchmarks/make_splits.py FOOTPRINTS DEEPMIMO_LINKS DEEPSENSE_DRIVES

FOOTPRINTS is what the trace recipes name, DEEPMIMO_LINKS and DEEPSENSE_DRIVES are folders that `uniair import` made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import shapely
import yaml

from uniair.data import splits
from uniair.data.drives.drive import read_drives
from uniair.data.links.campaign import Campaign, plan, square_of
from uniair.data.links.store import Store

ROOT = Path(__file__).parents[1]


def write(name: str, unit: str, about: str, sides: dict[str, list[str]]) -> None:
    """Checks and writes one split."""
    path = splits.FOLDER / f"{name}.json"
    if path.exists():
        print(f"{path.name}: there already")
        return
    splits.Split(name, unit, {side: tuple(units) for side, units in sides.items()}, about)
    path.write_text(json.dumps({"unit": unit, "about": about, "sides": sides}, indent=1) + "\n", encoding="utf-8")
    print(f"{path.name}: " + ", ".join(f"{len(units)} {side}" for side, units in sides.items()))


def cities() -> None:
    """What the trace recipes do."""
    sides = {
        side: sorted(yaml.safe_load((ROOT / f"recipes/trace-{side}.yaml").read_text())["places"])
        for side in ("train", "validation", "test")
    }
    write("cities-v1", "place", "Whole cities. No decision is made on the test side.", sides)


def areas(footprints: Path) -> None:
    """Areas inside the training cities: the test side is one end of each city, and nothing that overlaps it trains."""
    recipe = yaml.safe_load((ROOT / "recipes/trace-train.yaml").read_text())
    places = tuple(recipe["places"])
    campaign = Campaign(places, root=str(footprints), **{k: recipe[k] for k in ("areas", "bs", "ue", "seed")})
    squares: dict[str, dict[str, shapely.Polygon]] = {}
    for place, number in plan(campaign)[: recipe["limit"]]:
        name, square = square_of(campaign, place, number)
        squares.setdefault(name.split("/")[0], {})[name] = square
    rng = np.random.default_rng(0)
    sides: dict[str, list[str]] = {"train": [], "test": []}
    for found in squares.values():
        names, ground = np.array(list(found)), np.array(list(found.values()))
        along = shapely.get_coordinates(shapely.centroid(ground)) @ [np.cos(a := rng.uniform(0, 2 * np.pi)), np.sin(a)]
        test = along >= np.quantile(along, 0.85)
        apart = ~test & ~shapely.intersects(ground, shapely.union_all(ground[test]))
        sides["test"] += names[test].tolist()
        sides["train"] += names[apart].tolist()
    about = (
        "Areas of recipes/trace-train.yaml. Test: the 15 % of a city's areas that lie farthest in a random direction. "
        "Areas whose ground overlaps a test area are on neither side."
    )
    write("areas-v1", "area", about, {side: sorted(units) for side, units in sides.items()})


def base_stations(links: Path) -> None:
    """DeepMIMO's four cities of three BSs: each BS is left out once."""
    store = Store(links)
    everything = splits.Split("", "bs", {})
    found: dict[str, list[str]] = {}
    for area in store:
        if area.areas[0].split("/")[0].endswith("_28ghz"):
            found[area.areas[0]] = sorted({*found.get(area.areas[0], []), *everything.units(area).tolist()})
    for fold in range(3):
        sides = {
            "train": [s for stations in found.values() for i, s in enumerate(stations) if i != fold],
            "test": [stations[fold] for stations in found.values()],
        }
        about = "DeepMIMO's Fort Worth, Indianapolis, San Diego and Santa Clara, 28 GHz: one BS per city is left out."
        write(f"base-stations-{fold + 1}-v1", "bs", about, sides)


def drives(folder: Path) -> None:
    """Whole drives of every scenario, and whole sites."""
    rng = np.random.default_rng(0)
    sides: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for path in sorted(folder.glob("drives-*.safetensors")):
        names = rng.permutation([drive.name for drive in read_drives(path)]).tolist()
        held = max(1, round(0.2 * len(names)))
        sides["test"] += names[:held]
        sides["validation"] += names[held : 2 * held]
        sides["train"] += names[2 * held :]
    about = "DeepSense 6G scenarios 1 to 7: of each, 60 % of the drives train, 20 % validate, 20 % test. Whole drives."
    write("drives-v1", "drive", about, {side: sorted(units) for side, units in sides.items()})
    sites = {"a": ["scenario1", "scenario2", "scenario5"], "b": ["scenario3", "scenario4"], "c": ["scenario6"],
             "d": ["scenario7"]}  # fmt: skip
    for site, test in sites.items():
        rest = [s for other in sites.values() for s in other if other is not test]
        about = (
            "DeepSense 6G scenarios 1 to 7: one site is left out. Scenarios 1, 2 and 5 have BSs within 40 m of each "
            "other, 3 and 4 have the same one."
        )
        write(f"sites-{site}-v1", "scenario", about, {"train": rest, "test": test})


if __name__ == "__main__":
    cities()
    areas(Path(sys.argv[1]))
    base_stations(Path(sys.argv[2]))
    drives(Path(sys.argv[3]))
