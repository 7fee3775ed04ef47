"""Calibration on half of a log: halves lie apart, offsets and walls are found again, chance is not taken for walls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from uniair.errors import InputError
from uniair.site.calibration import (
    APART,
    BETWEEN,
    BLOCK,
    LEARNED,
    LEAST,
    MORE,
    TESTED,
    DriveTest,
    Walls,
    blocks_of,
    bound,
    calibrate,
    chance,
    choose_walls,
    drawn_together,
    errors,
    halves,
    location,
    location_error,
)
from uniair.site.drive_figure import draw
from uniair.site.drive_log import DriveLog
from uniair.site.drive_summary import lines, summary, table

NAMES = ("A-1", "A-2")


def log_of(spots: int = 400, side: float = 400.0, seed: int = 0, heard: tuple[float, float] = (1.0, 0.5)) -> DriveLog:
    """Two sectors over a square; the second is measured in some spots alone."""
    rng = np.random.default_rng(seed)
    places = np.column_stack([rng.uniform(0, side, (spots, 2)), np.full(spots, 1.5)])
    measured = rng.random((2, spots)) < np.array(heard)[:, None]
    measured[0, ~measured.any(0)] = True
    rsrp = np.where(measured, rng.normal(-90, 10, (2, spots)), np.nan)
    return DriveLog("log.csv", places, rsrp, measured.astype(np.int64), int(measured.sum()), {})


def predictions(log: DriveLog, offsets: tuple[float, float], noise: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Of three materials: what was measured is wood's, stronger by offsets; others differ where walls reflect."""
    rng = np.random.default_rng([seed, 7])
    wood = log.rsrp - np.array(offsets)[:, None] - rng.normal(0, noise, log.rsrp.shape)
    reflected = rng.random(log.rsrp.shape[1]) < 0.6
    return {
        "concrete": wood + 6.0 * reflected,
        "wood": wood,
        "metal": wood + rng.normal(12, 3, len(log)) * reflected,
    }


def test_halves_are_blocks_that_lie_apart() -> None:
    log = log_of()
    half = halves(log, 1000, 3)
    learned, tested = log.spots[half == LEARNED], log.spots[half == TESTED]
    assert cdist(learned, tested).min() >= APART
    assert 0.4 < len(tested) / len(log) < 0.6
    assert (half >= BETWEEN).all()
    between = log.spots[half == BETWEEN]
    assert (cdist(between, tested).min(1) < APART).all()
    block = blocks_of(log.spots)
    assert not set(block[half == TESTED]) & set(block[half != TESTED])
    assert len({tuple(np.floor(one[:2] / BLOCK)) for one in log.spots}) == block.max() + 1
    assert np.array_equal(half, halves(log, 1000, 3))
    assert not np.array_equal(half, halves(log, 1000, 4))
    # what was measured has no say in it
    assert np.array_equal(half, halves(replace(log, rsrp=log.rsrp - 50), 1000, 3))


def test_each_sector_is_halved_though_it_is_heard_in_a_corner_alone() -> None:
    log = log_of(600)
    rows = log.rows.copy()
    rows[1] = (log.spots[:, :2] < 150).all(1)
    corner = replace(log, rows=rows)
    tested = halves(corner, 1000, 0) == TESTED
    for one in corner.measured:
        assert 0.35 < tested[one].sum() / one.sum() < 0.65


def test_more_spots_than_are_traced_are_drawn_by_sector() -> None:
    log = log_of(2000, 800.0, heard=(1.0, 0.03))
    half = halves(log, 100, 0)
    assert [(half == one).sum() for one in (LEARNED, TESTED)] == [100, 100]
    assert (half == MORE).any()
    whole = halves(log, 10_000, 0)
    for one in (LEARNED, TESTED):
        assert log.measured[1, half == one].sum() == log.measured[1, whole == one].sum()  # the rare one keeps all


def test_a_log_of_one_street_or_a_short_one_is_refused() -> None:
    log = log_of(200, 400.0)
    street = replace(log, spots=log.spots * [0.2, 0.01, 1.0])
    with pytest.raises(InputError, match=r"log\.csv: its 200 spots lie in 2 blocks of 50 m, fewer than 4"):
        halves(street, 100, 0)
    with pytest.raises(InputError, match=r"log\.csv: no sector was measured in 10 spots of each half"):
        halves(log_of(16), 100, 0)


