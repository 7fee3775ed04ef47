"""What goes wrong with a measured channel: drifting calibration, a jammer, silent elements; and with a map."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from uniair.errors import InputError
from uniair.radio import Radio


def drifted(csi: Tensor, phase: float, gain: float, rng: np.random.Generator) -> Tensor:
    """Channels of a receiver whose calibration has drifted: an error for each port, the same in every channel.

    Args:
        csi: complex64 [N, ports, subcarriers].
        phase: standard deviation of the errors, °; gain: the same, dB.
        rng: of the errors.
    """
    ports = csi.shape[1]
    level = 10 ** (gain * rng.standard_normal(ports) / 20)
    error = level * np.exp(1j * np.deg2rad(phase) * rng.standard_normal(ports))
    return csi * torch.from_numpy(error.astype(np.complex64))[:, None]


def jammed(csi: Tensor, radio: Radio, power: float, rng: np.random.Generator) -> Tensor:
    """Channels estimated while somebody else sends noise from one direction, the same for all of them.

    Args:
        csi: complex64 [N, ports, subcarriers].
        radio: whose array receives; the direction is level and within 60° of the boresight.
        power: of the interference over each channel's mean power, dB.
        rng: of the direction, and of what is sent, anew on each subcarrier of each channel.
    """
    azimuth = np.pi / 2 + rng.uniform(-np.pi / 3, np.pi / 3)
    towards = torch.tensor([np.cos(azimuth), np.sin(azimuth), 0.0], dtype=torch.float64)
    steering = radio.array.response(towards)
    steering = steering / steering.abs().square().mean().sqrt()
    drawn = torch.from_numpy(rng.standard_normal((len(csi), csi.shape[2], 2)).astype(np.float32))
    sent = torch.view_as_complex(drawn) / np.sqrt(2)
    level = csi.abs().square().mean((1, 2)).sqrt() * 10 ** (power / 20)
    return csi + level[:, None, None] * steering[:, None] * sent[:, None]


def silenced(csi: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Channels of an array of which some neighbouring ports hear nothing, the same in every channel.

    Args:
        csi: complex64 [N, ports, subcarriers].
        share: of the ports that are silent; one at least, and not all.
        rng: of where they are.

    Raises:
        InputError: a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise InputError(f"a share of {share} silent ports: give one between 0 and 1")
    ports = csi.shape[1]
    gone = min(max(round(share * ports), 1), ports - 1)
    first = int(rng.integers(ports - gone + 1))
    out = csi.clone()
    out[:, first : first + gone] = 0
    return out


def building_moved(heights: NDArray[np.floating], pixels: int, rng: np.random.Generator) -> NDArray[np.floating]:
    """A map with one of its buildings elsewhere; what leaves the map is lost.

    Args:
        heights: [R, R] m, 0 on open ground; a building is a connected part that is not.
        pixels: how far it moves, in one of the four directions.
        rng: of the building, by its area, and of the direction.

    Raises:
        InputError: a map without a building.
    """
    labels, count = ndimage.label(heights > 0)
    if not count:
        raise InputError("a map without a building: none can be moved")
    area = ndimage.sum_labels(np.ones_like(labels), labels, np.arange(1, count + 1))
    chosen = labels == 1 + rng.choice(count, p=area / area.sum())
    down, right = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])[rng.integers(4)] * pixels
    return move_building(heights, chosen, (int(down), int(right)))


def move_building(map: NDArray[Any], building: NDArray[np.bool_], shift: tuple[int, int]) -> NDArray[Any]:
    """The map with one building moved by (rows, columns) pixels, as high as it is; what leaves the map is lost.

    Where it meets another building the higher one stands.
    """
    out = map.copy()
    out[building] = 0
    rows, columns = np.nonzero(building)
    to_row, to_column = rows + shift[0], columns + shift[1]
    inside = (to_row >= 0) & (to_row < len(out)) & (to_column >= 0) & (to_column < len(out))
    there = to_row[inside], to_column[inside]
    out[there] = np.maximum(out[there], map[rows[inside], columns[inside]])
    return out
