"""Attacks that know the defence: through the noise of a smoothed answer, and past a detector.

A defence that is attacked as if it were not there looks better than it is (Athalye, Carlini and Wagner, "Obfuscated
gradients give a false sense of security", ICML 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from uniair import metrics
from uniair.attack import Loss
from uniair.benchmark.attacked_answers import embedded
from uniair.environment import Batch
from uniair.evaluation.smoothing import noisy_copies
from uniair.explanation.doubt import CERTAIN, Doubt, Signals, outside
from uniair.models.universal import UniversalModel

COPIES = 8  # noisy ones that each step of the ascent looks at
ENOUGH = 2.0  # nats by which a wrong answer leads that has to mislead and no more


def through_noise(
    margin: Callable[[Tensor], Tensor], csi: Tensor, snr_db: float, draw: torch.Generator, copies: int = COPIES
) -> Loss:
    """The loss of an attacker on a majority over noisy copies: how unlikely a copy is answered right.

    The same noise is looked at in every step (Salman et al., "Provably robust deep learning via adversarially trained
    smoothed classifiers", NeurIPS 2019).

    Args:
        margin: CSI [N, ports, subcarriers] → nats [N] by which the right answer leads.
        csi: the clean CSI, whose shape the noise has.
        snr_db: of the copies.
    """
    noise = noisy_copies(torch.ones_like(csi), snr_db, copies, draw) - 1  # of channels of unit mean power

    def loss(received: Tensor) -> Tensor:
        size = received.abs().square().mean((1, 2), keepdim=True).sqrt()
        each = torch.stack([functional.logsigmoid(margin(received / size + one)) for one in noise])
        return -each.logsumexp(0)

    return loss


def past_a_detector(model: UniversalModel, batch: Batch, margin: Callable[[Tensor], Tensor], detector: Doubt) -> Loss:
    """The loss of an attacker who must mislead and not be noticed: nats of a wrong answer, up to `ENOUGH`, less those
    of the detector.

    Args:
        margin: embeddings [N, E] → nats [N] by which the right answer leads.
    """
    notices = suspicion(model, batch, detector)
    return lambda csi: (-margin(embedded(model, csi, batch))).clamp_max(ENOUGH) - notices(csi)


def suspicion(model: UniversalModel, batch: Batch, detector: Doubt) -> Loss:
    """A detector's log-odds that each of N channels was attacked, with a slope down to the CSI."""
    env = batch.environment
    asked = [replace(env, los=torch.full((len(env),), value)) for value in (0.0, 1.0)]
    nlos, los = (model.encode_environment(one).clone() for one in asked)  # tensors of inference mode can't be kept
    far = outside(model.learned, batch.radio, env)

    def of(csi: Tensor) -> Tensor:
        seen = model.see(csi, batch.radio, carrier=env.carrier)
        z = model.channel_embedding(seen)
        alike = torch.stack([(z * nlos).sum(-1), (z * los).sum(-1)])
        certain = ((alike[1] - alike[0]) / model.temperature).abs().clamp_max(CERTAIN)
        error = 10 * metrics.relative_error(model.crnn(z, batch.radio)[0], seen.csi).clamp_min(1e-6).log10()
        signals = Signals(certain.double(), error.double(), alike.amax(0).double(), far)
        return detector.log_odds(signals).float()

    return of
