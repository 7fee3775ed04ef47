"""Bring a public data set, or a scene of your own, into the form that training and benchmarks read.

NAME is one of
  wair-d      WAIR-D scenarios 1 and 2          SOURCE: the folder of scenario_1 and scenario_2, one of them, or an area
  deepmimo    DeepMIMO v3 and v4 scenarios      SOURCE: a scenario's folder, or a folder of them
  deepsense   DeepSense 6G measured drives      SOURCE: a scenario's folder or CSV, a folder of them, or gathered arrays
  twin        drives that uniair twin made      SOURCE: its folder
  sionna      a Sionna RT scene of your own     SOURCE: scene.xml or sionna:NAME, with --bs and --ue
What can't be used is counted and said. The folder appears when all of it is there.

The radio comes with the data set: its carrier (wair-d: --carrier, sionna: --ray_tracing.frequency), and array and
subcarriers where it says them; they are paper 1's where it does not. --radio says them instead, JSON or a file of it,
with the entries array, grid and clock; those that are left out stay. A carrier that contradicts the paths is refused.

Example:
  uniair import deepmimo scenarios/asu_campus_3p5 --bearing -90 --out runs/asu
  uniair import deepmimo scenarios/asu_campus_3p5 --out runs/asu --radio '{"array": {"antennas": 64}}'
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.data.importing import READERS, import_data
from uniair.errors import InputError
from uniair.evaluation.data_card import write_data_card
from uniair.propagation.ray_tracing import RayTracing
from uniair.radio import entries


def arguments(parser: ArgumentParser) -> None:
    """Declares the options; those of other readers stay unset."""
    parser.add_argument("name", choices=list(READERS), help="which data set")
    parser.add_argument("source", type=str, help="its file or folder")
    parser.add_argument("--out", type=str, required=True, help="folder to make")
    parser.add_argument("--pixels", type=int | None, default=None, help="raster of the maps (links; default 256)")
    parser.add_argument("--carrier", type=float | None, default=None, help="wair-d: Hz (default 28e9)")
    parser.add_argument("--radio", type=str | None, default=None,
                        help="wair-d, deepmimo, sionna: array, grid and clock, JSON or its file")  # fmt: skip
    parser.add_argument("--bearing", type=float | None, default=None,
                        help="deepmimo, sionna: azimuth of the BSs' arrays, degrees; 0 lies along +x (deepmimo: -90, "
                        "the array of its own package)")  # fmt: skip
    parser.add_argument("--base_stations", type=tuple[int, ...] | None, default=None,
                        help="deepmimo: numbers of the BSs, as a list (default all)")  # fmt: skip
    parser.add_argument("--beams", type=int | None, default=None, help="deepsense: size of the codebook (default 64)")
    parser.add_argument("--bs", type=str | None, default=None, help="sionna: CSV of BS positions, header x,y,z, m")
    parser.add_argument("--ue", type=str | None, default=None, help="sionna: CSV of UE positions, header x,y,z, m")
    parser.add_class_arguments(RayTracing, "ray_tracing", help="sionna: how the scene is traced, its carrier too")


def run(options: Any) -> dict[str, Any]:
    """Imports and says what was found and what was left out."""
    given = {k: options[k] for k in ("pixels", "carrier", "beams", "bs", "ue") if options[k] is not None}
    if options.bearing is not None:
        given["bearing"] = math.radians(options.bearing)
    if options.radio is not None:
        given["radio"] = entries(options.radio)
    if options.name == "sionna":
        given["config"] = options.ray_tracing
    if options.name == "deepmimo" and "bs" in given:
        raise InputError("import deepmimo: --bs is of sionna; choose BSs with --base_stations, for instance [1,2]")
    if options.base_stations is not None:  # refused by the readers that number no BSs
        given["bs" if options.name == "deepmimo" else "base_stations"] = tuple(options.base_stations)
    manifest = import_data(options.name, options.source, options.out, **given)
    report = manifest["account"]
    for what, count in report["found"].items():
        print(f"{count:>9,} {what}")
    for reason, count in report["left_out"].items():
        print(f"{count:>9,} × {reason}: {', '.join(report['examples'][reason])}")
    write_data_card(Path(options.out))
    print(f"→ {options.out}/card.html   {manifest['attribution']}")
    return {"out": options.out, **report}