def test_offsets_and_walls_are_found_again() -> None:
    log = log_of(800, 600.0)
    half, found = halves(log, 1000, 0), predictions(log, (4.0, -3.0), noise=6.0)
    learned = half == LEARNED
    walls = choose_walls(log.rsrp[:, learned], {name: one[:, learned] for name, one in found.items()}, "concrete",
                         blocks_of(log.spots)[learned], 0)  # fmt: skip
    assert (walls.best, walls.chosen) == ("wood", "wood")
    assert walls.chance < 0.01
    assert [one.material for one in walls.candidates] == ["wood", "concrete", "metal"]
    # the mean size of a normal residual is √(2/π) σ
    assert walls.candidates[0].spread == pytest.approx(6 * np.sqrt(2 / np.pi), abs=0.4)
    test = calibrate(log, NAMES, half, walls, found["concrete"], found["wood"])
    counts = np.isfinite(log.rsrp[:, learned]).sum(1)
    for i, (truth, count) in enumerate(zip((4.0, -3.0), counts, strict=True)):
        least = 6 / np.sqrt(count)  # σ/√n
        assert test.offset_bounds[i] == pytest.approx(least, rel=0.2)
        assert test.offset_errors[i] == pytest.approx(least, rel=0.4)
        assert abs(test.offsets[i] - truth) < 3 * least
    before, after = test.residuals(TESTED)
    assert errors(after)["median_absolute_db"] == pytest.approx(0.6745 * 6, abs=0.6)
    assert errors(after)["deviation_db"] < errors(before)["deviation_db"]  # type: ignore[operator]


def test_without_noise_they_are_exact() -> None:
    log = log_of(400)
    found = predictions(log, (4.0, 1.5), noise=0.0)
    half = halves(log, 1000, 0)
    walls = Walls("concrete", "wood", "wood", 0.0, (), 1, 1)
    test = calibrate(log, NAMES, half, walls, found["concrete"], found["wood"])
    assert test.offsets == pytest.approx([4.0, 1.5])
    assert np.nanmax(np.abs(test.residuals(TESTED)[1])) < 1e-9
    assert test.changed


def test_walls_that_are_no_better_than_chance_stay_as_planned() -> None:
    kept = []
    for seed in range(20):
        log = log_of(200, seed=seed)
        rng = np.random.default_rng([seed, 9])
        planned = log.rsrp + rng.normal(0, 6, log.rsrp.shape)
        others = {name: planned + rng.normal(0, 2, log.rsrp.shape) for name in ("brick", "wood", "glass")}
        found = {"concrete": planned, **others}
        walls = choose_walls(log.rsrp, found, "concrete", blocks_of(log.spots), seed)
        kept.append(walls.chosen == "concrete")
        assert walls.best == walls.candidates[0].material
    assert sum(kept) >= 18  # five in a hundred may go wrong


def test_walls_that_differ_by_a_quarter_of_the_noise_are_told_apart() -> None:
    """Of n spots the score stands √n · 0.25 deviations from none, 7 of 800; a test of the loss itself half as far."""
    right = []
    for seed in range(20):
        log = log_of(800, seed=seed, heard=(1.0, 0.0))
        rng = np.random.default_rng([seed, 11])
        brick = log.rsrp - rng.normal(0, 6, log.rsrp.shape)
        concrete = brick + rng.normal(0, 1.5, log.rsrp.shape)
        found = {"concrete": concrete, "brick": brick, "wood": brick + rng.normal(0, 6, log.rsrp.shape)}
        walls = choose_walls(log.rsrp, found, "concrete", blocks_of(log.spots), seed)
        right.append(walls.chosen == "brick")
        assert (walls.chosen == "brick") == (walls.best == "brick" and walls.chance <= 0.05)
    assert sum(right) >= 18


