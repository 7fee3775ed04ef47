"""A LOS head that begins at the model's own zero-shot answer, and leaves it as far as labels ask for.

logit = a·odds + b + wᵀz, odds being the zero-shot log-odds of LOS and z the channel's embedding less the labels' mean,
with the Gaussian prior a ~ N(1, 1²), b ~ N(0, 4²), w ~ N(0, σ² I). Of no labels the answer is zero-shot's, of many it
is a logistic regression's. σ is the one of `SPREADS` under which the labels are likeliest, by Laplace's approximation
to their marginal likelihood (MacKay, Neural Computation 4, 1992): no label is held back for it. The prior's numbers
were chosen on validation places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.head import Head
from uniair.models.universal import UniversalModel
from uniair.radio import Radio

FACTOR, OFFSET = 1.0, 4.0  # standard deviations of a and b, b in nats
SPREADS = (0.3, 1.0, 3.0, 10.0, 30.0)  # of w; embeddings have unit norm, so that 0.3 leaves zero-shot nearly alone
ROUNDS, HALVINGS, SETTLED = 50, 30, 1e-6  # of Newton's method


@dataclass(frozen=True)
class LosLine:
    """Log-odds of LOS from zero-shot ones and embeddings.

    Attributes:
        factor: a.
        offset: b, nats, at z = 0.
        weights: w, float64 [E].
        spread: the σ that the labels chose.
    """

    factor: float
    offset: float
    weights: Tensor
    spread: float

    def odds(self, zero_shot: Tensor, z: Tensor) -> Tensor:
        """Log-odds of LOS, float64 [N] nats; arguments as `fit_from_zero_shot` learned from."""
        return self.factor * zero_shot.double() + z.double() @ self.weights + self.offset

    def head(self, direction: Tensor) -> Head:
        """The same as a head on embeddings alone, whose zero-shot log-odds are z · direction, [E]."""
        made = Head((len(self.weights), 2))
        los = self.factor * direction + self.weights
        values = {
            "layers.0.weight": torch.stack([torch.zeros_like(los), los]),
            "layers.0.bias": torch.tensor([0.0, self.offset]),
        }
        made.load_state_dict(made.state_dict() | values)
        return made.eval()


def direction(model: UniversalModel, side: float, radio: Radio) -> Tensor:
    """Of a place of which the side alone is known, m: its zero-shot log-odds of LOS are z · direction, float64 [E].

    Without positions and a map both hypotheses are the same for every channel, and so odds are linear in its embedding.
    """
    both = Environment(los=torch.tensor([0.0, 1.0]), size=torch.full((2,), side)).seen_by(radio)
    nlos, los = model.encode_environment(both).double().cpu()
    return (los - nlos) / model.temperature


def fit_from_zero_shot(zero_shot: Tensor, z: Tensor, los: Tensor) -> LosLine:
    """The likeliest line of N labels.

    Args:
        zero_shot: [N] nats, `zero_shot.los_odds` of the same channels, with whatever is known of their places.
        z: [N, E] embeddings of the channels; calibrated ones (`Radio.calibrated`) where their amplitudes are gains.
        los: [N], 1 in line of sight, 0 not. N may be 0, and all may be alike.

    Raises:
        InputError: shapes that disagree, labels that are neither 0 nor 1, NaN or infinite values.
    """
    zero_shot, z, truth = (torch.as_tensor(values).detach().cpu().double() for values in (zero_shot, z, los))
    if z.ndim != 2 or zero_shot.shape != z.shape[:1] or truth.shape != z.shape[:1]:
        raise InputError(
            f"LOS from zero-shot: odds {tuple(zero_shot.shape)}, embeddings {tuple(z.shape)} and labels "
            f"{tuple(truth.shape)}: give [N], [N, E] and [N]"
        )
    if not (torch.isfinite(z).all() and torch.isfinite(zero_shot).all() and ((truth == 0) | (truth == 1)).all()):
        raise InputError("LOS from zero-shot: NaN or infinite values, or labels other than 0 and 1; leave those out")
    middle = z.mean(0) if len(z) else z.new_zeros(z.shape[1])
    columns = torch.cat([zero_shot[:, None], torch.ones_like(zero_shot)[:, None], z - middle], 1)
    found = [_likeliest(columns, truth, spread) for spread in SPREADS]
    best = max(range(len(SPREADS)), key=lambda number: found[number][1])
    factor, offset, weights = found[best][0][0], found[best][0][1], found[best][0][2:]
    return LosLine(float(factor), float(offset - weights @ middle), weights, SPREADS[best])


def _likeliest(columns: Tensor, truth: Tensor, spread: float) -> tuple[Tensor, float]:
    """Coefficients [2 + E] at the posterior's mode, and the logarithm of the labels' marginal likelihood."""
    mean = torch.zeros(columns.shape[1], dtype=torch.float64)
    mean[0] = 1.0
    precision = torch.full_like(mean, spread**-2)
    precision[0], precision[1] = FACTOR**-2, OFFSET**-2
    sign = 2 * truth - 1

    def value(at: Tensor) -> Tensor:
        return logsigmoid(sign * (columns @ at)).sum() - 0.5 * (precision * (at - mean).square()).sum()

    def curvature(at: Tensor) -> Tensor:
        p = torch.sigmoid(columns @ at)
        return (columns * (p * (1 - p))[:, None]).mT @ columns + torch.diag(precision)

    at = mean.clone()
    for _ in range(ROUNDS):
        slope = columns.mT @ (truth - torch.sigmoid(columns @ at)) - precision * (at - mean)
        step = torch.linalg.solve(curvature(at), slope)
        here = value(at)
        for _ in range(HALVINGS):  # far from the mode a whole step may overshoot
            if value(at + step) >= here:
                break
            step = step / 2
        else:
            break
        at = at + step
        if float(step.abs().max()) < SETTLED:
            break
    evidence = value(at) + 0.5 * precision.log().sum() - 0.5 * torch.linalg.slogdet(curvature(at)).logabsdet
    return at, float(evidence)
