"""Calibration of a prediction on half of a drive test's streets, and what is left on the other half.

Residuals are measured less predicted, dB. A sector's offset is Huber's estimate of their middle, which a few wrong rows
do not move and which is, in Gaussian noise, 95 % as efficient as their mean (their median 64 %). Offsets of sectors
that differ by no more than chance are drawn together. Walls are chosen by the same loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from uniair.errors import InputError
from uniair.site.drive_log import DriveLog

LEARNED, TESTED, BETWEEN, MORE = 0, 1, -1, -2  # what a spot is for
HALVES = {LEARNED: "learned", TESTED: "tested", BETWEEN: "between", MORE: "more"}
BLOCK = 50.0  # m; over which shadowing of macro cells is alike (TR 38.901, table 7.5-6: 37 m in sight, 50 m out of it)
APART = 20.0  # m between what is learned from and what is tested on
LEAST_BLOCKS = 4
LEAST = 10  # spots of a sector, in each half, that it is calibrated with; 8 dB of shadowing leave ± 3 dB there
DRAWS = 200  # of halves, of which the one that shares each sector's spots most evenly stands
CHANCE = 0.05  # a difference that is likelier than this by chance shows nothing
FLIPS = 9_999
TURN = 1.345  # standard deviations from where on Huber's loss grows as the size and no longer as its square
GAUSSIAN = 1.4826  # standard deviations a median absolute deviation, in Gaussian noise
LEAST_SCALE = 1e-6  # dB
FEW_BLOCKS = 5  # fewer say nothing of others
Numbers = NDArray[np.float64]


def blocks_of(spots: Numbers) -> NDArray[np.int64]:
    """Number of the block of streets that each spot [N, 3] lies in: [N]."""
    return np.unique(np.floor(spots[:, :2] / BLOCK), axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def halves(log: DriveLog, most: int, seed: int) -> NDArray[np.int8]:
    """Which spots are learned from and which are tested on: int8 [N], `LEARNED` or `TESTED`.

    Whole blocks of streets go to one half. Spots nearer than `APART` to a tested one are `BETWEEN` the halves. Where a
    half has more than `most` spots, sectors keep theirs in turns, and the others are `MORE`.

    Raises:
        InputError: too few blocks, or no sector with enough spots in both halves.
    """
    rng, block, measured = np.random.default_rng([seed, 0xD51E]), blocks_of(log.spots), log.measured
    count = int(block.max()) + 1
    if count < LEAST_BLOCKS:
        raise InputError(
            f"{log.name}: its {len(log):,} spots lie in {count} block{'s' if count > 1 else ''} of {BLOCK:g} m, fewer "
            f"than {LEAST_BLOCKS}, which leaves no half of the streets to test on; give a log of more streets"
        )
    shares = np.stack([np.bincount(block, one, count) for one in measured.astype(np.float64)])
    shares = shares[shares.sum(1) > 0]
    shares /= shares.sum(1, keepdims=True)
    size = np.bincount(block, minlength=count)
    tried = []
    for _ in range(DRAWS):
        order = rng.permutation(count)
        first = order[: int(np.searchsorted(np.cumsum(size[order]), len(log) / 2)) + 1]
        tried.append((float(np.abs(shares[:, first].sum(1) - 0.5).max()), first))
    tested = np.isin(block, min(tried, key=lambda one: one[0])[1])
    half = np.where(tested, TESTED, LEARNED).astype(np.int8)
    if tested.any() and not tested.all():
        near = cKDTree(log.spots[tested]).query(log.spots[~tested])[0] < APART
        half[np.flatnonzero(~tested)[near]] = BETWEEN
    for one in (LEARNED, TESTED):
        mine = np.flatnonzero(half == one)
        half[mine] = MORE
        half[mine[_evenly(measured[:, mine], most, rng)]] = one
    enough = np.stack([measured[:, half == one].sum(1) for one in (LEARNED, TESTED)]).min(0)
    if enough.max() < LEAST:
        raise InputError(
            f"{log.name}: no sector was measured in {LEAST} spots of each half of the streets, {APART:g} m apart; give "
            "a longer log"
        )
    return half


def _evenly(measured: NDArray[np.bool_], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Spots of [S, N], at most so many, drawn in turns by sector so that those that are seldom measured stay."""
    turn = np.full(measured.shape, np.inf)
    for one, mine in zip(turn, measured, strict=True):
        one[rng.permutation(np.flatnonzero(mine))] = np.arange(mine.sum())
    return np.sort(np.lexsort([rng.permutation(measured.shape[1]), turn.min(0)])[:most])


