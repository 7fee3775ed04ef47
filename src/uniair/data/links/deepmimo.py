"""DeepMIMO scenarios, layouts of v3 and v4, as links.

A scenario is a folder.

v3: `params.mat`, and a file `BS{i}_UE_{a}-{b}.mat` for each BS i and users a to b − 1.
v4: a file `{key}_t{set}_tx{index}_r{set}.npz` (or `.mat`, `.npy`) for each quantity, BS and set of users; buildings in
    `objects.json` and `vertices.npz`.

The files give power in dB and phase in degrees: a path's gain is 10^((power − transmitted power) / 20) · e^{j phase};
the transmitted power is in v3's `params.mat`, and 0 dB in v4. Angles are degrees there, the zenith counted from +z as
ours. DeepMIMO's own arrays lie along +y with a phase that grows with the element, which is our ULA at a bearing of
−π/2; turning its BS by γ about z adds γ to the bearing. Its OFDM channel holds a factor 1/√(subcarriers) that ours does
not, and leaves out paths longer than one symbol, subcarriers / bandwidth.
Source: deepmimo 4.0.5; `benchmarks/deepmimo_peer.sh` compares the channels: within 5e-5 of the largest entry of a link.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uniair.area.raster import occupancy
from uniair.data import matlab
from uniair.data.import_report import ImportReport
from uniair.data.links.deepmimo_arrays import AGAIN, Array, Stored, float64, reading, require_metres
from uniair.data.links.deepmimo_folders import V3_FILE, V4_FILE, Scenario, scenarios, unpacked
from uniair.data.links.deepmimo_map import buildings_of, is_indoors
from uniair.data.links.deepmimo_radio import lacks_carrier_phase, parameters, radio_of
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.propagation.paths import LOS, UNKNOWN, Paths
from uniair.radio import SPEED_OF_LIGHT, Radio

PER_PATH = ("phase", "delay", "power", "aoa_az", "aoa_el", "aod_az", "aod_el")  # the rows of v3's matrix, then LoS
OLDER_NAMES = {"delay": "toa", "rx_pos": "rx_loc", "tx_pos": "tx_loc"}
MARGIN = 1.0  # m around BSs, users and buildings
FARTHEST = 1e5  # m; longer paths and larger scenarios are in other units
EXACT_INTEGERS = 2**24  # of float32, which v4 keeps the interactions' digits in
USERS = 4096  # read at once where their positions alone are needed
ASTRAY = math.radians(15)  # of a LOS path from the straight line; hand-made and rounded angles stay well below


class _Part(NamedTuple):
    """Users ue [n, 3] and their paths, loose: link [P] is the user of each, rays hold `PER_PATH` and inter, [P]."""

    ue: Array
    link: NDArray[np.intp]
    rays: dict[str, Array]


@dataclass(frozen=True)
class _Users:
    """The users of a BS in one file (v3) or set (v4), yet to be read.

    Attributes:
        bs: number of the BS, from 1.
        name: for the report.
        file: key → the file that it is in, for messages.
        position: [3] of the BS, m.
        corners: [2, 3] smallest and largest coordinates of the users, m.
        parts: reads the users, so many at a time.
        reached: positions [N, 3] of the users that have a path, some at a time; none where there are no buildings.
    """

    bs: int
    name: str
    file: Callable[[str], Path]
    position: Array
    corners: Array
    parts: Callable[[int], Iterator[_Part]]
    reached: Callable[[], Iterator[Array]] = lambda: iter(())


def read(
    source: Path,
    report: ImportReport,
    *,
    bs: tuple[int, ...] = (),
    bearing: float = -math.pi / 2,
    pixels: int = 256,
    chunk: int = 4096,
    radio: Mapping[str, Any] | None = None,
) -> Iterator[Links]:
    """Yields the links of one scenario or of every scenario in a folder, BS after BS.

    A scenario is one area, the square around its BSs, users and buildings; the scenes of a dynamic scenario are areas
    of one place. The map is drawn from the buildings of v4, unless they are the room that the users are in; v3 has
    none. Sionna RT's paths, as DeepMIMO's converter writes them, get the carrier's phase over the flight. Interactions
    are known in v4; in v3 only whether a path is the LOS path. Users without a path and links between BSs are left out
    and counted.

    Args:
        source: folder of a scenario, of scenarios or of a dynamic scenario's scenes, or a zip of any.
        report: takes what was found and left out.
        bs: numbers of the BSs to read, from 1, in v4 in the order of set and index; empty for all.
        bearing: azimuth of the BSs' ULA, rad; −π/2 is DeepMIMO's default array.
        pixels: raster of the map.
        chunk: users read at a time; the memory needed grows with it, except that `.mat` files are read whole.
        radio: entries of a `Radio` with the array, grid and clock instead of the scenarios', or paper 1's; its carrier
            is that of scenarios that name none.

    Raises:
        InputError: no scenario there, files missing or broken, units that can't be, or no path in a scenario; a
            scenario without carrier, or a radio of another.
    """
    if pixels < 1 or chunk < 1 or not math.isfinite(bearing):
        raise InputError(f"pixels {pixels} and chunk {chunk} must be at least 1, bearing {bearing} a number of radians")
    with unpacked(source.resolve()) as inside:
        found = scenarios(inside)
        if few := sum(scenario.is_scene for scenario in found):
            report.use("scenes of dynamic scenarios, each an area of its place", few)
        for scenario in found:
            yield from _read(scenario, report, bs, bearing, pixels, chunk, radio)


def _read(
    scenario: Scenario,
    report: ImportReport,
    bs: tuple[int, ...],
    bearing: float,
    pixels: int,
    chunk: int,
    radio: Mapping[str, Any] | None,
) -> Iterator[Links]:
    """`read` of one scenario."""
    folder = scenario.folder
    stations = {3: _v3, 4: _v4}[scenario.version](folder, report)
    seen, bare = _radio(scenario, report, radio)
    there = sorted({users.bs for users in stations})
    if unknown := set(bs) - set(there):
        raise InputError(f"{folder}: has no BS {min(unknown)}; choose from {', '.join(map(str, there))}")
    corner, area = _square(
        scenario, stations, pixels, report
    )  # around all BSs, so that it does not depend on the choice
    area["radios"] = (seen,)
    found = 0
    for users in (each for each in stations if not bs or each.bs in bs):
        for part in users.parts(chunk):
            _check(users, part)
            links = _links(users, part, corner, area, bearing, seen.carrier if bare else 0.0)
            found += len(links)
            report.use("links", len(links))
            report.use("LOS links", int(links.los.sum()))
            report.leave("links without a path", users.name, len(part.ue) - len(links))
            if len(links):
                yield links.validate(str(users.file("power")))
    if not found:
        raise InputError(f"{folder}: the scenario is empty, no user has a path to a BS; choose another, or other BSs")
    report.use("scenarios")


def _radio(scenario: Scenario, report: ImportReport, said: Mapping[str, Any] | None) -> tuple[Radio, bool]:
    """The radio of a scenario, and whether its phases lack the carrier's over the flight."""
    path = parameters(scenario.folder)
    if scenario.is_scene and not path.exists():
        path = parameters(scenario.folder.parent)
    with reading(path):
        return radio_of(path, report, said), lacks_carrier_phase(path)


