"""Ways to feed channels back in bits, on the same links: links, bits and SGCS over subbands, summed over links."""

from __future__ import annotations

from functools import cached_property
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from uniair import metrics
from uniair.data.links.store import Store
from uniair.environment import Batch
from uniair.evaluation.enhanced_type_ii_codebook import COMBINATIONS, enhanced_type_ii
from uniair.evaluation.port_panel import subband_directions
from uniair.evaluation.type_i_codebook import type_i
from uniair.models.baselines import SmallAutoencoder
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks.bit_code import BitCode, decoder_sensitivity, learn
from uniair.tasks.expected_paths import expected_paths
from uniair.tasks.feedback_code import KNOWN, LENGTHS, FeedbackCode
from uniair.tasks.path_code import PathCode
from uniair.training.feedback_adaptation import (
    SLOPES,
    SUBBANDS,
    Channels,
    chosen_code,
    learned,
    places_of,
)
from uniair.training.supervised import train_small_autoencoder

PATHS, PATHS_BESIDE = "paths", "paths + map and position"
PATH_LENGTHS = sorted({*LENGTHS, 32, 40, 56, 80})
PER_AREA = 64  # most links of a training area that codes are learned from
MOST = 16_384  # channels that an autoencoder is trained on
HELD = 5  # one in so many channels of a place chooses the stages of its quantiser
Sums = dict[str, list[float]]


def _sums(precoders: Tensor, target: Tensor, bits: float) -> list[float]:
    """Of rank 1, bits in all."""
    alike = metrics.cosine_squared(precoders.transpose(1, 2), target.transpose(1, 2))
    return [float(len(target)), bits, float(alike.mean((1, 2)).sum())]


def _written(csi: Tensor, target: Tensor, radio: Radio, length: int) -> list[float]:
    return _sums(subband_directions(csi.cpu(), radio, SUBBANDS), target, float(len(csi) * length))


def standard(batch: Batch) -> Sums:
    """The codebooks of TS 38.214."""
    csi, radio = batch.csi, batch.radio
    target = subband_directions(csi, radio, SUBBANDS)
    reports = {"Type I": type_i(csi, radio, SUBBANDS)}
    for number in COMBINATIONS:
        if number < 7 or radio.array.ports >= 32:
            reports[f"eType II, {number}"] = enhanced_type_ii(csi, radio, number, SUBBANDS)
    return {name: _sums(report.precoders, target, float(report.bits.sum())) for name, report in reports.items()}


def by_paths(model: UniversalModel, batch: Batch) -> Sums:
    """Paths that are fitted, rounded and written again, alone and where both ends know the place."""
    csi, radio = batch.csi, batch.radio
    code, target = PathCode(radio), subband_directions(csi, radio, SUBBANDS)
    out = {}
    for name, expected in ((PATHS, None), (PATHS_BESIDE, expected_paths(batch.environment, radio))):
        for length in (length for length in PATH_LENGTHS if length >= code.shortest):
            sent = code.encode(model, csi, length, expected)
            out[f"{name}, {length}"] = _written(code.decode(sent, None, expected), target, radio, length)
    return out


def by_code(name: str, found: FeedbackCode, batch: Batch, steps: int, beside: bool = True) -> Sums:
    """The model's codes, from the embedding as it is or after so many steps of search, alone and beside the place."""
    target, env = subband_directions(batch.csi, batch.radio, SUBBANDS), batch.environment
    places = {
        known: found.model.encode_environment(env.without(*unknown)).cpu()
        for known, unknown in KNOWN.items() if beside and known in found.beside
    }  # fmt: skip
    out = {}
    for length in (length for length in LENGTHS if length <= found.code.longest):
        sent = found.encode(batch.csi, length, steps)
        for known, place in ((None, None), *places.items()):
            by = name if known is None else f"{name} + {known}"
            out[f"{by}, {length}"] = _written(found.decode(sent, None, known, place), target, batch.radio, length)
    return out


class QuantisedAutoencoder(NamedTuple):
    """An autoencoder and a quantiser of its code."""

    network: SmallAutoencoder
    code: BitCode

    @classmethod
    @torch.no_grad()
    def trained(cls, csi: Tensor, steps: int, seed: int) -> QuantisedAutoencoder:
        """From channels [N, ports, subcarriers]; its quantiser is learned and chosen as those of the model are."""
        with torch.enable_grad():
            network = train_small_autoencoder(csi, steps, seed)
        z = torch.cat([network.encode(network.normalise(part)) for part in torch.split(csi, 512)])
        slopes = decoder_sensitivity(network.decode, z[:SLOPES], seed=seed)
        mine = torch.arange(len(z)) % HELD > 0
        best = chosen_code(z[mine], z[~mine], "autoencoder", slopes)
        return cls(network, learn(z, "autoencoder", slopes, len(best.books)))

    @torch.no_grad()
    def sums(self, name: str, batch: Batch) -> Sums:
        """Its bits through its own decoder."""
        target = subband_directions(batch.csi, batch.radio, SUBBANDS)
        z, out = self.network.encode(self.network.normalise(batch.csi)), {}
        for length in (length for length in LENGTHS if length <= self.code.longest):
            written = self.network.csi(self.code.decode(self.code.encode(z, length)))
            out[f"{name}, {length}"] = _written(written, target, batch.radio, length)
        return out


class FromTrainingPlaces:
    """What is learned for a radio from channels of training places, when it is first asked for.

    Args:
        count: channels, about.
        steps: of the autoencoder.
    """

    def __init__(self, model: UniversalModel, train: Store, radio: Radio, count: int, steps: int, seed: int) -> None:
        self.model, self.train, self.radio = model, train, radio
        self.areas, self.steps, self.seed = -(-count // PER_AREA), steps, seed

    @cached_property
    def code(self) -> FeedbackCode:
        """Quantiser, and decoders beside places."""
        batches = islice(places_of(self.train, self.radio, PER_AREA, self.seed), self.areas)
        return learned(self.model, Channels.of(self.model, batches), self.radio, self.seed)

    @cached_property
    def autoencoder(self) -> QuantisedAutoencoder:
        """An autoencoder of the same channels, as far as they fit in memory."""
        areas = min(self.areas, MOST // PER_AREA)
        batches = islice(places_of(self.train, self.radio, PER_AREA, self.seed), areas)
        return QuantisedAutoencoder.trained(torch.cat([batch.csi for batch in batches]), self.steps, self.seed)
