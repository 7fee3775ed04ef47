"""Other models in our tables: the channels that they must embed, in order, and the embeddings that come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.files import atomic_path
from uniair.progress import track

CHUNK = 4096  # links synthesised at a time


def export_csi(store: Store, path: Path, bearing: float | None = None) -> tuple[int, ...]:
    """Writes the CSI of every link, in the store's order, to a .npy file; returns its shape.

    It is complex64 [links, ports, subcarriers], as the store's radio sees the links; [links, 32, 64] of paper 1's.
    Power and phase are those of the paths, nothing is normalised. The file is mapped into memory and filled in chunks.

    Args:
        bearing: azimuth of every BS's array, rad, instead of what the store says.

    Raises:
        InputError: `path` does not end in .npy, or the store's links have several radios.
    """
    if path.suffix != ".npy":
        raise InputError(f"{path}: CSI is written as .npy; give a name that ends so")
    radio = store.one_radio()
    shape = (store.links, *radio.shape)
    with atomic_path(path) as temporary:
        out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.complex64, shape=shape)
        start = 0
        for links in track(store, "area"):
            bearings = links.bearing if bearing is None else np.full_like(links.bearing, bearing)
            for first in range(0, len(links), CHUNK):
                part = slice(first, first + CHUNK)
                csi = links.paths.select(np.arange(len(links))[part]).csi(radio, bearings[part])
                out[start : start + len(csi)] = csi.numpy()
                start += len(csi)
        out.flush()
        del out  # unmapped before it is moved
    return shape


def read_embeddings(path: Path, store: Store) -> list[Tensor]:
    """Another model's embeddings of a store's links, area by area: float32 [links of the area, width] each.

    Row i of the file is link i of the store, in the order in which `export_csi` writes them.

    Raises:
        InputError: no such file, not a .npy of floats [links, width], another number of rows, NaN or infinite values.
    """
    expected = f"expected float [{store.links}, width], one row per link of {store.folder} in its order"
    try:
        found = np.lib.format.open_memmap(path, mode="r")  # never unpickles
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {expected}") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path}: not a whole .npy file of plain numbers ({error}); save it with numpy.save"
        ) from error
    if found.dtype.kind != "f" or found.ndim != 2 or not found.shape[1]:
        raise InputError(f"{path}: holds {found.dtype} {list(found.shape)}, {expected}")
    if len(found) != store.links:
        raise InputError(f"{path}: has {len(found)} rows, {expected}; embed the CSI that was exported from this folder")
    areas = []
    for end, count in zip(np.cumsum(store.counts).tolist(), store.counts.tolist(), strict=True):
        part = torch.from_numpy(found[end - count : end].astype(np.float32))
        if bad := int((~torch.isfinite(part).all(1)).sum()):
            first = end - count + int((~torch.isfinite(part).all(1)).nonzero()[0])
            raise InputError(f"{path}: NaN or infinite values in row {first} and {bad - 1} more of its area; mend them")
        areas.append(part)
    return areas