def test_the_middle_of_residuals_is_efficient_and_bears_wrong_ones() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(3, 6, (400, 300))
    found = np.array([location(one) for one in drawn])
    assert found.mean() == pytest.approx(3, abs=0.1)
    assert found.std() == pytest.approx(6 / np.sqrt(300 * 0.95), rel=0.1)  # Huber, 1964
    assert found.std() < 0.88 * np.median(drawn, axis=1).std()
    assert np.mean([bound(one) for one in drawn]) == pytest.approx(6 / np.sqrt(300), rel=0.03)
    wrong = drawn[0].copy()
    wrong[:30] += 60
    assert abs(location(wrong) - location(drawn[0])) < 1.4 < wrong.mean() - drawn[0].mean()
    assert location(np.full(5, 2.0)) == 2
    assert np.isnan(location(np.zeros(0)))
    # the sandwich is right where blocks share what they are off by
    shared = rng.normal(0, 4, (400, 30, 1)) + rng.normal(0, 3, (400, 30, 10))
    spread = np.std([location(one.ravel()) for one in shared])
    block = np.repeat(np.arange(30), 10)
    assert np.mean([location_error(one.ravel(), block) for one in shared]) == pytest.approx(spread, rel=0.15)


def test_offsets_that_differ_by_chance_alone_are_drawn_together() -> None:
    rng, error = np.random.default_rng(0), np.full(3, 0.35)
    drawn = rng.normal(4, 0.35, (2000, 3))
    found = np.array([drawn_together(one, error)[0] for one in drawn])
    assert found.std() < 0.75 * drawn.std()
    assert found.mean() == pytest.approx(4, abs=0.02)
    said = np.array([drawn_together(one, error)[1] for one in drawn])
    assert np.sqrt((said**2).mean()) == pytest.approx(found.std(), rel=0.15)
    apart, errors_of = drawn_together(np.array([4.0, -3.0, 0.5]), error)
    assert apart == pytest.approx([4.0, -3.0, 0.5], abs=0.05)
    assert errors_of == pytest.approx(error, rel=0.02)
    same, one = drawn_together(np.array([2.0, 2.0]), np.array([0.3, 0.4]))
    assert same == pytest.approx([2.0, 2.0])
    assert one == pytest.approx(1 / np.sqrt(1 / 0.3**2 + 1 / 0.4**2))
    assert drawn_together(np.array([1.0]), np.array([0.2]))[0] == 1.0


def test_blocks_and_not_spots_are_what_is_independent() -> None:
    # one block differs by much in many spots: of eight coins that is no news, of its hundred it would be
    block = np.repeat(np.arange(8), [100, 1, 1, 1, 1, 1, 1, 1])
    difference = np.where(block == 0, 1.0, -0.1)
    assert chance(difference, block, 0) > 0.5
    assert chance(difference, np.arange(107), 0) < 0.001
    assert chance(np.ones(8), np.arange(8), 0) == pytest.approx(2 / 2**8, abs=0.003)  # both all heads and all tails
    assert chance(np.zeros(8), np.arange(8), 0) == 1.0


def test_figures_of_residuals() -> None:
    found = errors(np.array([-8.0, -2.0, 1.0, 3.0, np.nan, 7.0]))
    assert found == {"count": 5, "mean_db": 0.2, "deviation_db": 5.04, "median_absolute_db": 3.0,
                     "absolute_90_db": 7.6, "within_6_db": 0.6}  # fmt: skip
    assert set(errors(np.array([np.nan])).values()) == {0, None}
    assert str(errors(np.array([-0.001, 0.0]))["mean_db"]) == "0.0"  # no negative zero
    assert location_error(np.ones(30), np.repeat(np.arange(4), 8)[:30]) is None


def test_a_sector_with_too_few_spots_stays_as_planned() -> None:
    test = driven(heard=(1.0, 0.03))
    assert np.isfinite(test.offsets).tolist() == [True, False]
    assert test.offset_errors[1] is None
    found = summary(test)
    assert found["sectors"][1]["offset_db"] is None
    assert any(line.startswith("A-2 is not calibrated: ") for line in lines(found))
    second = test.calibrated[1] - predictions(test.log, (4.0, -3.0), 6.0)["wood"][1]
    assert np.nanmax(np.abs(second)) == 0


