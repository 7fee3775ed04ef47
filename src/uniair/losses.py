"""Training losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def contrastive(similarity: Tensor, temperature: Tensor, same: Tensor) -> Tensor:
    """Cross-entropy over both directions (paper 1, eqs. 8 to 10).

    Args:
        similarity: [N, N] cosine similarities; the pairs are on the diagonal.
        temperature: divides them.
        same: bool [N, N] pairs off the diagonal that what is known cannot tell apart; they are no negatives.
    """
    logits = (similarity / temperature).masked_fill(same, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.mT, target)) / 2


def wrong_hypotheses(true: Tensor, wrong: Tensor, temperature: Tensor, valid: Tensor) -> Tensor:
    """Each wrong hypothesis against the true one, a two-way cross-entropy: scalar.

    Args:
        true: [N] similarity of the CSI to its true environment.
        wrong: [K, N] to K wrong ones.
        valid: bool [K, N] where the wrong hypothesis differs from the true one.
    """
    loss = functional.softplus((wrong - true) / temperature)
    return (loss * valid).sum() / valid.sum().clamp_min(1)


def reconstruction(estimate: Tensor, csi: Tensor) -> Tensor:
    """Mean squared error (paper 1, eq. 11) as a share of the CSI's power, which is 1 an entry: scalar."""
    return torch.view_as_real(estimate - csi).square().sum(-1).mean()


def power_profile(where: Tensor, power: Tensor) -> Tensor:
    """Cross-entropy of the estimated beam and delay profile against the true one, less its entropy: scalar, nats.

    Args:
        where: [N, bins] log-probability.
        power: [N, bins] share of the CSI's power, rows sum to 1.
    """
    return functional.kl_div(where, power, reduction="batchmean")


def covariance(estimate: Tensor, csi: Tensor) -> Tensor:
    """1 − normalised correlation of the covariances over antennas, and over subcarriers: mean of both, scalar.

    What a place tells of a channel: its powers by direction and delay, not its phases. 0 where the covariances are
    alike; the correlation matrix distance of MIMO measurements.

    Args:
        estimate, csi: complex64 [N, antennas, subcarriers].
    """
    loss = estimate.new_zeros((), dtype=torch.float32)
    for one, other in ((estimate, csi), (estimate.mT, csi.mT)):
        found, true = one @ one.mH, other @ other.mH
        alike = (found.conj() * true).real.sum((1, 2))
        size = found.abs().square().sum((1, 2)) * true.abs().square().sum((1, 2))
        loss = loss + (1 - alike / size.clamp_min(1e-20).sqrt()).mean() / 2
    return loss


def focal(logits: Tensor, truth: Tensor, focusing: float = 2.0) -> Tensor:
    """Focal loss −(1 − q)^γ log q of the true class's probability q (paper 1, eq. 16): scalar.

    Args:
        logits: [N, classes].
        truth: int64 [N].
        focusing: γ; 0 is cross-entropy.
    """
    log_q = functional.log_softmax(logits, dim=1).gather(1, truth[:, None])[:, 0]
    return -((1 - log_q.exp()) ** focusing * log_q).mean()
