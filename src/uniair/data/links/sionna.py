"""A Sionna RT scene of the user's own, or paths already traced in it, as links."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.data.import_report import ImportReport
from uniair.data.links.links import Links
from uniair.data.links.sionna_array import TransmitArray, require_one_isotropic, turned
from uniair.data.links.source_radio import overridden
from uniair.errors import InputError
from uniair.propagation.paths import Paths
from uniair.propagation.ray_tracing import RayTracing, Scene, from_sionna, require_sionna, trace_scene
from uniair.radio import Radio

BUILDING_HEIGHT = 2.0  # m; lower things (cars, kerbs) are no buildings
USERS_PER_CHUNK = 1000


def links_of(
    paths: Any,
    scene: Scene,
    name: str = "sionna/00000",
    pixels: int = 256,
    bearing: NDArray[np.floating] | float | None = None,
) -> Links:
    """The links of paths that the caller has traced; transmitters are BSs, receivers UEs.

    The area is the smallest square around the scene's geometry and the devices, its south-west corner at their
    smallest x and y. Heights stay as in the scene. Links without a path are left out.

    The radio is the scene's: its frequency, its bandwidth where it was set, and `scene.tx_array` where it has several
    antennas. Those of a planar array are ours row by row from the top left, `reading_order` of Sionna RT's own. The
    array's phases and pattern are taken out of the gains, which are then those of an isotropic element 0; the links'
    CSI is what `paths.cfr` gives.

    Args:
        paths: `sionna.rt.Paths`, traced with `synthetic_array=True` and one isotropic antenna a receiver.
        scene: the `sionna.rt.Scene` that they were traced in, at the same frequency and with the same devices.
        name: of the area, `place/number`.
        pixels: raster of the map.
        bearing: azimuth of the BSs' arrays, rad, one or [B]: 90° less than that which a transmitter faces. None: as the
            scene's transmitters are turned; 0, along +x, with a single isotropic antenna, which has no direction.

    Raises:
        InputError: no synthetic array, several antennas a receiver, another pattern or polarisation than the radio can
            have, transmitters of several tilts, or phases that are not the array's.
    """
    if not paths.synthetic_array:
        raise InputError(f"{name}: paths are of single antennas; call the solver with synthetic_array=True")
    require_one_isotropic(scene.rx_array, paths.a[0].shape[1], name)
    # the paths' own devices: the scene's may have changed since
    bs, ue = (np.array(points, dtype=np.float64).T.reshape(-1, 3) for points in (paths.sources, paths.targets))
    seen = TransmitArray.of(scene.tx_array, name)
    if bearing is None and seen.directed:
        bearing, seen = turned(scene, bs, seen, name)
    bearings = np.broadcast_to(np.asarray(0.0 if bearing is None else bearing, dtype=np.float64), len(bs))
    seen.require_phases(paths, bearings, name)
    found = from_sionna(paths, len(bs), len(ue), float(scene.frequency[0]), int(seen.order[0]))
    found = seen.without_pattern(found, np.repeat(bearings, len(ue)))
    site = _survey(scene, np.concatenate([bs, ue]), pixels)
    return _links(found, site, bs, ue, name, bearings, seen.radio(scene))


def trace_links(
    scene: Scene,
    bs: NDArray[np.floating],
    ue: NDArray[np.floating],
    config: RayTracing = RayTracing(),
    name: str = "sionna/00000",
    pixels: int = 256,
    bearing: NDArray[np.floating] | float = 0.0,
) -> Links:
    """Traces every BS to every UE in the caller's scene; its frequency and materials stay, devices are replaced.

    Single isotropic antennas are traced; `scene.tx_array`, upright, comes with the radio, as for `links_of`. The
    scene's arrays are afterwards what they were.

    Args:
        bs: [B, 3] m.
        ue: [U, 3] m.
        config: `frequency`, `building_material` and `ground_material` are the scene's affair and are not read.
        name, pixels: as for `links_of`.
        bearing: azimuth of the BSs' arrays, rad, one or [B]; 0 lies along +x.

    Raises:
        InputError: the scene's receivers have several antennas, or an array another pattern or polarisation than the
            radio can have; sionna-rt or LLVM missing.
    """
    bs, ue = np.array(bs, dtype=np.float64, ndmin=2), np.array(ue, dtype=np.float64, ndmin=2)
    if scene.rx_array is not None:
        require_one_isotropic(scene.rx_array, scene.rx_array.num_ant, name)
    seen = TransmitArray.of(scene.tx_array, name)
    site = _survey(scene, np.concatenate([bs, ue]), pixels)
    bearings = np.broadcast_to(np.asarray(bearing, dtype=np.float64), len(bs))
    found = seen.at_element_0(trace_scene(scene, bs, ue, config), np.repeat(bearings, len(ue)))
    return _links(found, site, bs, ue, name, bearings, seen.radio(scene))


def read(
    source: Path | str,
    report: ImportReport,
    *,
    bs: Path,
    ue: Path,
    config: RayTracing = RayTracing(),
    pixels: int = 256,
    bearing: float = 0.0,
    radio: Mapping[str, Any] | None = None,
) -> Iterator[Links]:
    """Traces a scene file and streams its links, at most 1,000 UEs a chunk; all chunks are of one area.

    Args:
        source: a Mitsuba scene (`.xml`) with radio materials, or `sionna:NAME`, a scene of the sionna-rt wheel.
        bs, ue: CSV files of positions in the scene's coordinates, header `x,y,z`, m.
        config: see `RayTracing`; the scene's own materials are used.
        pixels: raster of the map.
        bearing: azimuth of the BSs' arrays, rad.
        radio: entries of a `Radio` with the array, grid and clock; a scene file has none of them.

    Raises:
        InputError: a file is missing or broken, a material is not defined at the carrier, the radio has another one,
            sionna-rt or LLVM missing.
    """
    seen = overridden(
        Radio(carrier=config.frequency), radio, str(source), ", or trace at it with --ray_tracing.frequency"
    )
    sites, users = _positions(Path(bs)), _positions(Path(ue))
    scene, name = _load(str(source), config)
    site = _survey(scene, np.concatenate([sites, users]), pixels)
    bearings = np.full(len(sites), bearing)
    for start in range(0, len(users), USERS_PER_CHUNK):
        some = users[start : start + USERS_PER_CHUNK]
        links = _links(trace_scene(scene, sites, some, config), site, sites, some, name, bearings, seen)
        report.leave("links without a path", name, len(sites) * len(some) - len(links))
        if len(links):
            report.use("links", len(links))
            report.use("LOS links", int(links.los.sum()))
            yield links


@dataclass(frozen=True)
class _Site:
    """The square of an area: its south-west corner [2] in the scene, its side in m, and its occupancy."""

    corner: NDArray[np.float64]
    side: float
    map: NDArray[np.uint8]


def _survey(scene: Scene, devices: NDArray[np.floating], pixels: int) -> _Site:
    """The square around geometry and devices [N, 3], seen from above and from below.

    A pixel is built up where the highest surface over its centre is more than 2 m above the lowest, the ground: so
    hills are no buildings, whatever the meshes are called.
    """
    import mitsuba as mi

    box = scene.mi_scene.bbox()
    low, high = devices.min(0), devices.max(0)
    if box.valid():
        low, high = np.minimum(low, np.array(box.min).ravel()), np.maximum(high, np.array(box.max).ravel())
    side = max(*(high - low)[:2], 1.0)
    centres = (np.arange(pixels) + 0.5) * side / pixels
    x, y = (grid.ravel().astype(np.float32) for grid in np.meshgrid(low[0] + centres, low[1] + centres))

    def surface(height: float, up: float) -> NDArray[np.float64]:
        rays = mi.Ray3f(mi.Point3f(x, y, float(height)), mi.Vector3f(0, 0, up))
        away = scene.mi_scene.ray_intersect_preliminary(rays).t.numpy().astype(np.float64)
        return np.where(np.isfinite(away), height + up * away, np.nan)  # nothing there: open ground

    built = surface(high[2] + 1, -1.0) - surface(low[2] - 1, 1.0) > BUILDING_HEIGHT
    return _Site(low[:2], float(side), built.reshape(pixels, pixels).astype(np.uint8))


def _links(
    paths: Paths,
    site: _Site,
    bs: NDArray[np.floating],
    ue: NDArray[np.floating],
    name: str,
    bearings: NDArray[np.floating],
    radio: Radio,
) -> Links:
    """The links that have a path, of paths BS-major; bearings are [B]."""
    found = np.flatnonzero(paths.counts > 0)
    b, u = found // len(ue), found % len(ue)
    shift = np.append(site.corner, 0.0)
    return Links(
        areas=(name,),
        maps=site.map[None],
        mapped=np.ones(1, dtype=bool),
        sizes=np.array([site.side], dtype=np.float32),
        area=np.zeros(len(found), dtype=np.int32),
        bs=(bs - shift)[b].astype(np.float32),
        ue=(ue - shift)[u].astype(np.float32),
        bearing=bearings.astype(np.float32)[b],
        los=paths.los()[found],
        paths=paths.select(found),
        radios=(radio,),
    ).validate(name)


def _load(source: str, config: RayTracing) -> tuple[Scene, str]:
    """The scene at the carrier of `config`, and its area's name."""
    rt = require_sionna()
    path, place = Path(source), Path(source).stem
    if source.startswith("sionna:"):
        place = source.removeprefix("sionna:")
        scenes = Path(rt.__file__).parent / "scenes"
        path = scenes / place / f"{place}.xml"
        if not path.is_file():
            have = ", ".join(sorted(file.stem for file in scenes.glob("*/*.xml")))
            raise InputError(f"{source}: no such scene in the sionna-rt wheel; choose one of {have}")
        place = f"sionna_{place}"
    if not path.is_file() or path.suffix != ".xml":
        raise InputError(f"{source}: no such scene; give a Mitsuba scene file (.xml) or sionna:NAME")
    try:
        scene = rt.load_scene(str(path))
    except Exception as error:  # Mitsuba's parser and plugins fail in ways of their own
        raise InputError(f"{source}: not a readable Sionna RT scene ({' '.join(str(error).split())[:300]})") from error
    try:
        scene.frequency = config.frequency
    except ValueError as error:
        raise InputError(
            f"{source}: a material is not defined at {config.frequency / 1e9:g} GHz ({error}); choose another "
            "frequency, or another material in the scene"
        ) from error
    return scene, f"{place}/00000"


def _positions(path: Path) -> NDArray[np.float64]:
    """The positions in a CSV file: [N, 3] m."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
        if [name.strip().lower() for name in header] != ["x", "y", "z"]:
            raise InputError(f"{path}: its header is {','.join(header)[:80]!r}; the first line must be x,y,z")
        positions = np.array(rows, dtype=np.float64)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give a CSV file with the header x,y,z and positions in m") from error
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a table of numbers ({error}); it needs x,y,z in m, a line a position") from error
    if positions.ndim != 2 or positions.shape[1] != 3 or not np.isfinite(positions).all():
        raise InputError(f"{path}: no positions, or a line without three finite numbers; it needs x,y,z in m")
    return positions