def _v3(folder: Path, report: ImportReport) -> list[_Users]:
    """The users of each file `BS{i}_UE_{a}-{b}.mat`; every BS must have all users of `params.mat`."""
    params = folder / "params.mat"
    with reading(params), np.errstate(all="ignore"):
        settings = matlab.read(params, ("transmit_power", "num_BS", "user_grids"))
        transmitted, stations = float(settings["transmit_power"].item()), int(settings["num_BS"].item())
        first, last, a_row = float64(settings["user_grids"]).T
        total = int(((last - first + 1) * a_row).sum())
        if stations < 1 or not math.isfinite(transmitted):
            raise ValueError(f"num_BS {stations}, transmit_power {transmitted}")
    for path in sorted(folder.glob("BS*_BS.mat")):
        report.leave("sets of links between BSs", f"{folder.name}/{path.name}")
    matches = [match for path in folder.iterdir() if (match := V3_FILE.fullmatch(path.name))]
    files = sorted((int(match[1]), int(match[2]), int(match[3]), match[0]) for match in matches)
    users = []
    for bs in range(1, stations + 1):
        there = 0
        for number, start, stop, name in files:
            if number == bs and start == there < stop:
                users.append(_v3_file(bs, folder / name, stop - start, transmitted))
                there = stop
        if there != total:
            raise InputError(f"{folder}: has users 0 to {there} of {total} for BS {bs}; get its other BS{bs}_UE_ files")
    return users


