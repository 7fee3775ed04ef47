"""Zero-shot answers: compare a CSI with hypotheses about its environment (paper 1, III-B-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import max_pool2d

from uniair.angle_delay import TYPICAL, arrival, delayed
from uniair.environment import HALF_BUILT, UE_HEIGHT, Environment
from uniair.errors import InputError
from uniair.link_budget import excess_loss, tells_length
from uniair.models.universal import UniversalModel, mean_gain
from uniair.radio import SPEED_OF_LIGHT, Radio
from uniair.tasks.code_search import search_code

SCALES = (0.8, 1.0, 1.2)
MARGIN = 5.0  # nats; measured on six areas: the maximum stays where it is and 1 % of the probability moves
# the rule for weights of one radio, which `uniair bench linkbudget` fits to links of training places: LOS and NLOS are
# equally likely at so many dB of excess loss, and a dB more divides the odds of LOS by e^0.46
EVEN, NATS_PER_DB = 5.55, 0.46
CLOCK_STEP = 1.6  # m: a quarter of a delay cell of paper 1's radio
LENGTHS_KEPT = 4


def los(model: UniversalModel, csi: Any, env: Environment, radio: Radio | None = None) -> Tensor:
    """P(LOS) of each CSI in its environment, whose own `los` is ignored: float32 [N] (paper 1, eq. 13).

    Where a CSI's power is a gain it tells much about LOS, and a calibrated radio says that it is. Weights for any radio
    are told the power and read it themselves. Weights of one radio take it out, as the paper does: for them the excess
    loss multiplies the odds (Bayes' rule, the two taken to be independent). With an exact map and exact positions the
    line on the map tells LOS as well as any channel, see `models.sight_line`.

    Args:
        csi: as in `rank`; of a calibrated radio CSI alone.
        env: N hypotheses, with or without positions and map.
        radio: that measured them; None: the weights' own.

    Raises:
        InputError: see `UniversalModel.encode_channel` and `Environment.tensors`.
    """
    radio = model.own_or(radio)
    odds = los_odds(model, csi, env, radio)
    if counts_gain(model, radio):
        if _is_embedding(model, csi):
            raise InputError("LOS of a calibrated radio needs the CSI, whose power an embedding does not hold")
        odds = with_gain(odds, csi, radio, distance(env))
    return torch.sigmoid(odds)


def los_odds(model: UniversalModel, csi: Any, env: Environment, radio: Radio | None = None) -> Tensor:
    """Log-odds of LOS as the weights have them, without any rule beside them: [N] nats; arguments as for `los`."""
    seen = similarity(model, csi, [replace(env, los=torch.full((len(csi),), float(value))) for value in (0, 1)], radio)
    return (seen[:, 1] - seen[:, 0]) / model.temperature


def with_power(odds: Tensor, excess: Tensor) -> Tensor:
    """Log-odds of LOS [N] after the excess loss [N], dB, was told too."""
    return odds + NATS_PER_DB * (EVEN - excess.to(odds))


def counts_gain(model: UniversalModel, radio: Radio) -> bool:
    """Whether the power of CSI multiplies the odds of LOS: weights for any radio read it themselves."""
    return radio.calibrated and model.preset.radios == "one"


def with_gain(odds: Tensor, csi: Any, radio: Radio, apart: Tensor | None) -> Tensor:
    """Log-odds of LOS [N] after the power of CSI, whose amplitudes are gains, counted too.

    Args:
        csi: complex [N, ports, subcarriers].
        apart: [N] or [1] m from BS to UE, if known; needed where the radio's delays don't tell the first path's length.
            Without it, and of antennas whose gain towards the user is not known, the power counts for nothing.
    """
    if not radio.isotropic:
        return odds
    if tells_length(radio):
        return with_power(odds, excess_loss(csi, radio=radio))
    return odds if apart is None else with_power(odds, excess_loss(csi, apart.expand(len(csi)), radio))


def rank(
    model: UniversalModel, csi: Any, envs: Environment | Sequence[Environment], radio: Radio | None = None
) -> Tensor:
    """Probabilities over candidate environments: float32 [N, K], rows sum to 1.

    Where the radio's clock starts at the first path, each candidate is compared with the channel as it would be if the
    first path had the length of the candidate's straight line.

    Args:
        csi: complex [N, ports, subcarriers], or what `encode_channel` made of it, to ask several questions of one
            channel (with an absolute clock only).
        envs: one `Environment` of K candidates that every CSI is compared with, or K environments of N hypotheses each
            (or of 1, which then serves every CSI), where candidate k of CSI i is `envs[k]`'s i-th.
        radio: that measured them; None: the weights' own.

    Raises:
        InputError: an environment in the sequence has neither N nor 1 hypotheses, is of another carrier, or is wrong in
            itself; see `UniversalModel.check_csi`.
    """
    return torch.softmax(similarity(model, csi, envs, radio) / model.temperature, dim=-1)


def similarity(
    model: UniversalModel, csi: Any, envs: Environment | Sequence[Environment], radio: Radio | None = None
) -> Tensor:
    """Cosine similarities behind `rank`: float32 [N, K]."""
    channels = Channels(model, csi, radio)
    if isinstance(envs, Environment):
        return channels.with_each(envs)
    columns = []
    for k, env in enumerate(envs):
        if len(env) not in (1, len(channels)):
            raise InputError(f"candidate environment {k} has {len(env)} hypotheses for {len(channels)} CSI")
        columns.append(channels.with_own(env))
    if not columns:
        raise InputError("no candidate environments to rank")
    return torch.stack(columns, dim=1)


class Channels:
    """N channels to be compared with hypotheses; of a clock that starts at the first path, once a length of it.

    Args:
        csi, radio: as for `rank`.

    Raises:
        InputError: see `rank`.
    """

    def __init__(self, model: UniversalModel, csi: Any, radio: Radio | None = None) -> None:
        self.model, self.radio = model, model.own_or(radio)
        self.searched, self.is_code = searched(model, self.radio), _is_embedding(model, csi)
        if self.is_code:
            if self.searched:
                raise InputError("a clock at the first path is searched for: give the CSI, not its embedding")
            self.embedding = csi
        elif self.searched:
            model.warn(self.radio)
            checked = model.check_csi(csi, self.radio)
            self.aligned, self.gain = delayed(checked, self.radio, -arrival(checked, self.radio)), mean_gain(csi)
            self.kept: dict[bytes, Tensor] = {}
        else:
            self.embedding = model.encode_channel(csi, self.radio)

    def __len__(self) -> int:
        return len(self.aligned if self.searched else self.embedding)

    def with_each(self, env: Environment) -> Tensor:
        """Cosine similarities of every channel with each of K hypotheses: [N, K]."""
        env = self._seen(env)
        return self.with_each_embedded(self.model.encode_environment(env), distance(env))

    def with_own(self, env: Environment) -> Tensor:
        """Cosine similarity of each channel with its own of N hypotheses, or with the only one: [N]."""
        env = self._seen(env)
        return self.with_own_embedded(self.model.encode_environment(env), distance(env))

    @torch.inference_mode()
    def with_each_embedded(self, place: Tensor, apart: Tensor | None) -> Tensor:
        """As `with_each`, of hypotheses that are embedded, [K, E], with the metres from BS to UE, [K], if known."""
        if not self.searched:
            return self.embedding @ place.mT
        lengths, which = torch.unique(self._rounded(apart, len(place)), return_inverse=True)
        out = place.new_empty(len(self), len(place))
        for number, length in enumerate(lengths.tolist()):
            mine = which == number
            out[:, mine] = self._embedded(torch.full((len(self),), length, dtype=torch.float64)) @ place[mine].mT
        return out

    @torch.inference_mode()
    def with_own_embedded(self, place: Tensor, apart: Tensor | None) -> Tensor:
        """As `with_own`, of hypotheses that are embedded, see `with_each_embedded`."""
        if not self.searched:
            return (self.embedding * place).sum(-1)
        return (self._embedded(self._rounded(apart, len(place)).expand(len(self))) * place).sum(-1)

    def _seen(self, env: Environment) -> Environment:
        # of a code, the radio that was not given may be another than that of the code
        return env.seen_by(self.radio) if self.is_code else env.asked_by(self.radio)

    def _rounded(self, apart: Tensor | None, count: int) -> Tensor:
        """Lengths, of which candidates share channels: float64 [count] m."""
        return torch.full((count,), TYPICAL, dtype=torch.float64) if apart is None else rounded(apart)

    def _embedded(self, length: Tensor) -> Tensor:
        """The channels as if the first path of each were so long [N] m: [N, E]."""
        key = length.numpy().tobytes()
        if key not in self.kept:
            later = delayed(self.aligned, self.radio, length.to(self.aligned.device) / SPEED_OF_LIGHT)
            if len(self.kept) == LENGTHS_KEPT:  # LOS and NLOS ask for the same one after the other
                self.kept.clear()
            self.kept[key] = self.model.encode_checked(later, replace(self.radio, clock="absolute"), self.gain)
        return self.kept[key]


def searched(model: UniversalModel, radio: Radio) -> bool:
    """Whether each hypothesis is asked by a clock that it implies: of weights that never learned another clock."""
    return radio.clock == "first_path" and model.preset.radios == "one"


def rounded(apart: Tensor) -> Tensor:
    """Metres [K] in steps of `CLOCK_STEP`: float64 [K]."""
    return (apart.double() / CLOCK_STEP).round() * CLOCK_STEP


def distance(env: Environment) -> Tensor | None:
    """From BS to UE, [N] m; None where one of them is unknown."""
    if env.bs is None or env.ue is None:
        return None
    bs, ue = (torch.as_tensor(np.asarray(p) if not isinstance(p, Tensor) else p).cpu() for p in (env.bs, env.ue))
    return (ue.double() - bs.double()).norm(dim=-1)


def _is_embedding(model: UniversalModel, csi: Any) -> bool:
    return isinstance(csi, Tensor) and not csi.is_complex() and csi.shape[1:] == (model.preset.embedding,)


def scaled(env: Environment, factor: float) -> Environment:
    """The same picture taken to be `factor` times as large: the map's pixels and the pixel positions stay."""

    def plan(position: Any) -> Any:
        if position is None:
            return None
        return np.asarray(position) * np.array([factor, factor, 1.0], dtype=np.float32)

    if env.size is None:
        raise InputError("scale: the area's size is missing; give the side in metres that is doubted")
    return replace(env, bs=plan(env.bs), ue=plan(env.ue), size=np.asarray(env.size) * factor)


def scale(
    model: UniversalModel,
    csi: Any,
    env: Environment,
    factors: Sequence[float] = SCALES,
    radio: Radio | None = None,
) -> Tensor:
    """Probabilities over scales of the area: float32 [N, len(factors)] (paper 1, IV-B).

    Where the radio's clock starts at the first path, a channel tells little about scale: expect chance.
    """
    return rank(model, csi, [scaled(env, factor) for factor in factors], radio)


def feedback(model: UniversalModel, csi: Any, search: int = 0, radio: Radio | None = None) -> tuple[Tensor, Tensor]:
    """CSI feedback: the CSI restored from its code, and the normalised CSI: complex64 [N, ports, subcarriers] both.

    Args:
        csi: complex [N, ports, subcarriers].
        search: steps by which the sender improves the code before it sends, see `search_code`; 0 sends the embedding.
        radio: that measured them and that they are restored for; None: the weights' own.

    Raises:
        InputError: see `search_code`.
    """
    code = search_code(model, csi, search, radio)
    return model.reconstruct_channel(code, radio), model.normalise_channel(csi, radio)


def position_likelihood(
    model: UniversalModel,
    csi: Any,
    map: Any,
    bs: Any,
    size: float,
    step: float = 2.0,
    height: float = UE_HEIGHT,
    coarse: float | None = None,
    radio: Radio | None = None,
) -> tuple[NDArray[np.float64], Tensor]:
    """Where the UE of each CSI may stand: the likelihood over a grid that covers the area.

    LOS is not told: a cell's likelihood is the sum over both hypotheses. Cells inside buildings get 0.

    Args:
        csi: complex [N, ports, subcarriers], all from one BS, or their embeddings.
        map: [H, W] building occupancy.
        bs: [3] m.
        size: side of the area, m.
        step: of the grid, m.
        height: of the UE, m.
        coarse: see `position_log_likelihood`.
        radio: that measured them; None: the weights' own.

    Returns:
        Grid coordinates [G], m (the same for x and y), and probabilities float32 [N, G, G], row = y, summing to 1.

    Raises:
        InputError: a step that does not fit the area, or no outdoor cell.
    """
    grid, log = position_log_likelihood(model, csi, map, bs, size, step, height, coarse, radio)
    return grid, torch.softmax(log.flatten(1), dim=1).view_as(log)


def position_log_likelihood(
    model: UniversalModel,
    csi: Any,
    map: Any,
    bs: Any,
    size: float,
    step: float = 2.0,
    height: float = UE_HEIGHT,
    coarse: float | None = None,
    radio: Radio | None = None,
    downtilt: float | None = None,
) -> tuple[NDArray[np.float64], Tensor]:
    """The logarithm of `position_likelihood`, up to a constant a CSI; what several BSs say of one UE adds up.

    The candidates are encoded once, however many CSI are asked about.

    Args:
        coarse: spacing of a first pass, m: only hypotheses (cell and LOS) within `MARGIN` of its best one, and their
            neighbours, are then asked at `step`; the others keep the value of the first pass.
        downtilt: of the array, rad; None: it is level.

    Returns:
        Grid coordinates [G], m, and float32 [N, G, G], −inf inside buildings.

    Raises:
        InputError: see `position_likelihood`.
    """
    if not (np.isfinite(size) and np.isfinite(step) and 0 < step <= size):
        raise InputError(f"likelihood map: step {step} m must lie above 0 and within the area's {size} m")
    if coarse is not None and not step <= coarse <= size:
        raise InputError(f"likelihood map: coarse step {coarse} m must lie between the step and the area's {size} m")
    occupied = np.asarray(map)
    if occupied.ndim != 2 or occupied.shape[0] != occupied.shape[1]:
        raise InputError(f"likelihood map: the map has shape {occupied.shape}, expected [pixels, pixels], one map")
    grid, outdoors = cells(occupied, size, step)
    if not outdoors.any():
        raise InputError("likelihood map: the map is built over everywhere, there is no outdoor position to test")
    channels = Channels(model, csi, radio)

    def ask(hypotheses: NDArray[np.bool_]) -> Tensor:
        """Log-likelihoods of hypotheses [2, G, G], LOS last: [N, number of them]."""
        candidates = places(hypotheses, grid, occupied, bs, size, height, downtilt)
        return channels.with_each(candidates) / model.temperature

    log = torch.full((len(channels), 2, *outdoors.shape), -torch.inf, device=model.device)
    asked = np.repeat(outdoors[None], 2, axis=0)
    if coarse is not None:
        block = (grid // coarse).astype(int)
        blocks, nearest = int(block[-1]) + 1, _nearest_outdoors(grid, coarse, outdoors)
        first = log.new_full((len(channels), 2, blocks, blocks), -torch.inf)
        row, column = (block[index] for index in np.nonzero(nearest))
        first[:, :, row, column] = ask(np.repeat(nearest[None], 2, axis=0)).view(len(channels), 2, -1)
        best = first.amax((1, 2, 3), keepdim=True)
        likely = (max_pool2d(first, 3, stride=1, padding=1) >= best - MARGIN).any(0).cpu().numpy()
        log = first[:, :, block][..., block].masked_fill(~torch.from_numpy(outdoors).to(log.device), -torch.inf)
        asked &= likely[:, block][..., block]
    log[:, torch.from_numpy(asked).to(log.device)] = ask(asked)
    return grid, torch.logsumexp(log, dim=1)


def cells(map: NDArray[Any], size: float, step: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A grid over an area: its coordinates [G], m, the same for x and y, and which cells are outdoors, [G, G]."""
    grid = np.arange(step / 2, size, step)
    pixel = np.minimum((grid / size * map.shape[0]).astype(int), map.shape[0] - 1)
    return grid, map[np.ix_(pixel, pixel)] < (HALF_BUILT if map.dtype.kind == "f" else 1)


def places(
    hypotheses: NDArray[np.bool_],
    grid: NDArray[np.float64],
    map: NDArray[Any],
    bs: Any,
    size: float,
    height: float = UE_HEIGHT,
    downtilt: float | None = None,
) -> Environment:
    """Those cells of a grid that are asked about, as hypotheses of one BS.

    Args:
        hypotheses: bool [2, G, G] NLOS and LOS, row = y.
        grid: [G] m, the same for x and y.
        map, bs, size, height, downtilt: as for `position_log_likelihood`.
    """
    los, row, column = np.nonzero(hypotheses)
    return Environment(
        map=map[None],
        bs=np.tile(np.asarray(bs, dtype=np.float32), (len(los), 1)),
        ue=np.column_stack([grid[column], grid[row], np.full(len(los), height)]).astype(np.float32),
        los=los,
        size=np.full(len(los), size, dtype=np.float32),
        downtilt=None if downtilt is None else np.full(len(los), downtilt, dtype=np.float32),
    )


def _nearest_outdoors(grid: NDArray[np.float64], coarse: float, outdoors: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of each block of side `coarse`, the outdoor cell nearest to its middle: bool [G, G]."""
    row, column = np.nonzero(outdoors)
    off = np.abs(grid % coarse - coarse / 2)
    order = np.argsort(off[row] ** 2 + off[column] ** 2, kind="stable")
    block = (grid // coarse).astype(int)
    _, kept = np.unique(block[row[order]] * len(grid) + block[column[order]], return_index=True)
    out = np.zeros_like(outdoors)
    out[row[order][kept], column[order][kept]] = True
    return out
