"""Why an answer came about: the paths that a channel was read as, and the walls on the map that explain them.

FOLDER holds links (of `uniair trace` or `uniair import`) or is a site of `uniair site`. For each --link of an --area
(of a site: of a station) a sentence says which of the channel's paths the map explains, by which walls, what each is
worth for the answer, and what the map says and the channel does not show. --audit asks all channels of the area
together where they contradict the map: buildings that are not there, or are higher, and places where something stands
that it lacks.

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
from typing import TYPE_CHECKING, Any

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
    parser.add_argument("--model", type=str, default="small", help="packaged model or checkpoint folder")
    parser.add_argument("--area", type=int, default=0, help="number of the area in it; of a site: of the station")
    parser.add_argument("--link", type=int, nargs="+", default=None, help="numbers of links; the first 3 if not given")
    parser.add_argument("--radio", type=str | None, default=None,
                        help="that sees the links: file or JSON; their own if not given")  # fmt: skip
    parser.add_argument("--audit", action="store_true", help="where all channels of the area contradict the map")
    parser.add_argument("--out", type=str | None, default=None, help="folder for JSON and pictures")


def run(options: Any) -> dict[str, Any]:
    """Explains, prints and writes."""
    model = uniair.load(options.model)
    calibration = uniair.load_calibration(options.model, model)
    links, buildings = _links(Path(options.folder), options.area)
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
        found["links"] = _explained(model, links, chosen, radio, buildings, calibration, out)
        if options.audit:
            found["audit"] = _audited(model, links, radio, buildings, calibration, out)
    if out is not None:
        write_text(out / "explanations.json", json.dumps(found, indent=1) + "\n")
        print(f"{out / 'explanations.json'} written, and pictures beside it")
    return found


def _links(folder: Path, number: int) -> tuple[Links, Area]:
    """The links of one area, and its buildings: those of a site, or what hangs together on the map.

    Raises:
        InputError: no links there, no such area, or one without a map.
    """
    buildings = None
    if (folder / "site.json").exists():
        from uniair.site.site import Site

        site = Site.read(folder)
        if not site.traced:
            raise InputError(f"{folder}: a site without links, which were not traced; there is nothing to explain")
        folder, buildings = folder / "links", site.area
    store = Store(folder)
    if not 0 <= number < len(store):
        raise InputError(f"--area {number}: {folder} has areas 0 to {len(store) - 1}")
    links = store[number]
    if not links.mapped.all():
        raise InputError(f"--area {number}: has no map, so that no wall explains anything; give links with buildings")
    if buildings is None:
        from uniair.explanation.map_buildings import map_buildings

        buildings = map_buildings(heights(torch.from_numpy(links.maps))[0].numpy(), float(links.sizes[0]))
    return links, buildings


def _places(links: Links) -> Environment:
    """Where links are, in the frame of their map."""
    return Environment(
        map=links.maps, bs=links.bs, ue=links.ue, size=links.sizes[links.area], area=links.area.astype(np.int64),
        carrier=np.array([one.carrier for one in links.radios], dtype=np.float32)[links.area], bearing=links.bearing,
    )  # fmt: skip


def _explained(
    model: UniversalModel, links: Links, numbers: list[int], radio: Radio, buildings: Area,
    calibration: Calibration | None, out: Path | None,
) -> list[dict[str, Any]]:  # fmt: skip
    from uniair.explanation.explain import explain
    from uniair.explanation.picture import draw_explanation

    some = links.select(np.array(numbers))
    csi = some.paths.csi(radio, bearing=some.bearing)
    told = []
    for i, why in enumerate(explain(model, csi, _places(some), radio, buildings, TAKEN_OFF, calibration)):
        number, los = numbers[i], bool(some.los[i])
        print(f"link {number}: LOS {100 * why.los:.0f} % (traced: {'LOS' if los else 'NLOS'}; {why.doubt}); "
              f"the map explains {100 * why.share:.0f} % of the power. {why}")  # fmt: skip
        told.append({"link": number, "traced_los": los} | why.to_json())
        if out is not None:
            drawing = draw_explanation(why, some.maps[0], float(some.sizes[0]), some.bs[i], float(some.bearing[i]))
            _save(drawing, out / f"link-{number}.png")
    return told


def _audited(
    model: UniversalModel, links: Links, radio: Radio, buildings: Area, calibration: Calibration | None,
    out: Path | None,
) -> dict[str, Any]:  # fmt: skip
    from uniair.explanation.audit import audit
    from uniair.explanation.picture import draw_audit

    csi = links.paths.csi(radio, bearing=links.bearing)
    found = audit(model, csi, _places(links), radio, buildings, progress=True, calibration=calibration)
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
