"""The zero-shot suite: every figure that needs no tuned parameter, on links of places that the model never saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from uniair import metrics
from uniair.data.links import Links
from uniair.data.loader import batch_of
from uniair.models.universal import UniversalModel
from uniair.tasks import zero_shot


@dataclass(frozen=True)
class Figure:
    """One row of the table: what the model reached and what knowing nothing would."""

    name: str
    value: float
    reference: float | None
    reference_name: str
    unit: str = "%"

    def text(self) -> tuple[str, str, str]:
        """Name, value and reference as a table shows them."""

        def show(value: float) -> str:
            return f"{100 * value:.1f} %" if self.unit == "%" else f"{value:.2f}{' ' + self.unit if self.unit else ''}"

        return (
            self.name,
            show(self.value),
            "" if self.reference is None else f"{show(self.reference)} {self.reference_name}",
        )


@dataclass(frozen=True)
class ZeroShotResult:
    """Figures over all links, and matching accuracy by area for the histogram (paper 1, Fig. 6)."""

    figures: dict[str, Figure]
    areas: tuple[str, ...]
    area_accuracy: NDArray[np.float64]
    links: int

    def values(self) -> dict[str, float]:
        """The figures as plain numbers, for logs and JSON."""
        return {key: figure.value for key, figure in self.figures.items()}


def zero_shot_suite(model: UniversalModel, links: Links, progress: bool = False) -> ZeroShotResult:
    """Runs every zero-shot task on every link.

    An area's links compete with each other for the matching accuracy (all BSs and UEs together, as in the paper's 150
    pairs); the other tasks take each link by itself.
    """
    ranks, names, counts = [], [], []
    truth, los_full, los_map, los_positions = [], [], [], []
    scale_hits, error_power, cosine = [], [], []
    order = np.argsort(links.area, kind="stable")
    bounds = np.searchsorted(links.area[order], np.arange(len(links.areas) + 1))
    members = [order[a:b] for a, b in pairwise(bounds)]
    for index in tqdm(members, unit="area", disable=None if progress else True):
        if not len(index):
            continue
        batch = batch_of(links.select(index))
        csi, env = batch.csi, batch.environment
        channel = model.encode_channel(csi)
        ranks.append(metrics.true_ranks(channel @ model.encode_environment(env).mT).cpu().numpy())
        counts.append(len(index))
        truth.append(links.los[index])
        los_full.append(zero_shot.los(model, channel, env).cpu().numpy())
        los_map.append(zero_shot.los(model, channel, replace(env, bs=None, ue=None)).cpu().numpy())
        los_positions.append(zero_shot.los(model, channel, replace(env, map=None, area=None)).cpu().numpy())
        scale_hits.append((zero_shot.scale(model, channel, env).argmax(1) == 1).cpu().numpy())
        restored, normalised = model.reconstruct_channel(channel), model.normalise_channel(csi)
        error_power.append(metrics.relative_error(restored, normalised).cpu().numpy())
        cosine.append((metrics.sgcs(restored, normalised), len(index)))
        names.append(links.areas[links.area[index[0]]])
    rank, sizes = np.concatenate(ranks), np.asarray(counts)
    is_los = np.concatenate(truth)
    full, by_map, by_position = (np.concatenate(p) for p in (los_full, los_map, los_positions))
    most = metrics.majority(is_los)
    chance = len(sizes) / sizes.sum()
    chance5 = np.minimum(5, sizes).sum() / sizes.sum()
    nmse = float(10 * np.log10(np.concatenate(error_power).mean()))
    sgcs = float(np.average([c for c, _ in cosine], weights=[n for _, n in cosine]))

    def accuracy(probability: NDArray[np.floating]) -> float:
        return float(((probability > 0.5) == is_los).mean())

    scaled, nlos = np.concatenate(scale_hits), ~is_los

    def of_nlos(hits: NDArray[np.bool_]) -> float:
        return float(hits[nlos].mean()) if nlos.any() else float("nan")  # not in the table then

    figures = {
        "los": Figure("LOS from CSI, map and positions", accuracy(full), most, "majority"),
        "los_f1": Figure("  macro-F1", metrics.macro_f1(full > 0.5, is_los), None, ""),
        "los_ece": Figure("  calibration error (ECE)", metrics.calibration_error(full, is_los), None, ""),
        "los_map": Figure("LOS from CSI and map, no positions", accuracy(by_map), most, "majority"),
        "los_positions": Figure("LOS from CSI and positions, no map", accuracy(by_position), most, "majority"),
        "scale": Figure("scale of [0.8, 1, 1.2]", float(scaled.mean()), 1 / 3, "chance"),
        "scale_nlos": Figure("  NLOS links alone", of_nlos(scaled), 1 / 3, "chance"),
        "top1": Figure("the right link among its area's, top-1", float((rank == 0).mean()), chance, "chance"),
        "top1_nlos": Figure("  NLOS links alone", of_nlos(rank == 0), chance, "chance"),
        "top5": Figure("the right link among its area's, top-5", float((rank < 5).mean()), chance5, "chance"),
        "top5_nlos": Figure("  NLOS links alone", of_nlos(rank < 5), chance5, "chance"),
        "nmse_db": Figure("CSI feedback, NMSE", nmse, 0.0, "for all-zero", "dB"),
        "sgcs": Figure("CSI feedback, SGCS", sgcs, None, "", ""),
    }  # fmt: skip
    figures = {key: figure for key, figure in figures.items() if not np.isnan(figure.value)}
    area_accuracy = np.array([(r == 0).mean() for r in ranks])
    return ZeroShotResult(figures, tuple(names), area_accuracy, len(rank))


def sample(links: Links, count: int, seed: int) -> Links:
    """A seeded sample of whole areas with at least `count` links in all, or everything; for quick validation."""
    order = np.random.default_rng(seed).permutation(len(links.areas))
    sizes = np.bincount(links.area, minlength=len(links.areas))
    kept = order[: int(np.searchsorted(np.cumsum(sizes[order]), count)) + 1]
    return links.select(np.isin(links.area, kept))


def untrained(model: UniversalModel, seed: int = 0) -> UniversalModel:
    """A network of the same preset that has learned nothing, for the column beside each figure."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UniversalModel(model.preset).eval()
