"""The two stages of WMLM (paper 3, Section IV): alignment of the modalities, then forecasting; and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from uniair import metrics
from uniair.errors import InputError
from uniair.losses import contrastive
from uniair.models.forecast import MODALITIES, WMLM, Forecast, decibel
from uniair.tasks import blockage_forecast, position_forecast

TRUTHS = ("los", "sight", "place")  # of a step, which are never heard
OVER = 100.0  # dB over the strongest beam that a forecast's error is told apart to


@dataclass(frozen=True)
class SensorAlignment:
    """Stage 1: every modality of a step is drawn to the anchor's token of the same step (Fig. 4e).

    Attributes:
        anchor: a modality, or several joined by +, each an anchor to all others: `power`, `power+camera`.
        temperature: of the contrastive loss.
        steps: of this stage; 0: as many as of stage 2.
    """

    anchor: str = "power"
    temperature: float = 0.1
    steps: int = 0

    def __post_init__(self) -> None:
        if set(self.anchors) - set(MODALITIES) or len(set(self.anchors)) < len(self.anchors):
            raise InputError(f"anchor {self.anchor!r}: choose {', '.join(MODALITIES)}, or several joined by +, each "
                             "once")  # fmt: skip
        if self.steps < 0:
            raise InputError(f"{self.steps} steps of stage 1: give 0 or more")

    @property
    def anchors(self) -> tuple[str, ...]:
        """The modalities that are anchors."""
        return tuple(self.anchor.split("+"))

    def pairs(self, modalities: Sequence[str]) -> list[tuple[str, str]]:
        """Anchor and modality that are drawn together.

        Raises:
            InputError: the model has no such anchor, or nothing beside it; or the anchor is a beam's index that is read
                off a power which the model has.
        """
        if lacking := set(self.anchors) - set(modalities):
            raise InputError(f"anchor {self.anchor!r} needs the modality {', '.join(sorted(lacking))}")
        # the beam's index is read off its power, so drawing the two together would teach nothing
        sensed = [name for name in modalities if name != "beam" or "power" not in modalities]
        if lacking := set(self.anchors) - set(sensed):
            raise InputError(f"anchor {self.anchor!r}: the beam's index is read off its power; give power")
        found = [pair for pair in combinations(sensed, 2) if set(pair) & set(self.anchors)]
        if not found:
            raise InputError(f"nothing to align among {', '.join(modalities)}; give a sensor, or --anchor none")
        return found

    def loss(self, model: WMLM, steps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Contrastive loss over the steps of a batch, mean over pairs; steps with the same best beam are no negatives.

        Args:
            steps: modality → [N, T, ...].
        """
        _, beam, before = model.reference(steps, None)
        tokens = model.tokens(steps, beam, before)
        present = {name: model.encoders[name].present(steps[name]) for name in tokens if name in steps}  # type: ignore[operator]
        terms = []
        for a, b in self.pairs([name for name in model.preset.modalities if name in steps]):
            both = present[a] & present[b]
            x, y = (functional.normalize(tokens[name][both], dim=1) for name in (a, b))
            best = steps["beam"][both]
            same = (best[:, None] == best) & ~torch.eye(len(best), dtype=torch.bool, device=best.device)
            temperature = torch.tensor(self.temperature, device=x.device)
            terms.append(contrastive(x @ y.mT, temperature, same) if len(best) > 1 else x.sum() * 0)
        return {"alignment": torch.stack(terms).mean()}