def _v3_file(bs: int, path: Path, count: int, transmitted: float) -> _Users:
    with reading(path):
        places = matlab.read(path, ("rx_locs", "tx_loc"))
        ue, position = float64(places["rx_locs"]), float64(places["tx_loc"])
        if len(ue) != count or ue.shape[1] < 3 or position.size != 3:
            raise ValueError(f"rx_locs {ue.shape} and tx_loc {position.shape} for {count} users")
    ue, position = require_metres(path, ue[:, :3]), require_metres(path, position.reshape(3))

    def parts(chunk: int) -> Iterator[_Part]:
        with reading(path):
            content = matlab.read(path, ("channels", "channels_VV"))  # VV: of two polarisations, vertical to vertical
            cells = content["channels" if "channels" in content else "channels_VV"]
            if len(cells) != count:
                raise ValueError(f"{len(cells)} channels for {count} users")
            matrices = [cell[0]["p"] for cell in cells]
            if bad := [p for p in matrices if p.size and (p.ndim != 2 or len(p) < 8)]:
                raise ValueError(f"a channel of shape {bad[0].shape}, not (8, paths)")
        for start in range(0, count, chunk):
            some = matrices[start : start + chunk]
            link = np.repeat(np.arange(len(some)), [p.shape[1] if p.size else 0 for p in some])
            with reading(path):
                rows = float64(np.hstack([np.zeros((8, 0), np.float32), *(p[:8] for p in some if p.size)]))
                if not np.isin(rows[7], (0, 1)).all():
                    raise ValueError("a LoS flag is neither 0 nor 1")
            rays = dict(zip(PER_PATH, rows, strict=False))
            rays["power"] = rays["power"] - transmitted
            rays["inter"] = np.where(rows[7] == 1, LOS, UNKNOWN).astype(np.float64)
            yield _Part(ue[start : start + chunk], link, rays)

    return _Users(bs, f"{path.parent.name}/{path.name}", lambda _: path, position, _corners(ue), parts)


def _v4(folder: Path, report: ImportReport) -> list[_Users]:
    """The users of each pair of a BS and a receiver set; sets that transmit too are BSs."""
    files: dict[str, dict[str, Path]] = {}
    pairs: dict[tuple[int, int, int], str] = {}
    for path in sorted(folder.iterdir(), reverse=True):  # so that .npz goes before .npy and .mat
        if match := V4_FILE.fullmatch(path.name):
            files.setdefault(match[2], {}).setdefault(match[1], path)
            pairs[int(match[3]), int(match[4]), int(match[5])] = match[2]
    transmitting = {tx_set for tx_set, _, _ in pairs}
    serving = {pair: name for pair, name in sorted(pairs.items()) if pair[2] not in transmitting}
    for name in sorted(set(pairs.values()) - set(serving.values())):
        report.leave("sets of links between BSs", f"{folder.name}/{name}")
    if not serving:
        raise InputError(f"{folder}: every receiver set is a transmitter too; a scenario needs a set of users")
    stations = sorted({pair[:2] for pair in serving})
    grids = {pair[2] for pair in serving}
    if len(grids) > 1:
        report.use("grids of users", len(grids))
    for station in stations:
        short = [grid for grid in sorted(grids) if (*station, grid) not in serving]
        report.leave("grids of users without files of a BS", f"{folder.name} tx set {station[0]}", len(short))
    return [_v4_pair(stations.index(pair[:2]) + 1, folder, name, files[name]) for pair, name in serving.items()]


