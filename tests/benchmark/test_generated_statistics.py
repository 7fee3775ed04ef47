from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

from uniair.benchmark import generated_statistics
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.generated_statistics import (
    ANOTHER,
    GENERATED_STATISTICS,
    PLACE,
    READ,
    SHADOWING,
    STANDARD,
    STATISTICS,
    TOLD,
    TRACED,
    crps,
    statistics,
    traced,
)
from uniair.data.links import shards
from uniair.data.links.loader import along_array
from uniair.errors import InputError
from uniair.models.presets import PRESETS
from uniair.models.universal import ReadPaths, UniversalModel
from uniair.propagation.coverage import delay_spread
from uniair.tasks.generation import sampled

TWO = ReadPaths(
    torch.tensor([[0.5, -0.5, 0.0]]), torch.tensor([[1e-7, 3e-7, 9e-7]]), torch.tensor([[0.8, 0.6j, 0.0]])
)  # fmt: skip


def test_statistics_of_two_paths_are_those_of_the_closed_form() -> None:
    found = statistics(TWO)
    assert found["delay"][0] == pytest.approx(200 * np.sqrt(0.64 * 0.36), rel=1e-5)
    assert found["angle"][0] == pytest.approx(np.sqrt(0.64 * 0.36), rel=1e-5)
    assert found["k"][0] == pytest.approx(10 * np.log10(0.64 / 0.36), abs=1e-4)
    links = along_array(geometric_links(seed=3, areas=1, per_area=12))
    want = 1e9 * delay_spread(links.paths, np.abs(links.paths.gain.astype(np.complex128)) ** 2)
    np.testing.assert_allclose(traced(links)["delay"], want, rtol=1e-3, atol=1e-3)


def test_every_seed_has_a_say_in_the_depth_of_shadows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {name: tmp_path / name for name in ("links", "validation")}
    for number, (name, folder) in enumerate(folders.items()):
        made = geometric_links(seed=3 + number, areas=1, per_area=12, place=name)
        shards.write_shard(folder / "links-00000.safetensors", made)
        shards.write_manifest(folder, {}, "")
    far = {(0, 3): 0.3, (1, 3): 0.5, (0, 9): 0.4, (1, 9): 0.1}  # the first seed alone would take 3 dB

    def area(model: object, links: object, usual: object, seed: list[int]) -> dict[str, dict[str, list[float]]]:
        def shifted(by: float) -> dict[str, list[float]]:
            return {key: list(np.arange(100.0) + 100 * by) for key in STATISTICS} | {
                f"{key} score": [1.0] for key in STATISTICS
            }

        names = (TRACED, PLACE, TOLD, READ, STANDARD, ANOTHER)
        depths = {str(db): shifted(far.get((seed[0], db), 0.9)) for db in SHADOWING}
        return {name: shifted(0) for name in names} | depths

    monkeypatch.setattr(generated_statistics, "_area", area)
    model = UniversalModel(replace(PRESETS["tiny"], radios="any")).eval()
    found = perform("spreads", GENERATED_STATISTICS, Setup(model, tmp_path / "out", folders, seeds=2))
    assert found["chosen"] == 9
    assert found["rows"]["9"]["distance"]["k"]["mean"] == pytest.approx(0.25, abs=0.02)


def test_the_score_is_least_for_who_draws_what_is_true() -> None:
    rng = np.random.default_rng(0)
    middle = rng.normal(0, 3, 4000)  # that a place tells
    truth = middle + rng.normal(size=4000)
    draws = rng.normal(size=(16, 4000))
    told = crps(middle + draws, truth).mean()
    assert told == pytest.approx(1 / np.sqrt(np.pi), rel=0.03)  # a normal's own: σ / √π
    # who ignores the place has the same distribution over all links, and a score as much worse as it is wider
    anywhere = crps(np.sqrt(10) * draws, truth).mean()
    assert anywhere == pytest.approx(np.sqrt(10 / np.pi), rel=0.03)
    assert told < crps(middle + 3 * draws, truth).mean() < anywhere
    assert crps(middle[None], truth) == pytest.approx(np.abs(middle - truth))


def test_samples_have_the_places_powers_but_for_shadows_and_never_a_path_that_it_lacks() -> None:
    draw = torch.Generator().manual_seed(0)
    many = ReadPaths(*(part.expand(4000, -1) for part in TWO))
    found = sampled(many, 3.0, draw).gain
    power = found.abs().square()
    torch.testing.assert_close(power.sum(1), torch.ones(4000))
    assert not power[:, 2].any()
    ratio = 10 * (power[:, 0] / power[:, 1]).log10()  # of two shadows of 3 dB
    assert float(ratio.mean()) == pytest.approx(10 * np.log10(0.64 / 0.36), abs=0.2)
    assert float(ratio.std()) == pytest.approx(3 * np.sqrt(2), rel=0.05)
    assert float((found[:, 0] / found[:, 0].abs()).mean().abs()) < 0.05  # any phase
    torch.testing.assert_close(sampled(TWO, 0.0, draw).gain.abs(), TWO.gain.abs())
    with pytest.raises(InputError, match="shadowing -1 dB: give 0 or more"):
        sampled(TWO, -1, draw)


def test_shadows_are_chosen_on_validation_places_and_a_stopped_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seed, place in (("links", 3, "town"), ("validation", 4, "elsewhere")):
        shards.write_shard(
            tmp_path / name / "links-00000.safetensors", geometric_links(seed=seed, areas=2, per_area=12, place=place)
        )
        shards.write_manifest(tmp_path / name, {"made": name}, "")
    torch.manual_seed(0)
    model = UniversalModel(replace(PRESETS["tiny"], radios="any")).eval()
    setup = Setup(model, tmp_path / "out", {name: tmp_path / name for name in ("links", "validation")}, seeds=2)
    found = perform("spreads", GENERATED_STATISTICS, setup)
    assert found["chosen"] in SHADOWING
    assert list(found["rows"]) == [PLACE, TOLD, READ, *map(str, SHADOWING), STANDARD, ANOTHER]
    for row in found["rows"].values():
        assert all(0 <= one["mean"] <= 1 for one in row["distance"].values())
        assert all(one["mean"] > 0 for one in row["score"].values())
    # links of other places have the tracer's distributions, and an untrained model's places do not
    assert found["rows"][ANOTHER]["distance"]["delay"]["mean"] < found["rows"][PLACE]["distance"]["delay"]["mean"]
    monkeypatch.setattr(generated_statistics, "_area", lambda *_: pytest.fail("measured again"))
    assert perform("spreads", GENERATED_STATISTICS, setup) == found
    for _, table in GENERATED_STATISTICS.tables(found):
        assert all(len(row) == len(table.head) for row in table.rows)