@dataclass(frozen=True)
class Forecasting:
    """Stage 2: the next beams and powers, and the step's own where its power was hidden.

    Attributes:
        soft: share of the target that goes to all beams by their power instead of to the best one.
        temperature: dB by which a beam's share of that falls to 1/e.
        power: weight of the error of the power, log(1 + ‖p̂ − p‖² / ‖p‖²) of a step's linear powers: what NMSE averages,
            less of it where it is far off.
        hidden: share of the passages a modality of which is hidden throughout, for each modality.
        lost: share of the steps whose power and beam are hidden: to be restored.
    """

    soft: float = 0.5
    temperature: float = 0.3
    power: float = 0.5
    hidden: float = 0.1
    lost: float = 0.05

    def terms(self, model: nn.Module, heard: Mapping[str, Tensor], steps: Mapping[str, Tensor]) -> Terms:
        """Sums over the steps of a batch, and their counts, so that parts of a batch can be put together.

        Args:
            heard: [N, T, ...] what the model is given, see `hide`.
            steps: [N, T + F, ...] what was measured then and later.
        """
        forecast: Forecast = model(heard)
        level, beam = decibel(steps["power"]), steps["beam"]
        length, horizons = forecast.logits.shape[1:3]
        at = torch.arange(length, device=beam.device)[:, None] + torch.arange(horizons, device=beam.device)
        truth, target = beam[:, at], level[:, at]  # [N, T, F + 1] and [..., B]
        asked = torch.ones_like(truth, dtype=torch.bool)
        # a step's own beam and power are no task where they were heard
        given = torch.isfinite(heard["power"]).any(-1)
        asked[..., 0] = ~given
        known = asked & (truth >= 0)
        measured = torch.isfinite(target).all(-1)
        target = target.nan_to_num(0.0)
        share = torch.softmax(target / self.temperature, dim=-1)
        hard = functional.one_hot(truth.clamp(min=0), share.shape[-1]).to(share.dtype)
        aim = torch.where(measured[..., None], self.soft * share + (1 - self.soft) * hard, hard)
        entropy = -(aim * functional.log_softmax(forecast.logits, dim=-1)).sum(-1)
        # the receiver's unit is not known before the first power
        scaled = asked & measured & given.cummax(1).values[..., None]
        # in dB errors would be of the many weak beams, and of a lobe that moves the power at the mean level is less
        # than the mean power
        top = target.amax(-1, keepdim=True)
        linear, wanted = (10 ** ((level - top).clamp(max=OVER) / 10) for level in (forecast.power, target))
        error = torch.log1p((linear - wanted).square().sum(-1) / wanted.square().sum(-1))
        sums = {"beam": (entropy * known).sum(), "power": (error * scaled).sum(), "los": 0 * forecast.los.sum()}
        counts = {"beam": known.sum(), "power": scaled.sum(), "los": torch.zeros_like(known.sum())}
        if "los" in steps:
            label = steps["los"][:, :length]
            labelled = torch.isfinite(label)
            loss = functional.binary_cross_entropy_with_logits(forecast.los, label.nan_to_num(0.0), reduction="none")
            sums["los"], counts["los"] = (loss * labelled).sum(), labelled.sum()
        if forecast.position is not None:
            sums["position"], counts["position"] = position_forecast.term(forecast.position, steps["place"])
        if forecast.hazard is not None:
            sums["blockage"], counts["blockage"] = blockage_forecast.term(forecast.hazard, steps["sight"])
        weights = {"beam": 1.0, "power": self.power, "los": 1.0, "position": 1.0, "blockage": 1.0}
        return Terms(sums, counts, {name: weights[name] for name in sums})

    def hide(self, steps: Mapping[str, Tensor], draw: torch.Generator) -> dict[str, Tensor]:
        """Steps with whole modalities, and powers of single steps, made missing; never all modalities of a passage."""
        names = [name for name in steps if name not in TRUTHS]
        n, t = steps["beam"].shape
        device = steps["beam"].device
        gone = torch.rand(n, len(names), generator=draw) < self.hidden
        gone[torch.arange(n), torch.randint(len(names), (n,), generator=draw)] = False
        lost = torch.rand(n, t, generator=draw) < self.lost
        out = {}
        for number, name in enumerate(names):
            values = steps[name]
            where = gone[:, number, None].expand(n, t)
            where = (where | lost if name in ("power", "beam") else where).to(device)
            where = where.view(n, t, *[1] * (values.ndim - 2))
            out[name] = torch.where(where, torch.full_like(values, -1 if name == "beam" else torch.nan), values)
        return out


@dataclass(frozen=True)
class Terms:
    """Sums of each term of a loss, how many steps they are of, and their weights."""

    sums: dict[str, Tensor]
    counts: dict[str, Tensor]
    weights: dict[str, float]

    def means(self, counts: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Mean of each term over `counts` steps, its own by default, and `total`, the weighted sum."""
        counts = self.counts if counts is None else counts
        out = {name: value / counts[name].clamp_min(1) for name, value in self.sums.items()}
        return out | {"total": sum((self.weights[name] * value for name, value in out.items()), torch.tensor(0.0))}


@torch.no_grad()
def forecasts(model: nn.Module, steps: Mapping[str, Tensor], past: int, batch: int = 256) -> Forecast:
    """What the model says at the last of the `past` steps of each window: the fields of `Forecast` without T."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    parts: list[dict[str, Tensor]] = []
    for begin in range(0, len(next(iter(steps.values()))), batch):
        heard = {name: values[begin : begin + batch, :past].to(device) for name, values in steps.items()}
        said: Forecast = model(heard)
        parts.append({name: values[:, -1].cpu() for name, values in vars(said).items() if values is not None})
    return Forecast(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def figures(said: Forecast, steps: Mapping[str, Tensor], past: int) -> dict[str, dict[str, float]]:
    """Metrics of windows at each horizon, as in Fig. 4d: horizon → figure → value.

    `top1`, `top2`, `top3`, `dba` (Δ = 5), `share` of the best beam's power, `nmse_db` of the predicted power.

    Args:
        said: of `forecasts`.
        steps: [N, past + F, ...] of the same windows.
    """
    out: dict[str, dict[str, float]] = {}
    for horizon in range(1, said.logits.shape[1]):
        logits, truth = said.logits[:, horizon], steps["beam"][:, past + horizon - 1]
        power = steps["power"][:, past + horizon - 1]
        found: dict[str, Any] = {f"top{k}": metrics.top_k(logits, truth, k) for k in (1, 2, 3)}
        found["dba"] = metrics.dba(logits, truth)
        whole = torch.isfinite(power).all(1)
        if whole.any():
            found["share"] = metrics.power_share(logits[whole], power[whole])
            found["nmse_db"] = metrics.nmse_db(10 ** (said.power[whole, horizon] / 10), power[whole])
        out[str(horizon)] = found
    return out


def los_figures(said: Forecast, steps: Mapping[str, Tensor], past: int) -> dict[str, float]:
    """Accuracy, macro-F1 and calibration of line of sight at the last heard step, beside the more frequent class; none
    where no step is labelled.

    Args:
        said, steps: as for `figures`.
    """
    label = steps["los"][:, past - 1]
    known = torch.isfinite(label)
    if not known.any():
        return {}
    truth, probability = label[known].bool().numpy(), torch.sigmoid(said.los[known]).numpy()
    return {
        "accuracy": float(((probability > 0.5) == truth).mean()),
        "macro_f1": metrics.macro_f1(probability > 0.5, truth),
        "ece": metrics.calibration_error(probability, truth),
        "majority": metrics.majority(truth),
    }