def _v4_pair(bs: int, folder: Path, pair: str, files: dict[str, Path]) -> _Users:
    arrays = {}
    for key in (*PER_PATH, "inter", "rx_pos", "tx_pos"):
        name = key if key in files else OLDER_NAMES.get(key, key)
        if name not in files:
            raise InputError(f"{folder}: {key}_{pair}.npz is missing; download the scenario again")
        arrays[key] = Stored.at(files[name], name)
    users, paths = arrays["rx_pos"].shape[0], arrays["power"].shape[-1]
    for key in ("power", *arrays):  # power first, because it says how many paths the others have
        expected = {"rx_pos": (users, 3), "tx_pos": (1, 3)}.get(key, (users, paths))
        if arrays[key].shape != expected:
            raise InputError(f"{arrays[key].path}: has shape {arrays[key].shape}, expected {expected}; {AGAIN}")
    position = require_metres(arrays["tx_pos"].path, next(arrays["tx_pos"].rows(1)))[0]
    corners = [_corners(require_metres(arrays["rx_pos"].path, ue)) for ue in arrays["rx_pos"].rows(2**16)]
    if not corners:
        raise InputError(f"{arrays['rx_pos'].path}: holds no users; {AGAIN}")

    def parts(chunk: int) -> Iterator[_Part]:
        keys = ("rx_pos", *PER_PATH, "inter")
        for ue, *values in zip(*(arrays[key].rows(chunk) for key in keys), strict=True):
            # a path is where any of its values is; one that is incomplete is found by _check
            link, column = np.nonzero(~np.isnan(values[:-1]).all(axis=0))
            yield _Part(ue, link, dict(zip(keys[1:], (v[link, column] for v in values), strict=True)))

    def reached() -> Iterator[Array]:
        for ue, power in zip(arrays["rx_pos"].rows(USERS), arrays["power"].rows(USERS), strict=True):
            yield ue[~np.isnan(power).all(1)]

    name = f"{folder.name}/{pair}"
    return _Users(bs, name, lambda key: arrays[key].path, position, _corners(*corners), parts, reached)


def _square(
    scenario: Scenario, stations: list[_Users], pixels: int, report: ImportReport
) -> tuple[Array, dict[str, Any]]:
    """South-west corner [2] of the square around BSs, users and buildings, and what `Links` says of the area."""
    folder = scenario.folder
    buildings = buildings_of(folder)
    points = [users.position[None, :2] for users in stations] + [users.corners[:, :2] for users in stations]
    if buildings:
        positions = np.stack([users.position for users in stations])
        report.grounds[scenario.place] = buildings.digest(positions)
        reached = (points for users in stations for points in users.reached())
        if is_indoors(folder.name, buildings, positions, reached, report):
            buildings = None
    if buildings:
        points.append(np.reshape(buildings.area(folder.name).bounds, (2, 2)))
    corners = _corners(*points)
    corner = corners[0] - MARGIN
    side = float(np.ptp(corners, axis=0).max()) + 2 * MARGIN
    if side > FARTHEST:
        raise InputError(f"{folder}: BSs, users and buildings lie {side:.3g} m apart; positions must be in metres")
    image = np.zeros((pixels, pixels), dtype=np.uint8)
    if buildings:
        image = occupancy(buildings.area(folder.name).crop(float(corner[0]), float(corner[1]), side), pixels)
    return corner, {
        "areas": (scenario.area,),
        "maps": image[None],
        "mapped": np.array([buildings is not None]),
        "sizes": np.array([side], dtype=np.float32),
    }


