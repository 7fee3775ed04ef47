"""What a site's links have given away: differentially private learning by Opacus, and the account of all of it."""

from __future__ import annotations

import json
import secrets
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from uniair.errors import InputError
from uniair.files import write_text
from uniair.models.head import Head

if TYPE_CHECKING:
    from opacus.accountants import RDPAccountant

FORMAT, FILE = "uniair-privacy/1", "privacy.json"


@dataclass(frozen=True)
class Noise:
    """Of one step: Opacus draws each of the links with a chance of `rate`, and adds `multiplier` times the clip.

    Attributes:
        multiplier: σ, of the clipping norm.
        rate: chance of a link to be in a minibatch (Poisson sampling).
    """

    multiplier: float
    rate: float


def sampling_rate(links: int, batch: int) -> float:
    """Chance of a link to be in a minibatch, as Opacus takes it from a loader: one over its minibatches."""
    return 1 / max(1, -(-links // batch))


@lru_cache
def noise_for(epsilon: float, delta: float, rate: float, steps: int) -> Noise:
    """The least noise with which so many steps spend no more than ε at δ, to 0.01 of ε.

    Args:
        rate: chance of a link to be in a minibatch.

    Raises:
        InputError: no noise is enough.
    """
    from opacus.accountants.utils import get_noise_multiplier

    with _quiet():
        try:
            found = get_noise_multiplier(
                target_epsilon=epsilon, target_delta=delta, sample_rate=rate, steps=steps, epsilon_tolerance=0.01
            )
        except ValueError as error:
            raise InputError(f"epsilon {epsilon:g} at delta {delta:g}: {steps} steps of {rate:.3g} of the links can't "
                             f"be that private ({error}); raise epsilon, or take fewer rounds") from error  # fmt: skip
    return Noise(float(found), rate)


@lru_cache
def _of_a_step(multiplier: float, rate: float) -> NDArray[np.float64]:
    """Rényi divergences of one step at the accountant's orders; they take a while, and add up over steps."""
    from opacus.accountants import RDPAccountant
    from opacus.accountants.analysis.rdp import compute_rdp

    return np.asarray(compute_rdp(q=rate, noise_multiplier=multiplier, steps=1, orders=RDPAccountant.DEFAULT_ALPHAS))


class Account:
    """All that was learned privately from one site's links, over rounds and federations, composed by Opacus.

    It is written before anything that it counts leaves the site. Whoever removes its file starts to count from 0,
    which is true only of other links.

    Args:
        folder: that keeps it; None keeps it in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        from opacus.accountants import RDPAccountant

        self.path = None if folder is None else folder / FILE
        self.accountant: RDPAccountant = RDPAccountant()
        if self.path is not None and self.path.exists():
            try:
                found = json.loads(self.path.read_text(encoding="utf-8"))
                if found["format"] != FORMAT:
                    raise ValueError(f"of format {found['format']!r}")
                self.accountant.history = [(float(s), float(q), int(n)) for s, q, n in found["history"]]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(f"{self.path}: no account of privacy that this version reads ({error}); bring it back "
                                 "from a copy, for without it nobody knows what was given away") from error  # fmt: skip

    def spent(self, delta: float, noise: Noise | None = None, steps: int = 0) -> float:
        """ε at δ of all that was learned, and of `steps` more with such noise."""
        from opacus.accountants.analysis.rdp import get_privacy_spent

        history = list(self.accountant.history)
        if noise is not None:
            history.append((noise.multiplier, noise.rate, steps))
        if not history:
            return 0.0
        divergence = np.sum([number * _of_a_step(*each) for *each, number in history], axis=0)
        with _quiet():
            return float(get_privacy_spent(orders=self.accountant.DEFAULT_ALPHAS, rdp=divergence, delta=delta)[0])

    def check(self, noise: Noise, steps: int, epsilon: float, delta: float) -> None:
        """Raises `InputError` where `steps` more would spend more than ε at δ."""
        if (after := self.spent(delta, noise, steps)) > epsilon:
            raise InputError(
                f"the round would bring epsilon to {after:.3g} at delta {delta:g}, above the {epsilon:g} agreed on "
                f"({self.spent(delta):.3g} is spent); nothing more leaves this site"
            )

    def save(self) -> None:
        """Replaces the file in one step."""
        if self.path is not None:
            record = {"format": FORMAT, "mechanism": "rdp", "history": self.accountant.history}
            write_text(self.path, json.dumps(record, indent=1) + "\n")


def learn_privately(
    head: Head,
    z: Tensor,
    target: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimiser: torch.optim.Optimizer,
    *,
    noise: Noise,
    batch: int,
    steps: int,
    clip: float,
    account: Account,
    seed: int | None = None,
) -> None:
    """DP-SGD (Abadi et al., 2016) on a head, in place: each link's gradient is clipped, noise is added to their sum.

    Args:
        loss: of outputs and targets, a mean over the minibatch.
        seed: of sampling and noise; None draws them from the system, as they must be wherever they protect anything.
    """
    from opacus import PrivacyEngine

    def draw(number: int) -> torch.Generator:
        return torch.Generator().manual_seed(secrets.randbits(63) if seed is None else seed + number)

    with _quiet():
        engine = PrivacyEngine(accountant="rdp")
        engine.accountant = account.accountant
        loader = DataLoader(TensorDataset(z, target), batch_size=min(batch, len(z)), generator=draw(0))
        private, optimiser, loader = engine.make_private(
            module=head, optimizer=optimiser, data_loader=loader, noise_multiplier=noise.multiplier,
            max_grad_norm=clip, noise_generator=draw(1),
        )  # fmt: skip
        batches = _endless(loader)
        for _ in range(steps):
            some, wanted = next(batches)
            optimiser.zero_grad()
            # the mean of none is NaN; of none there is noise alone, which the sum of nothing gives
            error = loss(private(some), wanted) if len(some) else private(some).sum()
            error.backward()
            optimiser.step()
    private.remove_hooks()


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Opacus' advice to its users: orders of the Rényi divergence, and generators that cryptographers take."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
