"""The radio that a DeepMIMO scenario says.

The carrier is in v3's `params.mat` and in v4's `params.json`. An array is there where a scenario came from Sionna RT
(`ant_rel_positions`, in m; other tracers leave other units in it, and the package reads none of them), array and grid
where the parameters of `deepmimo`'s own channels were saved with it (`bs_antenna`, `ofdm` in Hz, `OFDM` in GHz).
Source: deepmimo 4.0.5, its converters and `ChannelParameters`; DeepMIMOv3's default parameters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uniair.data import matlab
from uniair.data.import_report import ImportReport
from uniair.data.links.source_radio import array_of, overridden, reading_order
from uniair.errors import InputError
from uniair.radio import OFDM, SPEED_OF_LIGHT, Antennas, Grid, Radio, Subcarriers

CARRIERS = (1e8, 1e13)  # Hz; a carrier outside is in another unit


def parameters(folder: Path) -> Path:
    """The file of a scenario's parameters, whether it is there or not."""
    path = folder / "params.json"
    return path if path.exists() else folder / "params.mat"


def radio_of(path: Path, report: ImportReport, said: Mapping[str, Any] | None) -> Radio:
    """The radio of a scenario: what it says of it, what the user says instead, and paper 1's where neither does.

    Args:
        path: of its parameters.
        report: takes what was not used.
        said: entries of a radio from the user.

    Raises:
        InputError: no parameters and so no carrier, one that can't be, or the user says another.
        Exception: what the parsers of MAT-files and JSON, and NumPy, throw at other content.
    """
    settings, name = _settings(path), path.parent.name
    carrier = _carrier(path, settings)
    if carrier is None:
        given = said is not None and "carrier" in said
        if not given and not path.exists():
            raise InputError(
                f"{path}: is missing, and the carrier with it; add it: --radio '{{\"carrier\": 28e9}}', for instance"
            )
        carrier = Radio.from_json(said if given else {}, "--radio").carrier
        taken = "taken from --radio" if given else f"taken for paper 1's {carrier / 1e9:g} GHz: say it by --radio"
        report.leave(f"scenarios that name no carrier, {taken}", name)
    array = _saved_array(name, report, settings) or _traced_array(name, report, settings, carrier)
    own = Radio(array or Radio().array, _grid(settings) or Radio().grid, carrier)
    return overridden(own, said, f"{path.parent}: the scenario")


def lacks_carrier_phase(path: Path) -> bool:
    """Whether a scenario's phases are those of Sionna RT's `Paths.a`, which lack the carrier's over the flight.

    DeepMIMO's converter writes their angle as it is, while Wireless InSite's phases are whole.
    Source: deepmimo 4.0.5, `converters/sionna_rt`; Sionna RT, `Paths.cir`.

    Args:
        path: of its parameters.

    Raises:
        Exception: what the parsers of MAT-files and JSON throw at other content.
    """
    return _by_sionna(_settings(path))


def _by_sionna(settings: dict[str, Any]) -> bool:
    return "sionna" in str((settings.get("rt_params") or {}).get("raytracer_name")).lower()


def _settings(path: Path) -> dict[str, Any]:
    """The parameters that a radio follows from, as plain numbers, texts, lists and dicts; none without a file."""
    if not path.exists():
        return {}
    if path.suffix == ".json":
        return dict(json.loads(path.read_text(encoding="utf-8")))
    found = matlab.read(path, ("carrier_freq", "rt_params", "ofdm", "OFDM", "bs_antenna"))
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    """What `matlab.read` gives, as JSON would: a struct of one entry is its dictionary, an array of one its number."""
    if isinstance(value, list):
        entries = [{name: _plain(item) for name, item in entry.items()} for entry in value]
        return entries[0] if len(entries) == 1 else entries
    if isinstance(value, np.ndarray):
        return value.item() if value.size == 1 else np.squeeze(value).tolist()
    return value


def _carrier(path: Path, settings: dict[str, Any]) -> float | None:
    """Hz; None where the scenario does not say."""
    traced = settings.get("rt_params")
    value = settings.get("carrier_freq", traced.get("frequency") if isinstance(traced, dict) else None)
    if value is None:
        return None
    carrier = float(value)
    if not CARRIERS[0] <= carrier <= CARRIERS[1]:
        raise InputError(f"{path}: a carrier of {carrier:g} can't be in Hz; correct it there")
    return carrier


def _saved_array(name: str, report: ImportReport, settings: dict[str, Any]) -> Antennas | None:
    """The array of saved channel parameters: elements along y, or [y, z], or [x, y, z], the first index fastest."""
    saved = settings.get("bs_antenna")
    if saved is None:
        return None
    turned = not isinstance(saved, dict) or np.any(np.asarray(saved.get("rotation") or 0))
    if turned or saved.get("radiation_pattern", "isotropic") not in ("isotropic", "omni-directional"):
        what = "arrays (bs_antenna) of several BSs, turned or not isotropic, not taken: give --radio and --bearing"
        report.leave(what, name)
        return None
    shape = np.atleast_1d(np.asarray(saved["shape"], dtype=int))
    across, wide, high = (int(n) for n in ([1, *shape, 1][:3] if shape.size < 3 else shape))
    z, y, x = np.indices((high, wide, across)).reshape(3, -1)
    return array_of(float(saved.get("spacing", 0.5)) * np.column_stack([x, y, z]))


def _traced_array(name: str, report: ImportReport, settings: dict[str, Any], carrier: float) -> Antennas | None:
    """The array that a v4 scenario's transmitters were traced with, its element 0 being the one that gains are of."""
    sets = [one for one in (settings.get("txrx_sets") or {}).values() if isinstance(one, dict) and one.get("is_tx")]
    places = [np.asarray(one.get("ant_rel_positions", ()), dtype=np.float64) for one in sets]
    if all(place.size <= 3 for place in places):
        return None
    same = all(np.array_equal(place, places[0]) for place in places)
    if not _by_sionna(settings) or not same or any(one.get("num_ant", 1) > 1 for one in sets):
        what = "arrays (ant_rel_positions) that differ, in unknown units, or of BSs an element each, not taken"
        report.leave(f"{what}: give --radio", name)
        return None
    place = places[0]
    if len(place) == 3 and (place.shape[1] != 3 or not place[0].any()):
        place = place.T  # as Sionna RT 1 and later write it, [3, elements]; planar ones have x = 0
    positions = place * carrier / SPEED_OF_LIGHT
    return array_of(positions[reading_order(positions)])


def _grid(settings: dict[str, Any]) -> Grid | None:
    """The grid of saved channel parameters; their selection where it is of several subcarriers."""
    saved, unit = (settings["ofdm"], 1.0) if "ofdm" in settings else (settings.get("OFDM"), 1e9)
    if saved is None:
        return None
    count = int(saved["subcarriers"])
    spacing = float(saved["bandwidth"]) * unit / count
    chosen = np.atleast_1d(np.asarray(saved.get("selected_subcarriers", 0), dtype=int))
    if chosen.size < 2:
        return OFDM(count, spacing)
    steps = np.unique(np.diff(chosen))
    if len(steps) == 1:
        return OFDM(chosen.size, float(steps[0] * spacing), float(chosen[0] * spacing))
    return Subcarriers((chosen * spacing).tolist())