def test_sectors_that_nobody_measured_are_said_once() -> None:
    found = summary(driven(heard=(1.0, 0.0)))
    said = lines(found)
    assert "not measured, and as planned: A-2" in said
    assert not any(line.startswith("A-2") for line in said)
    assert [row[0][:3] for row in table(found).rows] == ["A-1", "A-1", "all", "all"]


def driven(heard: tuple[float, float] = (1.0, 0.5), truth: tuple[float, float] = (4.0, -3.0)) -> DriveTest:
    log = log_of(400, heard=heard)
    found = predictions(log, truth, 6.0)
    found["concrete"][0, :5] = np.nan
    half = halves(log, 1000, 0)
    learned = half == LEARNED
    walls = choose_walls(log.rsrp[:, learned], {name: one[:, learned] for name, one in found.items()}, "concrete",
                         blocks_of(log.spots)[learned], 0)  # fmt: skip
    planned, recast = (np.where(half >= 0, found[name], np.nan) for name in ("concrete", walls.chosen))
    return calibrate(log, NAMES, half, walls, planned, recast)


def test_what_is_said() -> None:
    test = driven(truth=(24.0, -3.0))
    found = summary(test)
    said = lines(found)
    halved = found["halves"]
    assert halved["learned"] + halved["tested"] + halved["between"] + halved["more"] == found["spots"] == 400
    assert found["measured"] == found["rows_used"] == test.log.measured.sum()
    assert said[0] == f"{found['rows']:,} of {found['rows']:,} rows of log.csv in 400 spots of 5 m"
    assert (
        f"{halved['learned']} spots learned from and {halved['tested']} tested on, in other blocks of 50 m" in said[1]
    )
    lost = int((np.isnan(test.planned[0, :5]) & (test.half[:5] >= 0)).sum())
    assert found["unreached"]["count"] == lost > 0
    assert said[2].startswith(f"no path reaches {lost} measurements, -")
    assert said[3].startswith("walls: wood instead of concrete (p = 0.00")
    assert any("A-1: an offset of +2" in line and "look at its power" in line for line in said)
    shown = table(found)
    assert [row[0] for row in shown.rows] == ["A-1, as planned", "A-1, calibrated", "A-2, as planned",
                                              "A-2, calibrated", "all, as planned", "all, calibrated"]  # fmt: skip
    assert shown.rows[1][1].startswith("+2")
    assert " ± " in shown.rows[1][1]
    # a calibration that spoils the tested half says so
    worse = replace(test, calibrated=test.planned - 40)
    assert any("calibration did not help on the tested half" in line for line in lines(summary(worse)))
    drawing = draw(test)
    shown_points = [len(line.get_xdata()) for line in drawing.axes[1].get_lines()[:2]]  # type: ignore[arg-type]
    assert shown_points == [2 * halved["learned"], 2 * halved["tested"]]
    assert [axes.get_title() for axes in drawing.axes] == ["as planned", "calibrated",
                                                           "streets that nothing was learned from"]  # fmt: skip


@pytest.mark.parametrize(
    ("walls", "says"),
    [
        (Walls("concrete", "concrete", "concrete", 1.0, (), 0, 0), "paths reach too few measurements"),
        (Walls("a", "a", "a", 1.0, choose_walls(np.zeros((1, LEAST)), {"a": np.zeros((1, LEAST))}, "a",
                                                np.arange(LEAST), 0).candidates, 9, 9), "no other was tried"),
        (choose_walls(np.zeros((1, 20)), {"a": np.zeros((1, 20)), "b": np.arange(20.0)[None]}, "a", np.arange(20), 0),
         "walls: a, as planned, fits best over 20 measurements in 20 blocks: spread 0.00 dB"),
        (choose_walls(np.zeros((1, 12)), {"a": np.eye(12)[:1] * 9, "b": np.zeros((1, 12))}, "a", np.arange(12), 0),
         "walls: a, as planned; b fits better by no more than chance (p = 1)"),
    ],
)  # fmt: skip
def test_what_is_said_of_walls(walls: Walls, says: str) -> None:
    said = summary(replace(driven(), walls=walls))
    assert any(says in line for line in lines(said))