@dataclass(frozen=True)
class Candidate:
    """A wall material that was tried on the learned spots.

    Attributes:
        material: ITU-R P.2040 name.
        spread: mean absolute residual about the sectors' offsets, dB.
        chance: how likely it is by chance that residuals follow what the chosen material would change so well.
    """

    material: str
    spread: float
    chance: float


@dataclass(frozen=True)
class Walls:
    """The wall material that a log asks for.

    Attributes:
        planned, chosen: materials.
        best: the one with the least loss; it is chosen where the planned one is refuted.
        chance: how likely it is by chance, with the planned walls, that residuals follow so well what the best ones
            would change, times the materials that were tried beside them (Bonferroni); 1 where the planned one is best.
        candidates: all that were tried, the least loss first.
        spots: pairs of sector and spot that they were compared on.
        blocks: of streets that these lie in.
    """

    planned: str
    chosen: str
    best: str
    chance: float
    candidates: tuple[Candidate, ...]
    spots: int
    blocks: int


def choose_walls(
    measured: Numbers, predicted: Mapping[str, Numbers], planned: str, block: NDArray[np.int64], seed: int
) -> Walls:
    """The material with the least loss once each sector has its offset.

    Another than the planned one is taken where that is refuted: residuals with the planned walls, r, follow what the
    best ones would change, d, by more than chance. Of Σ ψ(r) d, the score of the slope of r over d (Huber, 1981), the
    sums of blocks of streets are independent, and their signs a coin's where the planned walls are right. That d be as
    large as they say is asked of the loss alone: the test of a smaller loss itself would need noise half as large.

    Args:
        measured: [S, N] dBm; NaN where a sector was not measured.
        predicted: material → [S, N] dBm; NaN where no path reaches.
        planned: one of them.
        block: [N] that each spot lies in.
        seed: of the signs.
    """
    reached = np.isfinite([measured - one for one in predicted.values()]).all(0)
    reached &= (reached.sum(1) >= LEAST)[:, None]
    if not reached.any():
        return Walls(planned, planned, planned, 1.0, (), 0, 0)
    where = np.broadcast_to(block, measured.shape)[reached]
    apart = {name: _centred(np.where(reached, measured - one, np.nan))[reached] for name, one in predicted.items()}
    size = max(min(scale(one) for one in apart.values()), LEAST_SCALE)  # of noise, the same for all
    loss = {name: float(_loss(one / size).mean()) for name, one in apart.items()}
    # the planned one first, so that of equals it stays
    best = min(sorted(loss, key=lambda name: name != planned), key=loss.__getitem__)

    def refuted(name: str, by: str) -> float:
        change = np.where(reached, predicted[by] - predicted[name], 0.0)
        change -= np.where(reached, (change.sum(1) / np.maximum(reached.sum(1), 1))[:, None], 0.0)
        return chance(np.clip(apart[name] / size, -TURN, TURN) * change[reached], where, seed)

    tried = len(predicted) - 1
    lead = 1.0 if best == planned else min(1.0, tried * refuted(planned, best))
    chosen = best if lead <= CHANCE else planned
    candidates = [
        Candidate(name, float(np.abs(apart[name]).mean()), 1.0 if name == chosen else refuted(name, chosen))
        for name in sorted(loss, key=loss.__getitem__)
    ]
    return Walls(planned, chosen, best, lead, tuple(candidates), int(reached.sum()), len(np.unique(where)))


def _centred(residual: Numbers) -> Numbers:
    """Residuals [S, N] less their sectors' middles."""
    return residual - np.array([[location(one[np.isfinite(one)])] for one in residual])


