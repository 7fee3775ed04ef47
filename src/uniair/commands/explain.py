"""Why an answer came about: the paths that a channel was read as, and the walls on the map that explain them.

FOLDER holds links (of `uniair trace` or `uniair import`) or is a site of `uniair site`. For each --link of an --area
(of a site: of a station, by its own radio, azimuth and tilt) a sentence says which of the channel's paths the map
explains, by which walls, what each is worth for the answer, and what the map says and the channel does not show.
--audit asks all channels of the area together where they contradict the map: buildings that are not there, or are
higher, and places where something stands that it lacks.

Each answer says how sure it is: where a calibration is kept beside the weights (uniair bench doubt --save), how likely
it is wrong and which answers hold as often as promised.

--out writes both as JSON and as pictures.

Example:
  uniair explain runs/site --link 3 17
  uniair explain runs/test --area 5 --audit --out runs/why
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jsonargparse import ArgumentParser

import uniair
from uniair.data.links.store import Store
from uniair.environment import Environment, heights
from uniair.errors import InputError
from uniair.files import atomic_path, write_text
from uniair.models.universal import RadioWarning, UniversalModel
from uniair.radio import Radio
from uniair.site import station_links
from uniair.site.site import NOTE, Site
from uniair.training.checkpoint import digest

if TYPE_CHECKING:
    from uniair.area.area import Area
    from uniair.data.links.links import Links
    from uniair.explanation.calibrated import Calibration

SHOWN = 3  # links where none is named
TAKEN_OFF = 4  # buildings
TOLD = 5  # suspicions that are printed


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("folder", type=str, help="links folder or site folder")
    parser.add_argument("--model", type=str | None, default=None,
                        help="packaged model or checkpoint folder: a site's own, or small")  # fmt: skip
    parser.add_argument("--area", type=int, default=0, help="number of the area in it; of a site: of the station")
    parser.add_argument("--link", type=int, nargs="+", default=None, help="numbers of links; the first 3 if not given")
    parser.add_argument("--radio", type=str | None, default=None,
                        help="that sees the links: file or JSON; their own if not given")  # fmt: skip
    parser.add_argument("--audit", action="store_true", help="where all channels of the area contradict the map")
    parser.add_argument("--out", type=str | None, default=None, help="folder for JSON and pictures")


def run(options: Any) -> dict[str, Any]:
    """Explains, prints and writes."""
    site = Site.read(options.folder) if (Path(options.folder) / NOTE).exists() else None
    name = options.model or (site.model if site is not None and site.weights else "small")
    model = uniair.load(name)
    if site is not None and site.weights and options.model is None:
        site.require_weights(digest(model))
    calibration = uniair.load_calibration(name, model)
    asked = _of_links(Path(options.folder), options.area) if site is None else _of_site(site, options.area)
    links = asked.links
    own = links.one_radio()
    radio = own if options.radio is None else Radio.parse(options.radio)
    if radio.carrier != own.carrier:
        raise InputError(f"--radio: carrier {radio.carrier / 1e9:g} GHz, but {options.folder} has paths at "
                         f"{own.carrier / 1e9:g} GHz; give that carrier, or trace at the other")  # fmt: skip
    chosen = list(range(min(SHOWN, len(links)))) if options.link is None else options.link
    for number in chosen:
        if not 0 <= number < len(links):
            raise InputError(
                f"--link {number}: {options.folder} has links 0 to {len(links) - 1} in area {options.area}"
            )
    out = None if options.out is None else Path(options.out)
    found: dict[str, Any] = {"radio": radio.to_json(), "remarks": list(model.remarks(radio))}
    print(*(f"seen by {radio}", *found["remarks"]), sep="\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RadioWarning)  # it is among the remarks
        found["links"] = _explained(model, asked, chosen, radio, calibration, out)
        if options.audit:
            found["audit"] = _audited(model, asked, radio, calibration, out)
    if out is not None:
        write_text(out / "explanations.json", json.dumps(found, indent=1) + "\n")
        print(f"{out / 'explanations.json'} written, and pictures beside it")
    return found


class Asked(NamedTuple):
    """The links of one area with the buildings on its map, and the downtilt of its array, rad."""

    links: Links
    buildings: Area
    downtilt: float = 0.0


def _of_links(folder: Path, number: int) -> Asked:
    """The links of one area; its buildings are what hangs together on the map.

    Raises:
        InputError: no such area, or one without a map.
    """
    from uniair.explanation.map_buildings import map_buildings

    store = Store(folder)
    if not 0 <= number < len(store):
        raise InputError(f"--area {number}: {folder} has areas 0 to {len(store) - 1}")
    links = store[number]
    if not links.mapped.all():
        raise InputError(f"--area {number}: has no map, so that no wall explains anything; give links with buildings")
    return Asked(links, map_buildings(heights(torch.from_numpy(links.maps))[0].numpy(), float(links.sizes[0])))


def _of_site(site: Site, number: int) -> Asked:
    """The links of one station, on the map and by the radio that the site's own answers are by.

    Raises:
        InputError: no links there, or no such station.
    """
    if not site.traced:
        raise InputError(f"{site.folder}: a site without links, which were not traced; there is nothing to explain")
    if not 0 <= number < len(site.stations):
        raise InputError(f"--area {number}: {site.folder} has stations 0 to {len(site.stations) - 1}")
    station = site.stations[number]
    links = station_links.links_of(site, number)
    if links is None or not len(links):
        raise InputError(f"--area {number}: {site.folder} keeps no links of {station.name}, which nobody hears")
    return Asked(links, site.area, station.downtilt)


def _places(asked: Asked, links: Links) -> Environment:
    """Where some of the links are, in the frame of their map."""
    tilt = np.full(len(links), asked.downtilt, dtype=np.float32) if asked.downtilt else None
    return Environment(
        map=links.maps, bs=links.bs, ue=links.ue, size=links.sizes[links.area], area=links.area.astype(np.int64),
        carrier=np.array([one.carrier for one in links.radios], dtype=np.float32)[links.area], bearing=links.bearing,
        downtilt=tilt,
    )  # fmt: skip


def _explained(
    model: UniversalModel, asked: Asked, numbers: list[int], radio: Radio, calibration: Calibration | None,
    out: Path | None,
) -> list[dict[str, Any]]:  # fmt: skip
    from uniair.explanation.explain import explain
    from uniair.explanation.picture import draw_explanation

    some = asked.links.select(np.array(numbers))
    csi = some.paths.csi(radio, bearing=some.bearing, downtilt=asked.downtilt)
    told = []
    places = _places(asked, some)
    for i, why in enumerate(explain(model, csi, places, radio, asked.buildings, TAKEN_OFF, calibration)):
        number, los = numbers[i], bool(some.los[i])
        print(f"link {number}: LOS {100 * why.los:.0f} % (traced: {'LOS' if los else 'NLOS'}; {why.doubt}); "
              f"the map explains {100 * why.share:.0f} % of the power. {why}")  # fmt: skip
        told.append({"link": number, "traced_los": los} | why.to_json())
        if out is not None:
            drawing = draw_explanation(why, some.maps[0], float(some.sizes[0]), some.bs[i], float(some.bearing[i]))
            _save(drawing, out / f"link-{number}.png")
    return told


def _audited(
    model: UniversalModel, asked: Asked, radio: Radio, calibration: Calibration | None, out: Path | None
) -> dict[str, Any]:  # fmt: skip
    from uniair.explanation.audit import audit
    from uniair.explanation.picture import draw_audit

    links = asked.links
    csi = links.paths.csi(radio, bearing=links.bearing, downtilt=asked.downtilt)
    places = _places(asked, links)
    found = audit(model, csi, places, radio, asked.buildings, progress=True, calibration=calibration)
    print(*(line for line in found.remarks if line not in model.remarks(radio)), sep="\n")
    print(f"{found.channels:,} channels; the map explains {100 * found.explained:.0f} % of their power")
    if not found.suspicions:
        print("nothing on the map is contradicted")
    for number, one in enumerate(found.suspicions[:TOLD], 1):
        print(f"{number}. {one}")
    if out is not None:
        _save(draw_audit(found, links.maps[0], float(links.sizes[0]), np.unique(links.bs, axis=0)), out / "audit.png")
    return found.to_json()


def _save(drawing: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        drawing.savefig(temporary, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