def _links(users: _Users, part: _Part, corner: Array, area: dict[str, Any], bearing: float, lacking: float) -> Links:
    """The links of a part; `lacking` is the carrier, Hz, whose phase over the flight the files lack, 0 for none."""
    rays, count = part.rays, len(part.ue)
    turns = lacking * rays["delay"]
    phase = np.deg2rad(rays["phase"]) - 2 * math.pi * (turns - np.round(turns))
    paths = Paths.from_rows(
        count,
        part.link,
        gain=10 ** (rays["power"] / 20) * np.exp(1j * phase),
        delay=rays["delay"],
        aod_azimuth=np.deg2rad(rays["aod_az"]),
        aod_zenith=np.deg2rad(rays["aod_el"]),
        aoa_azimuth=np.deg2rad(rays["aoa_az"]),
        aoa_zenith=np.deg2rad(rays["aoa_el"]),
        interactions=np.where(rays["inter"] < EXACT_INTEGERS, rays["inter"], UNKNOWN),
    )
    found = np.flatnonzero(paths.counts)
    paths = paths.select(found)
    origin = np.append(corner, 0.0)
    return Links(
        **area,
        area=np.zeros(len(found), dtype=np.int32),
        bs=np.tile(users.position - origin, (len(found), 1)).astype(np.float32),
        ue=(part.ue[found] - origin).astype(np.float32),
        bearing=np.full(len(found), bearing, dtype=np.float32),
        los=paths.los(),
        paths=paths,
    )


def _check(users: _Users, part: _Part) -> None:
    """Refuses values that can't be in the units of the format; LOS paths must agree with the positions."""
    rays = part.rays
    for key, values in rays.items():
        if not np.isfinite(values).all():
            raise InputError(f"{users.file(key)}: {key} of a path is NaN or infinite; {AGAIN}")
    line = part.ue[part.link] - users.position
    distance = np.linalg.norm(line, axis=1)
    tolerance = 1 + 0.01 * distance  # positions, delays and the speed of light are rounded
    los = rays["inter"] == LOS

    def require(holds: NDArray[np.bool_], key: str, message: str) -> None:
        if not holds.all():
            raise InputError(f"{users.file(key)}: {message}")

    audible = (rays["power"] <= 0) & (rays["power"] > -500)
    require(audible, "power", "a path's power is not between −500 and 0 dB; it must be in dB below what is transmitted")
    digits = (rays["inter"] >= UNKNOWN) & (rays["inter"] == np.floor(rays["inter"]))
    require(digits, "inter", f"inter of a path is not made of digits; {AGAIN}")
    for key in ("phase", "aod_az", "aoa_az"):
        require(np.abs(rays[key]) <= 360, key, f"{key} of a path is beyond 360; it must be in degrees")
    for key in ("aod_el", "aoa_el"):
        polar = rays[key]
        inside = (polar >= 0) & (polar <= 180)
        require(inside, key, f"{key} of a path is outside 0 to 180; it must be in degrees from the zenith")
        if len(polar) and not los.any():  # with a LOS path, its direction tells
            require(np.max(polar, keepdims=True) > math.pi, key, f"no {key} is above π; it must be in degrees")
    units = "delays must be in seconds, positions in metres"
    possible = (rays["delay"] >= 0) & (rays["delay"] < FARTHEST / SPEED_OF_LIGHT)
    require(possible, "delay", f"a delay is negative or that of {FARTHEST / 1000:.0f} km; {units}")
    excess = rays["delay"] * SPEED_OF_LIGHT - distance
    require(excess >= -tolerance, "delay", f"a delay is below that of the straight line from BS to UE; {units}")
    require((excess <= tolerance) | ~los, "delay", f"a LOS delay is not that of the straight line; {units}")
    apart = los & (distance > 1)  # closer, a rounded position turns the line
    for end, sign in (("aod", 1), ("aoa", -1)):
        azimuth, polar = np.deg2rad(rays[f"{end}_az"][apart]), np.deg2rad(rays[f"{end}_el"][apart])
        ray = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1)
        cosine = sign * (ray * line[apart]).sum(1) / distance[apart]
        ends = "from BS to UE" if sign > 0 else "from UE to BS"
        advice = "angles must be degrees, azimuth from +x, zenith from +z"
        require(cosine > math.cos(ASTRAY), f"{end}_az", f"{end} of a LOS path does not point {ends}; {advice}")


def _corners(*points: Array) -> Array:
    """[2, …] smallest and largest coordinates of points [N, …]."""
    return np.stack([np.min([p.min(axis=0) for p in points], axis=0), np.max([p.max(axis=0) for p in points], axis=0)])
