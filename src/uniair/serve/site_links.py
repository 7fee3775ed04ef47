"""The links of a site as the page shows them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from uniair.angle_delay import TYPICAL
from uniair.data.links.links import Links
from uniair.models.universal import UniversalModel
from uniair.propagation.ray_geometry import Surfaces
from uniair.radio import SPEED_OF_LIGHT, Radio
from uniair.serve.drawn_rays import rays_of
from uniair.site import station_links
from uniair.site.site import Site
from uniair.tasks.registry import TASKS
from uniair.training.heads import Adaptation, divide

DARK = -80.0  # dB below the peak, where the picture of a CSI ends
WEAKEST = -40.0  # dB below the strongest, of the paths that are listed


@dataclass(frozen=True)
class StationLinks:
    """The links of a station, with what the page draws.

    Attributes:
        links: N of them.
        labels: [N] of each task whose label is one number, by its column.
        tested: bool [N], those that the heads did not learn from.
        downtilt: of the station's array, rad.
    """

    links: Links
    labels: dict[str, NDArray[Any]]
    tested: NDArray[np.bool_]
    downtilt: float = 0.0


def read_links(site: Site, station: int) -> StationLinks | None:
    """A station's links; None where the site has none of it."""
    links = station_links.links_of(site, station)
    if links is None or not len(links):
        return None
    batch = station_links.batch(site, station, links)
    tested = np.ones(len(links), dtype=bool)
    for path in site.heads(station).values():
        with safe_open(path, framework="numpy") as file:
            learned = json.loads(file.metadata()["uniair"])["adaptation"]
        held = divide(links, replace(Adaptation(**learned), labels=None))[1]
        tested &= np.isin(np.arange(len(links)), held)
    labels = {task.label.column: task.label.values(task.target(batch)) for task in TASKS.values() if task.label}
    return StationLinks(links, labels, tested, site.stations[station].downtilt)


def details(known: StationLinks, link: int, model: UniversalModel, surfaces: Surfaces) -> dict[str, Any]:
    """One link: position, labels, its CSI in angle and delay, its paths, and those that the model read from it.

    `csi_db` [32, 64] is in dB relative to the peak, as the model sees the channel of any radio: row b is the direction
    cosine 2b/32 (mod 2) along the array, column d a delay of d / (64 · 720 kHz). `paths` are the traced ones and `read`
    those that the model read, both by `cosine`, `delay_ns` on the same clock, and `gain_db` below the strongest;
    `rays` is where the traced ones run, see `drawn_rays.rays_of`.
    """
    one = known.links.select(np.array([link]))
    radio = one.one_radio()
    csi = one.paths.csi(radio, one.bearing, downtilt=known.downtilt)
    spectrum = model.see(csi, radio).response[0].abs()
    level = 20 * torch.log10((spectrum / spectrum.max()).clamp_min(10 ** (DARK / 20)))
    ue, delay = one.ue[0].tolist(), one.paths.delay
    distance = float(np.linalg.norm(one.ue[0] - one.bs[0]))
    labels = {column: values[link].item() for column, values in known.labels.items()}
    return {
        "ue": ue, **labels, "csi_db": torch.fft.ifftshift(level, dim=0).numpy(),
        "truth": {
            "x_m": ue[0], "y_m": ue[1], **labels, "first_path_ns": 1e9 * float(delay.min()),
            "direct_ns": 1e9 * distance / SPEED_OF_LIGHT, "distance_m": distance, "paths": len(delay),
            "tested": bool(known.tested[link]),
        },
        "paths": _traced(one, radio, known.downtilt), "read": _read(model, csi, radio),
        **rays_of(surfaces, one.bs[0], one.ue[0], one.paths),
    }  # fmt: skip


def _traced(one: Links, radio: Radio, downtilt: float) -> list[dict[str, float]]:
    """The paths of a link as the array and the radio's clock have them, strongest first."""
    paths, (direction, _) = one.paths, one.paths.departures(one.bearing, downtilt)
    delay = paths.delay.astype(np.float64)
    if radio.clock == "first_path":  # which the model puts at a length that streets have
        delay = delay - delay.min() + TYPICAL / SPEED_OF_LIGHT
    return _listed(direction[:, 0], delay, np.abs(paths.gain))


def _read(model: UniversalModel, csi: Tensor, radio: Radio) -> list[dict[str, float]]:
    """The paths that the model read from a channel, strongest first."""
    read = model.read_paths(model.encode_channel(csi, radio))
    return _listed(read.cosine[0].numpy(), read.delay[0].numpy(), read.gain[0].abs().numpy())


def _listed(
    cosine: NDArray[np.floating], delay: NDArray[np.floating], gain: NDArray[np.floating]
) -> list[dict[str, float]]:
    level = 20 * np.log10(np.maximum(gain / max(float(gain.max(initial=0)), 1e-30), 1e-10))
    rows = zip(cosine.tolist(), (1e9 * delay).tolist(), level.tolist(), strict=True)
    return [
        {"cosine": round(c, 4), "delay_ns": round(d, 2), "gain_db": round(db, 2)} for c, d, db in rows if db >= WEAKEST
    ]