def _loss(size: Numbers) -> Numbers:
    """Huber's (1964), of residuals in standard deviations."""
    large = np.abs(size)
    return np.where(large <= TURN, size**2 / 2, TURN * large - TURN**2 / 2)


def chance(difference: Numbers, block: NDArray[np.int64], seed: int) -> float:
    """How likely paired differences [P] add up to as much, either way, where each block's sign is a coin's."""
    sums = np.bincount(np.unique(block, return_inverse=True)[1].ravel(), difference)
    signs = np.random.default_rng([seed, 0xF11B]).choice([-1.0, 1.0], (FLIPS, len(sums)))
    seen = abs(sums.sum()) * (1 - 1e-9)  # the same sum added in another order counts
    return float((1 + (np.abs(signs @ sums) >= seen).sum()) / (1 + FLIPS))


def scale(residual: Numbers) -> float:
    """Standard deviation of residuals [P] by their median absolute deviation, dB."""
    return float(GAUSSIAN * np.median(np.abs(residual - np.median(residual)))) if len(residual) else 0.0


def location(residual: Numbers) -> float:
    """Huber's estimate of the middle of residuals [P] (Huber, 1964), dB; NaN of none."""
    if not len(residual):
        return float("nan")
    middle, size = float(np.median(residual)), scale(residual)
    if size < LEAST_SCALE:
        return middle
    for _ in range(100):
        weight = TURN / np.maximum(np.abs(residual - middle) / size, TURN)
        before, middle = middle, float(weight @ residual / weight.sum())
        if abs(middle - before) < 1e-9 * size:
            break
    return middle


def location_error(residual: Numbers, block: NDArray[np.int64]) -> float | None:
    """Standard error of `location`, dB: the sandwich of blocks that are independent (Liang and Zeger, 1986).

    None where they lie in fewer than five blocks, which say nothing of others.
    """
    number = np.unique(block, return_inverse=True)[1].ravel()
    count, size = int(number.max(initial=-1)) + 1, max(scale(residual), LEAST_SCALE)
    if count < FEW_BLOCKS:
        return None
    off = (residual - location(residual)) / size
    scores = np.bincount(number, np.clip(off, -TURN, TURN))
    inner = max(int((np.abs(off) <= TURN).sum()), 1)
    return float(size * np.sqrt((scores**2).sum() * count / (count - 1)) / inner)


def bound(residual: Numbers) -> float:
    """What no unbiased estimate of one sector's offset from residuals [P] can fall below: σ / √P, dB.

    The Cramér-Rao bound of a mean in Gaussian noise of their standard deviation, were all of them independent.
    """
    return scale(residual) / float(np.sqrt(len(residual)))


def drawn_together(offset: Numbers, error: Numbers) -> tuple[Numbers, Numbers]:
    """Offsets of several sectors [S] and their standard errors, each drawn towards what all have in common.

    Random effects: a sector's offset is one of a receiver, which all share, and one of its own, whose variance is what
    the offsets differ by beyond their errors (DerSimonian and Laird, 1986). Where they differ by no more than these,
    all become one; where by much, each stays what it is.
    """
    if len(offset) < 2:
        return offset, error
    variance = np.maximum(error, LEAST_SCALE) ** 2
    weight = 1 / variance
    mean = weight @ offset / weight.sum()
    beyond = weight @ (offset - mean) ** 2 - (len(offset) - 1)
    own = max(float(beyond / (weight.sum() - (weight**2).sum() / weight.sum())), 0.0)
    common = 1 / (variance + own)
    mean = common @ offset / common.sum()
    share = variance / (variance + own)  # of the common mean in each
    return offset + share * (mean - offset), np.sqrt((1 - share) * variance + share**2 / common.sum())


