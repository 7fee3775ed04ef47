"""The zero-shot suite: every figure that needs no tuned parameter, on links of places that the model never saw."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair import metrics
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Batch, Environment
from uniair.link_budget import excess_loss, tells_length
from uniair.models.sight_line import sight_line
from uniair.models.universal import UniversalModel, mean_gain
from uniair.progress import track
from uniair.radio import Radio
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


@dataclass(frozen=True)
class Answers:
    """What a model answered about each of N links, in the order of their areas; every field is [N].

    Attributes:
        area: index of its area.
        is_los: the truth.
        rank: how many links of its area describe the channel at least as well as its own; of `candidates` in all.
        los, los_map, los_positions: P(LOS) from everything, without positions, and without the map.
        los_calibrated: P(LOS) without positions, from the CSI's power too.
        excess: loss beyond free space along the first path, dB, which that power tells.
        geometry: 1 where nothing on the map stands in the straight line, 0 where something does, which takes no
            channel; NaN of links without a map.
        scale: whether the true scale was the likeliest.
        error: relative error of the restored CSI.
        sgcs: of the restored CSI.
    """

    area: NDArray[np.int64]
    is_los: NDArray[np.bool_]
    rank: NDArray[np.int64]
    candidates: NDArray[np.int64]
    los: NDArray[np.float32]
    los_map: NDArray[np.float32]
    los_positions: NDArray[np.float32]
    los_calibrated: NDArray[np.float32]
    excess: NDArray[np.float64]
    geometry: NDArray[np.float32]
    scale: NDArray[np.bool_]
    error: NDArray[np.float32]
    sgcs: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.area)

    def select(self, links: NDArray[np.bool_]) -> Answers:
        """The answers about some of the links."""
        return Answers(*(getattr(self, field.name)[links] for field in fields(self)))


def answer(model: UniversalModel, links: Links, progress: bool = False, radio: Radio | None = None) -> Answers:
    """Asks every zero-shot question about every link.

    Args:
        radio: that sees them, whatever its carrier: the links have theirs; None: the links' own.

    An area's links compete with each other for the matching accuracy (all BSs and UEs together, as in the paper's 150
    pairs); the other tasks take each link by itself.
    """
    order = np.argsort(links.area, kind="stable")
    bounds = np.searchsorted(links.area[order], np.arange(len(links.areas) + 1))
    members = [(area, order[a:b]) for area, (a, b) in enumerate(pairwise(bounds)) if b > a]
    parts = []
    for area, index in track(members, "area", show=progress):
        carrier = links.radios[area].carrier
        batch = batch_of(links.select(index), None if radio is None else replace(radio, carrier=carrier))
        csi, env, seen_by = batch.csi, batch.environment, batch.radio
        code = model.encode_channel(csi, seen_by)
        asked = csi if seen_by.clock == "first_path" else code
        restored, normalised = model.reconstruct_channel(code, seen_by), model.normalise_channel(csi, seen_by)
        nowhere = zero_shot.los_odds(model, asked, env.without("bs", "ue"), seen_by)
        answers = (
            metrics.true_ranks(zero_shot.similarity(model, asked, env, seen_by)),
            torch.full((len(index),), len(index)),
            torch.sigmoid(zero_shot.los_odds(model, asked, env, seen_by)),
            torch.sigmoid(nowhere),
            torch.sigmoid(zero_shot.los_odds(model, asked, env.without("map"), seen_by)),
            torch.sigmoid(_with_power(model, batch, nowhere)),
            _excess(batch),
            _geometry(env),
            zero_shot.scale(model, asked, env, radio=seen_by).argmax(1) == 1,
            metrics.relative_error(restored, normalised),
            metrics.cosine_squared(restored, normalised).mean(1),
        )
        parts.append((np.full(len(index), area), links.los[index], *(part.cpu().numpy() for part in answers)))
    return Answers(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def _with_power(model: UniversalModel, batch: Batch, nowhere: Tensor) -> Tensor:
    """Log-odds of LOS without positions, [N] nats, of gains that are calibrated: as `zero_shot.los` has them.

    Args:
        nowhere: [N], of gains that are not.
    """
    radio, csi = replace(batch.radio, calibrated=True), batch.csi
    if zero_shot.counts_gain(model, radio):
        return zero_shot.with_gain(nowhere, csi, radio, None)
    code = model.encode_checked(model.check_csi(csi, radio), radio, mean_gain(csi))
    return zero_shot.los_odds(model, code, batch.environment.without("bs", "ue"), radio)


def _geometry(env: Environment) -> Tensor:
    """Of what `Answers` says; [N]."""
    if env.map is None:
        return torch.full((len(env),), torch.nan)
    return (~sight_line(env).blocked).float()


def _excess(batch: Batch) -> Tensor:
    """Loss beyond free space, [N] dB; where the gain of the antennas is not known, what tells nothing of LOS."""
    env, radio = batch.environment, batch.radio
    if not radio.isotropic:
        return torch.full((len(batch),), zero_shot.EVEN)
    return excess_loss(batch.csi, None if tells_length(radio) else (env.ue - env.bs).norm(dim=1), radio)


def zero_shot_suite(
    model: UniversalModel, links: Links, progress: bool = False, radio: Radio | None = None
) -> ZeroShotResult:
    """Runs every zero-shot task on every link; arguments as for `answer`."""
    answers = answer(model, links, progress, radio)
    areas = np.unique(answers.area)
    accuracy = np.array([(answers.rank[answers.area == area] == 0).mean() for area in areas])
    return ZeroShotResult(figures_of(answers), tuple(links.areas[a] for a in areas), accuracy, len(answers))


def figures_of(answers: Answers) -> dict[str, Figure]:
    """The suite's figures; those of NLOS links are absent where there are none."""
    is_los, nlos = answers.is_los, ~answers.is_los
    most = metrics.majority(is_los)
    chance = float((1 / answers.candidates).mean())
    chance5 = float(np.minimum(1, 5 / answers.candidates).mean())

    def accuracy(probability: NDArray[np.floating]) -> float:
        return float(((probability > 0.5) == is_los).mean())

    def calibration(probability: NDArray[np.floating]) -> Figure:
        return Figure("  calibration error (ECE)", metrics.calibration_error(probability, is_los), None, "")

    def of_nlos(hits: NDArray[np.bool_]) -> float:
        return float(hits[nlos].mean()) if nlos.any() else float("nan")

    top1, top5 = answers.rank == 0, answers.rank < 5
    geometry = float("nan") if np.isnan(answers.geometry).any() else accuracy(answers.geometry)
    without_channel = (most, "majority") if np.isnan(geometry) else (geometry, "by map and positions alone")
    figures = {
        "los": Figure("LOS from CSI, map and positions", accuracy(answers.los), *without_channel),
        "los_geometry": Figure("  no channel: what the map leaves in sight", geometry, most, "majority"),
        "los_f1": Figure("  macro-F1", metrics.macro_f1(answers.los > 0.5, is_los), None, ""),
        "los_ece": calibration(answers.los),
        "los_map": Figure("LOS from CSI and map, no positions", accuracy(answers.los_map), most, "majority"),
        "los_map_ece": calibration(answers.los_map),
        "los_calibrated": Figure(
            "LOS from CSI, its power and map, no positions",
            accuracy(answers.los_calibrated),
            float(((answers.excess < zero_shot.EVEN) == is_los).mean()),
            "by the power alone",
        ),
        "los_calibrated_ece": calibration(answers.los_calibrated),
        "los_positions": Figure(
            "LOS from CSI and positions, no map", accuracy(answers.los_positions), most, "majority"
        ),
        "los_positions_ece": calibration(answers.los_positions),
        "scale": Figure("scale of [0.8, 1, 1.2]", float(answers.scale.mean()), 1 / 3, "chance"),
        "scale_nlos": Figure("  NLOS links alone", of_nlos(answers.scale), 1 / 3, "chance"),
        "top1": Figure("the right link among its area's, top-1", float(top1.mean()), chance, "chance"),
        "top1_nlos": Figure("  NLOS links alone", of_nlos(top1), chance, "chance"),
        "top5": Figure("the right link among its area's, top-5", float(top5.mean()), chance5, "chance"),
        "top5_nlos": Figure("  NLOS links alone", of_nlos(top5), chance5, "chance"),
        "nmse_db": Figure("CSI feedback, NMSE", float(10 * np.log10(answers.error.mean())), 0.0, "for all-zero", "dB"),
        "sgcs": Figure("CSI feedback, SGCS", float(answers.sgcs.mean()), None, "", ""),
    }
    return {key: figure for key, figure in figures.items() if not np.isnan(figure.value)}


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
        return UniversalModel(model.preset, model.radio).eval()
