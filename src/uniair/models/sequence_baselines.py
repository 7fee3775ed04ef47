"""What WMLM is compared with: persistence, nearest positions, a GRU, and a reprogrammed language model.

All give the same `Forecast` from the same steps, so one loop trains them and one function measures them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from uniair.models.backbone import Backbone
from uniair.models.forecast import Forecast, decibel
from uniair.models.sight_loss import Hazard


class Persistence(nn.Module):
    """The last beam and power stay; beams farther from it are less likely. Nothing is trained."""

    def __init__(self, beams: int, future: int) -> None:
        super().__init__()
        self.beams, self.future = beams, future

    def forward(self, steps: Mapping[str, Tensor]) -> Forecast:
        """`power` [N, T, B] → the same for every horizon."""
        level, best = _heard(steps["power"])
        distance = (torch.arange(self.beams, device=level.device) - best[..., None]).abs().to(level.dtype)
        return _same(-distance, level, self.future)


class NearestPositions(nn.Module):
    """The beams that followed the k nearest positions and velocities of the training drives.

    Args:
        position: [S, 4] of training steps, see `Position`.
        later: int64 [S, F] beams 1 … F steps after them; −1 where unknown.
        beams: of the codebook.
        k: neighbours.
    """

    position: Tensor
    later: Tensor
    scale: Tensor

    def __init__(self, position: Tensor, later: Tensor, beams: int, k: int = 15) -> None:
        super().__init__()
        known = torch.isfinite(position).all(1)
        self.beams, self.k = beams, min(k, int(known.sum()))
        self.register_buffer("scale", position[known].std(0, correction=0).clamp_min(1e-6))
        self.register_buffer("position", position[known] / self.scale)
        self.register_buffer("later", later[known])

    def forward(self, steps: Mapping[str, Tensor]) -> Forecast:
        """`position` [N, T, 4] and `power` [N, T, B], whose last value is the forecast of the power."""
        n, t = steps["position"].shape[:2]
        where = (steps["position"] / self.scale).flatten(0, 1)
        nearest = torch.cdist(where.nan_to_num(0.0), self.position).topk(self.k, largest=False).indices
        votes = torch.zeros(n * t, self.later.shape[1], self.beams + 1, device=where.device)
        beams = self.later[nearest].transpose(1, 2) % (self.beams + 1)  # the unknown ones vote for a beam of their own
        votes.scatter_add_(2, beams, torch.ones_like(beams, dtype=votes.dtype))
        # neighbouring beams share a vote, so that ties go to the middle of those that were seen
        votes = functional.avg_pool1d(votes[..., :-1], 5, 1, 2) + votes[..., :-1]
        level, best = _heard(steps["power"])
        now = functional.one_hot(best, self.beams).to(votes.dtype)[:, :, None]
        logits = torch.cat([now, votes.view(n, t, -1, self.beams)], dim=2)
        return Forecast(logits, _same(now[:, :, 0], level, self.later.shape[1]).power, level.new_zeros(n, t))


class GRU(nn.Module):
    """One recurrent layer on standardised beam power in dB, and one linear layer for all horizons.

    Args:
        power: [S, B] linear powers of training steps, which give the scaling of each beam.
        future: horizons.
        hidden: units.
        warning: steps ahead that a loss of sight is looked for in; 0: it is not forecast.
    """

    shift: Tensor
    spread: Tensor

    def __init__(self, power: Tensor, future: int, hidden: int = 128, warning: int = 0) -> None:
        super().__init__()
        level = decibel(power)
        level = level[torch.isfinite(level).all(1)]
        self.beams, self.future = power.shape[1], future
        self.register_buffer("shift", level.mean(0))
        self.register_buffer("spread", level.std(0, correction=0).clamp_min(1e-3))
        self.recurrent = nn.GRU(self.beams, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 2 * future * self.beams)
        self.hazard = Hazard(hidden, warning) if warning else None

    def forward(self, steps: Mapping[str, Tensor]) -> Forecast:
        """`power` [N, T, B] → logits and change of power."""
        level, best = _heard(steps["power"])
        hidden = self.recurrent((level - self.shift) / self.spread)[0]
        forecast = _with_now(self.head(hidden), level, best, self.future)
        return forecast if self.hazard is None else replace(forecast, hazard=self.hazard(hidden))


class ReprogrammedLM(nn.Module):
    """A frozen language model forecasts beams (paper 3, Table I, "LLM-based reprogram").

    Each step becomes a query that picks from a few prototypes of word embeddings, so that what the language model reads
    lies among its own words: prototypes are mixtures of how words differ from their mean, laid around it. The token
    that a sequence begins with comes first, so that no step is taken for the attention's sink, then a trained prompt.
    Trained are the queries, the prototypes, the prompt and the head.

    Args:
        backbone: whose language model is frozen here.
        power: as of `GRU`.
        future: horizons.
        words: word embeddings, spread over the vocabulary, that a prototype is a mixture of.
    """

    PROTOTYPES, PROMPT = 64, 4  # prototypes, and tokens of the prompt
    shift: Tensor
    spread: Tensor
    words: Tensor
    middle: Tensor
    beginning: Tensor

    def __init__(self, backbone: Backbone, power: Tensor, future: int, words: int = 1024) -> None:
        super().__init__()
        level = decibel(power)
        level = level[torch.isfinite(level).all(1)]
        self.beams, self.future = power.shape[1], future
        # in a tuple, so that the frozen weights are neither trained nor saved here
        self._language = (backbone.model.eval().requires_grad_(False),)
        vocabulary = backbone.model.get_input_embeddings().weight.detach()
        chosen = torch.linspace(0, len(vocabulary) - 1, min(words, len(vocabulary))).long()
        width = vocabulary.shape[1]
        self.register_buffer("shift", level.mean(0))
        self.register_buffer("spread", level.std(0, correction=0).clamp_min(1e-3))
        self.register_buffer("words", vocabulary[chosen].float().clone(), persistent=False)
        self.register_buffer("middle", backbone.middle().clone(), persistent=False)
        self.register_buffer("beginning", vocabulary[[backbone.beginning]].float(), persistent=False)
        self.query = nn.Linear(self.beams, width)
        self.mixture = nn.Linear(len(chosen), self.PROTOTYPES, bias=False)
        self.prompt = nn.Parameter(self.words[:: max(1, len(chosen) // self.PROMPT)][: self.PROMPT].clone())
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2 * future * self.beams)

    def forward(self, steps: Mapping[str, Tensor]) -> Forecast:
        """`power` [N, T, B] → logits and change of power."""
        level, best = _heard(steps["power"])
        query = self.query((level - self.shift) / self.spread)
        prototypes = self.middle + self.mixture((self.words - self.middle).mT).mT
        weights = torch.softmax(query @ prototypes.mT / math.sqrt(query.shape[-1]), dim=-1)
        first = torch.cat([self.beginning, self.prompt])
        x = torch.cat([first.expand(len(query), -1, -1), weights @ prototypes], dim=1)
        language = self._language[0].to(x.device)
        hidden = language(inputs_embeds=x.to(language.dtype), output_hidden_states=True, use_cache=False).hidden_states
        last = self.norm(hidden[-1][:, len(first) :].to(x.dtype))
        return _with_now(self.head(last), level, best, self.future)


def _heard(power: Tensor) -> tuple[Tensor, Tensor]:
    """Last measured power [N, T, B] in dB, carried over lost steps, and its best beam; 0 dB before the first."""
    level = decibel(power)
    measured = torch.isfinite(level).any(2)
    steps = torch.arange(1, level.shape[1] + 1, device=level.device)
    last = torch.where(measured, steps, 0).cummax(1).values
    whole = torch.cat([torch.zeros_like(level[:, :1]), level], dim=1)
    level = whole.gather(1, last[..., None].expand_as(level))
    return level, level.argmax(2)


def _same(logits: Tensor, level: Tensor, future: int) -> Forecast:
    """The same logits and power [N, T, B] at every horizon."""
    shape = (*level.shape[:2], future + 1, level.shape[2])
    return Forecast(logits[:, :, None].expand(shape), level[:, :, None].expand(shape), level.new_zeros(level.shape[:2]))


def _with_now(head: Tensor, level: Tensor, best: Tensor, future: int) -> Forecast:
    """A head's output [N, T, 2 F B] as logits and changes of power, after the step itself at horizon 0."""
    n, t, beams = level.shape
    logits, change = head.view(n, t, future, 2, beams).unbind(3)
    now = functional.one_hot(best, beams).to(logits.dtype)[:, :, None]
    power = level[:, :, None] + 10 * torch.cat([torch.zeros_like(now), change], dim=2)
    return Forecast(torch.cat([now, logits], dim=2), power, level.new_zeros(n, t))
