"""What doubt is worth on links whose answers are known: how often it was right to doubt, and what sets held."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from uniair.data.links.links import Links
from uniair.data.links.loader import along_array, batch_of
from uniair.explanation.calibrated import Calibration
from uniair.explanation.doubted import LOS, doubted
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.radio import Radio
from uniair.tasks import zero_shot
from uniair.tasks.beam import beam_gains

LEFT_OUT = 0.1  # share of the answers, the most doubtful


def doubt_figures(
    model: UniversalModel, links: Links, radio: Radio, calibration: Calibration, progress: bool = False
) -> dict[str, Any]:
    """Of the LOS answers about N links, given their places, and of sets of LOS and beams.

    Args:
        radio: that sees them, whatever its carrier.

    Returns:
        `wrong` and `stated`: the share of wrong answers, and what doubt says of it; `right` and `right_of_the_rest`,
        those without the tenth that is doubted most; `los_sets` and `beam_sets`: promise → share of the sets that hold
        the right answer, and how many answers are in one.
    """
    wrong, stated = [], []
    sets: dict[str, dict[float, list[tuple[bool, int]]]] = {"los_sets": {}, "beam_sets": {}}
    for area in track(np.unique(links.area).tolist(), "doubt", show=progress):
        mine = links.select(np.flatnonzero(links.area == area))
        batch = batch_of(along_array(mine), replace(radio, carrier=mine.one_radio().carrier))
        env, truth = batch.environment.without("los"), batch.environment.los.bool().tolist()
        los = zero_shot.los(model, batch.csi, env, batch.radio)
        best = beam_gains(batch).argmax(1).tolist()
        wrong += ((los > 0.5).cpu() != torch.tensor(truth)).tolist()
        for i, one in enumerate(doubted(model, batch.csi, env, los, batch.radio, calibration)):
            stated.append(one.wrong)
            for level, found in one.los.items():
                sets["los_sets"].setdefault(level, []).append((LOS[truth[i]] in found, len(found)))
            for level, beams in one.beams.items():
                sets["beam_sets"].setdefault(level, []).append((best[i] in beams, len(beams)))
    right = 1 - np.array(wrong, dtype=float)[np.argsort(np.array(stated, dtype=float), kind="stable")]
    return {
        "wrong": float(np.mean(wrong)), "stated": float(np.mean(np.array(stated, dtype=float))),
        "right": float(right.mean()), "right_of_the_rest": float(right[: round((1 - LEFT_OUT) * len(right))].mean()),
        **{
            name: {f"{level:g}": {"held": float(np.mean([held for held, _ in of])),
                                  "answers": float(np.mean([size for _, size in of]))} for level, of in levels.items()}
            for name, levels in sets.items() if levels
        },
    }  # fmt: skip


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures in words."""

    def percent(share: float) -> str:
        return f"{100 * share:.1f} %"

    out = [
        f"LOS answers: {percent(figures['wrong'])} wrong, doubt says {percent(figures['stated'])}; "
        f"{percent(figures['right'])} right, {percent(figures['right_of_the_rest'])} without the tenth doubted most"
    ]
    for name, what in (("los_sets", "LOS"), ("beam_sets", "beams by the place alone")):
        out += [
            f"sets of {what}, {100 * float(level):g} % promised: {percent(of['held'])} hold the right answer, "
            f"{of['answers']:.2f} answers in one" for level, of in figures.get(name, {}).items()
        ]  # fmt: skip
    return out
