"""Calibration of a prediction on half of a drive test's streets, and what is left on the other half.

Residuals are measured less predicted, dB. A sector's offset is the median of its residuals, which a few wrong rows do
not move. It is what least absolute residuals ask for, and the walls are chosen by these too.
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
FLIPS, RESAMPLED = 9_999, 1_000
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
        spread: mean absolute residual about the sectors' medians, dB.
        chance: how likely a difference from the chosen material as large as this, or larger, is by chance.
    """

    material: str
    spread: float
    chance: float


@dataclass(frozen=True)
class Walls:
    """The wall material that a log asks for.

    Attributes:
        planned, chosen: materials.
        best: the one with the least spread; it is chosen where that is more than chance.
        chance: how likely the best one's lead over the planned one is by chance, times the materials that were tried
            beside it (Bonferroni); 1 where the planned one is best.
        candidates: all that were tried, the least spread first.
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
    """The material with the least absolute residuals once each sector has its offset.

    Another than the planned one is taken where it is nearer to what was measured by more than chance: the differences
    of blocks of streets keep their sign as seldom as that when signs are drawn (a paired permutation test; spots of a
    block are not independent).

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
    residuals = {name: np.where(reached, measured - one, np.nan) for name, one in predicted.items()}
    apart = {name: np.abs(one - medians(one)[:, None])[reached] for name, one in residuals.items()}
    spread = {name: float(one.mean()) for name, one in apart.items()}
    # the planned one first, so that of equals it stays
    best = min(sorted(spread, key=lambda name: name != planned), key=spread.__getitem__)
    tried = len(predicted) - 1
    lead = 1.0 if best == planned else min(1.0, tried * chance(apart[planned] - apart[best], where, seed))
    chosen = best if lead <= CHANCE else planned
    candidates = [
        Candidate(name, spread[name], 1.0 if name == chosen else chance(apart[name] - apart[chosen], where, seed))
        for name in sorted(spread, key=spread.__getitem__)
    ]
    return Walls(planned, chosen, best, lead, tuple(candidates), int(reached.sum()), len(np.unique(where)))


def chance(difference: Numbers, block: NDArray[np.int64], seed: int) -> float:
    """How likely paired differences [P] add up to as much, either way, where each block's sign is a coin's."""
    sums = np.bincount(np.unique(block, return_inverse=True)[1].ravel(), difference)
    signs = np.random.default_rng([seed, 0xF11B]).choice([-1.0, 1.0], (FLIPS, len(sums)))
    seen = abs(sums.sum()) * (1 - 1e-9)  # the same sum added in another order counts
    return float((1 + (np.abs(signs @ sums) >= seen).sum()) / (1 + FLIPS))


def medians(residual: Numbers) -> Numbers:
    """Of each sector's residuals [S, N]: [S] dB; NaN where there is none."""
    found = np.full(len(residual), np.nan)
    known = np.isfinite(residual).any(1)
    found[known] = np.nanmedian(residual[known], axis=1)
    return found


def median_error(residual: Numbers, block: NDArray[np.int64], seed: int) -> float | None:
    """Standard error of the median of residuals [P], dB, from drawing their blocks anew (a bootstrap of blocks).

    None where they lie in fewer than five blocks, which say nothing of others.
    """
    number = np.unique(block, return_inverse=True)[1].ravel()
    count = int(number.max(initial=-1)) + 1
    if count < 5:
        return None
    drawn = np.random.default_rng([seed, 0xB007]).multinomial(count, np.full(count, 1 / count), RESAMPLED)
    order = np.argsort(residual, kind="stable")
    weight = drawn[:, number[order]].cumsum(1)
    return float(residual[order][(weight >= weight[:, -1:] / 2).argmax(1)].std())


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
        planned: [S, N] dBm predicted as planned; NaN where no path reaches, and in spots of neither half.
        calibrated: [S, N] dBm predicted with the chosen walls and the offsets.
    """

    log: DriveLog
    names: tuple[str, ...]
    half: NDArray[np.int8]
    walls: Walls
    offsets: Numbers
    offset_errors: tuple[float | None, ...]
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
    log: DriveLog, names: tuple[str, ...], half: NDArray[np.int8], walls: Walls, planned: Numbers, recast: Numbers,
    seed: int,
) -> DriveTest:  # fmt: skip
    """Gives each sector the median of its residuals as its offset, where both halves have enough of its spots.

    Args:
        planned: [S, N] dBm with the planned walls, NaN where no path reaches or nothing was traced.
        recast: [S, N] dBm with the chosen ones, without offsets.
        seed: of the standard errors.
    """
    residual, block = log.rsrp - recast, blocks_of(log.spots)
    residual[~(np.isfinite(planned) & np.isfinite(recast))] = np.nan
    learned, tested = (np.where(half == one, residual, np.nan) for one in (LEARNED, TESTED))
    enough = np.minimum(np.isfinite(learned).sum(1), np.isfinite(tested).sum(1)) >= LEAST
    offsets = np.where(enough, medians(learned), np.nan)
    found = [
        median_error(one[known], block[known], seed) if known.sum() and kept else None
        for one, known, kept in zip(learned, np.isfinite(learned), enough, strict=True)
    ]
    calibrated = recast + np.where(enough, offsets, 0.0)[:, None]
    return DriveTest(log, names, half, walls, offsets, tuple(found), planned, calibrated)
