"""List and draw the areas in a place: crops with their statistics, filtered, as a table and a picture.

PLACE is a footprint file or folder, sionna:NAME or procedural:SEED. What its file holds is counted first: heights that
are known, made of levels or neighbours, or drawn; what was left out, and why. Crops are laid on a grid unless --origin
gives one.

Example:
  uniair areas procedural:7 --side 200 --coverage [0.1,0.5] --picture areas.png
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import shapely
from jsonargparse import ArgumentParser
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.area.raster import occupancy
from uniair.data.links.campaign import load_place
from uniair.errors import InputError
from uniair.files import atomic_path
from uniair.progress import track

DRAWN = 24
MOST_CROPS = 1_000_000  # one a building in an extract of a large city


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("place", type=str, help="footprint file or folder, sionna:NAME or procedural:SEED")
    parser.add_argument("--side", type=float, default=200.0, help="side of a crop, m")
    parser.add_argument(
        "--origin", type=tuple[float, float] | None, default=None, help="south-west corner of a single crop, m"
    )
    parser.add_argument("--rotation", type=float, default=0.0, help="anticlockwise turn of each crop, degrees")
    parser.add_argument(
        "--coverage", type=tuple[float, float], default=(0.0, 1.0), help="accepted share of built ground"
    )
    parser.add_argument(
        "--openness", type=tuple[float, float], default=(0.0, 1e9), help="accepted median distance to a wall, m"
    )
    parser.add_argument("--least_buildings", type=int, default=1, help="fewest buildings in a crop")
    parser.add_argument(
        "--picture", type=str | None, default=None, help=f"PNG with the map images of the first {DRAWN} crops"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the heights that the file does not give")


def run(options: Any) -> dict[str, Any]:
    """Lists, and draws where a picture is wanted."""
    if not options.side > 0:
        raise InputError(f"--side {options.side} must be above 0 m")
    place = load_place(options.place, options.seed)
    corners = [options.origin] if options.origin else _corners(place, options.side, options.least_buildings > 0)
    rows: list[dict[str, Any]] = []
    crops: list[Area] = []
    for x, y in track(corners, "crop"):
        crop = place.crop(float(x), float(y), options.side, rotation=np.radians(options.rotation))
        seen = crop.statistics()
        if (
            seen.buildings >= options.least_buildings
            and options.coverage[0] <= seen.coverage <= options.coverage[1]
            and options.openness[0] <= seen.openness <= options.openness[1]
        ):
            rows.append({"x": float(x), "y": float(y), **vars(seen)})
            crops.append(crop)
    print(
        f"{place.name}: {len(place.footprints):,} buildings, {place.width:.0f} × {place.depth:.0f} m; "
        f"{len(rows)} crops pass"
    )
    for line in place.reading.lines() if place.reading else ():
        print(f"  {line}")
    print(f"{'x, m':>9} {'y, m':>9} {'coverage':>9} {'buildings':>10} {'openness, m':>12} {'height, m':>10}")
    for row in rows:
        left = f"{row['x']:9.0f} {row['y']:9.0f} {row['coverage']:9.2f} {row['buildings']:10d}"
        print(f"{left} {row['openness']:12.1f} {row['mean_height']:10.1f}")
    if options.picture and crops:
        _draw(Path(options.picture), crops[:DRAWN])
        print(f"{options.picture} written")
    read = {"reading": place.reading.as_dict()} if place.reading else {}
    return {"place": place.name, "buildings": len(place.footprints), **read, "crops": rows}


def _corners(place: Area, side: float, built: bool) -> list[tuple[float, float]]:
    """South-west corners of a grid of crops, rows from the south; where only built ones count, those near buildings.

    Raises:
        InputError: more than `MOST_CROPS`.
    """
    x0, y0, x1, y1 = place.bounds
    # a turned crop reaches over its square by less than a quarter of its side
    reach = shapely.bounds(np.asarray(place.footprints)) if built else np.array([place.bounds])
    reach = reach + side / 4 * np.array([-1, -1, 1, 1])
    if (count := float(np.prod((reach[:, 2:] - reach[:, :2]) // side + 1, axis=1).sum())) > MOST_CROPS:
        raise InputError(f"{place.name}: about {count:,.0f} crops of {side:g} m; raise --side, or give --origin")
    x, y = (_starts(low, high, side) for low, high in ((x0, x1), (y0, y1)))
    cells = {
        (row, column)
        for west, south, east, north in ((reach - (x[0], y[0], x[0], y[0])) // side).astype(int)
        for row in range(max(south, 0), min(north + 1, len(y)))
        for column in range(max(west, 0), min(east + 1, len(x)))
    }
    return [(float(x[column]), float(y[row])) for row, column in sorted(cells)]


def _starts(low: float, high: float, side: float) -> NDArray[np.float64]:
    """Where crops begin along an axis; one about the middle where the place is smaller than half of one."""
    return np.arange(low, high - side / 2, side) if high - low > side / 2 else np.array([(low + high - side) / 2])


def _draw(path: Path, crops: list[Area]) -> None:
    from matplotlib.figure import Figure

    from uniair.evaluation.html import draw_map

    columns = min(len(crops), 6)
    lines = -(-len(crops) // columns)
    drawing = Figure(figsize=(2.6 * columns, 2.7 * lines), layout="constrained")
    grid = drawing.subplots(lines, columns, squeeze=False)
    for axes in grid.ravel()[len(crops) :]:
        axes.axis("off")
    for axes, crop in zip(grid.ravel(), crops, strict=False):
        draw_map(axes, occupancy(crop), crop.size)
        axes.set_title(crop.name.partition("@")[2], fontsize=7)
        axes.tick_params(labelsize=6)
        axes.set(xlabel="", ylabel="")
    with atomic_path(path) as temporary:
        drawing.savefig(temporary, format="png", dpi=110)
