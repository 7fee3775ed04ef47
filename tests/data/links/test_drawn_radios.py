"""Radios drawn for training: any but those that are kept for the test, and what they measure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from uniair.data.links import drawn_radios
from uniair.data.links.drawn_radios import Drawn, draw, may_draw, measured, unseen
from uniair.data.links.links import Links
from uniair.data.links.loader import AreaBatches, environment_of
from uniair.data.splits import FOLDER
from uniair.environment import TALL
from uniair.radio import OFDM, ULA, UPA, Array, Radio


def drawn(count: int = 400) -> list[Drawn]:
    return [draw(np.random.default_rng([7, i])) for i in range(count)]


def test_no_radio_of_the_test_is_drawn() -> None:
    arrays, grids, _ = unseen()
    for one in drawn():
        if one.radio.differs(Radio(calibrated=one.radio.calibrated)):
            assert one.radio.grid not in grids
            assert not any(
                one.radio.array.layout.shape == kept.layout.shape and np.allclose(one.radio.array.layout, kept.layout)
                for kept in arrays
            )


def test_what_is_drawn_may_be_drawn_and_what_lies_beyond_may_not() -> None:
    whole = [one.radio for one in drawn() if one.radio.array.kind != "array" and one.radio.grid.kind == "ofdm"]
    assert len(whole) > 200
    assert all(may_draw(radio) for radio in whole)
    for near in (ULA(63), ULA(65), ULA(32, 0.69), ULA(32, 0.71), UPA(8, 16), UPA(2, 4, 0.5)):
        assert may_draw(Radio(near, OFDM(60)))
    for array in (ULA(3), ULA(129), ULA(32, 0.39), ULA(32, 0.91), ULA(32, 0.555), UPA(4, 32), UPA(3, 8),
                  UPA(4, 4, 0.6), ULA(16, codebook=np.eye(16))):  # fmt: skip
        assert not may_draw(Radio(array))
    for grid in (OFDM(16, 2.88e6), OFDM(11, 720e3), OFDM(401, 15e3), OFDM(12, 390e3), OFDM(300, 1.5e6),
                 OFDM(64, 721e3), OFDM(64, 720e3, 46.08e6)):  # fmt: skip
        assert not may_draw(Radio(grid=grid))
    assert not may_draw(Radio(ULA(128), OFDM(65)))
    assert may_draw(Radio(ULA(128), OFDM(63, 2e6)))
    with pytest.raises(TypeError, match="neither a line nor a panel"):
        may_draw(Radio(Array(ULA(8).layout[[0, 2, 5]])))


def test_the_second_version_holds_out_what_the_first_did() -> None:
    first, second = (json.loads((FOLDER / f"radios-v{number}.json").read_text("utf-8")) for number in (1, 2))
    assert {**first, "about": ""} == {**second, "about": ""}
    assert drawn_radios.UNSEEN == "radios-v2.json"


def test_clocks_are_hardly_ever_further_off_than_is_said(links: Links) -> None:
    error = np.random.default_rng(0).normal(0, drawn_radios.CLOCK_ERROR, 1_000_000)
    assert 1 / 25_000 < (np.abs(error) > drawn_radios.HARDLY).mean() < 1 / 12_000
    late = Drawn(Radio(), noisy=0, clock_error=drawn_radios.CLOCK_ERROR)
    batch = measured(links.paths, environment_of(links), late, np.random.default_rng(0))
    turn = batch.csi[:, 0] * links.paths.csi()[:, 0].conj()
    found = -(turn[:, 1:] * turn[:, :-1].conj()).sum(1).angle().double() / (2 * np.pi * 720e3)
    want = np.random.default_rng(0).normal(0, drawn_radios.CLOCK_ERROR, len(links))
    np.testing.assert_allclose(found, want, atol=1e-10)


def test_no_recipe_traces_a_carrier_of_the_test() -> None:
    held = set(unseen()[2])
    recipes = list((Path(__file__).parents[3] / "recipes").glob("trace-*mixed.yaml"))
    assert len(recipes) == 3
    for recipe in recipes:
        carriers = set(map(float, yaml.safe_load(recipe.read_text())["deployment"]["carriers"]))
        assert len(carriers) == 10
        assert not carriers & held


def test_all_kinds_are_drawn_and_within_bounds() -> None:
    radios = [one.radio for one in drawn()]
    assert {radio.array.kind for radio in radios} == {"ula", "upa", "array"}
    assert {radio.array.polarisation for radio in radios} == {"vertical", "horizontal", "dual", "slanted"}
    assert {radio.array.pattern for radio in radios} == {"isotropic", "tr38901"}
    assert {radio.clock for radio in radios} == {"absolute", "first_path"}
    assert {radio.grid.kind for radio in radios} == {"ofdm", "subcarriers"}
    assert {radio.ue.ports for radio in radios} == {1, 2}
    own = np.mean([radio.array == ULA() for radio in radios])
    assert 0.3 < own < 0.5
    for radio in radios:
        assert radio.array.ports * radio.grid.subcarriers <= max(drawn_radios.ENTRIES, 12 * radio.array.ports)
        assert 4 <= len(radio.array.layout) <= 256


def test_a_batch_is_a_function_of_its_generator_and_finite(links: Links) -> None:
    batches = AreaBatches(links.split(), 2, 8, radios=True)
    for number in range(12):
        one, two = (batches(np.random.default_rng([1, number])) for _ in range(2))
        assert one.radio == two.radio
        assert torch.equal(one.csi, two.csi)
        assert one.clean is not None
        assert one.clean.shape == one.csi.shape
        assert one.csi.isfinite().all()
        assert one.wide is not None
        assert one.wide.shape[1:] == (32, 64)
        assert one.environment.carrier.tolist() == [28e9] * len(one)


def test_noise_errors_and_power_are_what_they_are_drawn_to_be(links: Links) -> None:
    environment, rng = environment_of(links), np.random.default_rng(0)
    plain = measured(links.paths, environment, Drawn(Radio(), noisy=0), rng)
    torch.testing.assert_close(plain.csi, links.paths.csi())
    calibrated = measured(links.paths, environment, Drawn(Radio(calibrated=True), noisy=0), rng)
    off = 20 * (calibrated.csi.abs().mean((1, 2)) / plain.csi.abs().mean((1, 2))).log10()
    assert 0.8 < off.std() < 2.2
    wrong = measured(links.paths, environment, Drawn(Radio(), noisy=0, phase_error=0.2, gain_error=0.5), rng)
    assert wrong.clean is not None
    torch.testing.assert_close(wrong.clean, plain.csi)
    ratio = wrong.csi / wrong.clean
    torch.testing.assert_close(ratio[0, :, 0], ratio[-1, :, -1], rtol=1e-3, atol=1e-3)  # of the ports alone
    assert 0.1 < ratio[0, :, 0].angle().std() < 0.35
    noisy = measured(links.paths, environment, Drawn(Radio(), noisy=1.0), rng)
    assert noisy.clean is not None
    power = (noisy.csi - noisy.clean).abs().square().mean((1, 2)) / noisy.clean.abs().square().mean((1, 2))
    snr = -10 * power.log10()
    assert snr.min() > -10.5
    assert snr.max() < 30.5
    assert snr.std() > 5


def test_heights_are_hidden_from_some_areas(links: Links) -> None:
    heights = torch.where(environment_of(links).map > 0, 9.0, 0.0)
    hidden = []
    for seed in range(30):
        environment = environment_of(links)
        given = measured(
            links.paths, type(environment)(**{**vars(environment), "map": heights}), Drawn(Radio()),
            np.random.default_rng(seed),
        ).environment.map  # fmt: skip
        assert torch.equal(given > 0, heights > 0)
        hidden += [bool((one == TALL).any()) for one in given]
    assert 0.1 < np.mean(hidden) < 0.4
