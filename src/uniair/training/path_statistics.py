"""How probable paths are, counted on channels of training places: see `PathLaws`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks.completion import fitted_paths, measured_part
from uniair.tasks.path_code import SNR, PathCode
from uniair.tasks.path_laws import AMPLITUDES, KNOTS, MILLI, NONE, RANKS, Integers, Law, PathLaws, packaged_laws
from uniair.tasks.path_rounding import ALONG, DELAY, UP, Rounding

PATHS = 8  # of a channel that are counted: more than most codes hold


def counted_laws(model: UniversalModel, channels: Iterable[tuple[Tensor, Radio]]) -> PathLaws:
    """Laws of the paths that are read from channels, each CSI [N, ports, subcarriers] with its radio.

    A law of what was never seen, such as another clock's delays, is the packaged one.
    """
    seen: dict[str, list[Integers]] = defaultdict(list)
    for csi, radio in channels:
        _count(model, csi, radio, seen)
    known = packaged_laws()

    def law(kind: str, name: str, before: Law) -> Law:
        return Law.counted(np.concatenate(seen[name]), KNOTS[kind]) if name in seen else before

    amplitude = tuple(
        tuple(law("amplitude", f"{what} {rank}", known.amplitude[i][rank]) for rank in range(RANKS))
        for i, what in enumerate(AMPLITUDES)
    )
    delay = {clock: law("delay", f"delay {clock}", before) for clock, before in known.delay.items()}
    return PathLaws(amplitude, law("up", "up", known.up), delay, law("apart", "apart", known.apart),
                    law("apart", "higher", known.higher), law("later", "later", known.later))  # fmt: skip


def _count(model: UniversalModel, csi: Tensor, radio: Radio, seen: dict[str, list[Integers]]) -> None:
    """What one radio's channels show, by the finest of the roundings."""
    everything = torch.ones(radio.shape, dtype=torch.bool)
    rounding: Rounding = PathCode(radio).roundings[0]
    for paths, part, _ in fitted_paths(model, measured_part(csi, radio, everything), everything, SNR):
        placed, gains = rounding.ordered(paths, part, PATHS)
        size = gains[-1].abs()
        under = -20 * (size / size.amax((1, 2), keepdim=True)).clamp_min(1e-12).log10()
        found = (under * MILLI).round().long()
        below = torch.nn.functional.pad(found, (0, PATHS - found.shape[-1]), value=NONE).numpy()
        deepest = rounding.at_level(rounding.none)
        for rank in range(PATHS):
            last = min(rank, RANKS - 1)
            if rounding.gains == 1:
                seen[f"{AMPLITUDES[0]} {last}"].append(below[:, 0, rank])
                continue
            missing = below[:, 0, rank] >= deepest
            seen[f"{AMPLITUDES[1]} {last}"].append(below[:, 0, rank])
            seen[f"{AMPLITUDES[2]} {last}"].append(below[~missing, 1, rank])
            seen[f"{AMPLITUDES[3]} {last}"].append(below[missing, 1, rank])
        fields = [field for field in (ALONG, UP, DELAY) if rounding.widths[field]]
        there = (below[..., : placed.shape[1]] < deepest).any(1)
        at = {field: rounding.at(field, 2 * placed[..., field].numpy()) for field in fields}
        seen[f"delay {radio.clock}"].append(at[DELAY][:, 0])
        later = there & (np.arange(placed.shape[1]) > 0)
        for name, field in (("apart", ALONG), ("higher", UP), ("later", DELAY)):
            if field in fields:
                seen[name].append((at[field] - at[field][:, :1])[later])
        if UP in fields:
            seen["up"].append(at[UP][:, 0])