def errors(residual: Numbers) -> dict[str, float | int | None]:
    """Figures of residuals [P], dB; those that are NaN are left out."""
    known = residual[np.isfinite(residual)]
    if not len(known):
        return {"count": 0, **dict.fromkeys(("mean_db", "deviation_db", "median_absolute_db", "absolute_90_db",
                                             "within_6_db"))}  # fmt: skip
    size = np.abs(known)
    return {
        "count": len(known), "mean_db": rounded(known.mean()), "deviation_db": rounded(known.std()),
        "median_absolute_db": rounded(np.median(size)), "absolute_90_db": rounded(np.quantile(size, 0.9)),
        "within_6_db": rounded((size <= 6).mean(), 4),
    }  # fmt: skip


def rounded(value: float | np.floating, digits: int = 2) -> float:
    """Without a negative zero."""
    return round(float(value), digits) + 0.0


@dataclass(frozen=True)
class DriveTest:
    """A log laid over the prediction, and what was learned from it: N spots, S sectors.

    Attributes:
        log: what was measured.
        names: of the sectors.
        half: int8 [N] what each spot is for, see `halves`.
        walls: the material that was chosen.
        offsets: [S] dB by which a sector is stronger than planned; NaN where it is not calibrated.
        offset_errors: standard errors of these, dB; None where that is not known.
        offset_bounds: what these can't fall below by the sector's own spots, dB, see `bound`; None without an offset.
        planned: [S, N] dBm predicted as planned; NaN where no path reaches, and in spots of neither half.
        calibrated: [S, N] dBm predicted with the chosen walls and the offsets.
    """

    log: DriveLog
    names: tuple[str, ...]
    half: NDArray[np.int8]
    walls: Walls
    offsets: Numbers
    offset_errors: tuple[float | None, ...]
    offset_bounds: tuple[float | None, ...]
    planned: Numbers
    calibrated: Numbers

    @property
    def changed(self) -> bool:
        """Whether the calibrated prediction is another than the planned one."""
        return self.walls.chosen != self.walls.planned or bool(np.isfinite(self.offsets).any())

    def residuals(self, half: int) -> tuple[Numbers, Numbers]:
        """Measured less predicted, as planned and calibrated, in the spots of a half that both reach: twice [S, n]."""
        measured = self.log.rsrp[:, self.half == half]
        before, after = (measured - one[:, self.half == half] for one in (self.planned, self.calibrated))
        reached = np.isfinite(before) & np.isfinite(after)
        return np.where(reached, before, np.nan), np.where(reached, after, np.nan)


def calibrate(
    log: DriveLog, names: tuple[str, ...], half: NDArray[np.int8], walls: Walls, planned: Numbers, recast: Numbers
) -> DriveTest:  # fmt: skip
    """Gives each sector the middle of its residuals as its offset, where both halves have enough of its spots.

    Args:
        planned: [S, N] dBm with the planned walls, NaN where no path reaches or nothing was traced.
        recast: [S, N] dBm with the chosen ones, without offsets.
    """
    residual, block = log.rsrp - recast, blocks_of(log.spots)
    residual[~(np.isfinite(planned) & np.isfinite(recast))] = np.nan
    learned, tested = (np.where(half == one, residual, np.nan) for one in (LEARNED, TESTED))
    enough = np.minimum(np.isfinite(learned).sum(1), np.isfinite(tested).sum(1)) >= LEAST
    offsets = np.full(len(names), np.nan)
    found: list[float | None] = [None] * len(names)
    bounds: list[float | None] = [None] * len(names)
    chosen = np.flatnonzero(enough)
    own = {i: learned[i][np.isfinite(learned[i])] for i in chosen.tolist()}
    errors_of = {i: location_error(own[i], block[np.isfinite(learned[i])]) for i in own}
    if own:
        bounds = [bound(own[i]) if i in own else None for i in range(len(names))]
        sizes = np.array([bound(own[i]) if errors_of[i] is None else errors_of[i] for i in own], dtype=np.float64)
        offsets[chosen], sizes = drawn_together(np.array([location(own[i]) for i in own]), sizes)
        found = [None] * len(names)
        for i, size in zip(own, sizes.tolist(), strict=True):
            found[i] = None if errors_of[i] is None else size
    calibrated = recast + np.where(enough, offsets, 0.0)[:, None]
    return DriveTest(log, names, half, walls, offsets, tuple(found), tuple(bounds), planned, calibrated)
