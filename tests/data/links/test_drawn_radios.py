"""Radios drawn for training: any but those that are kept for the test, and what they measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml

from uniair.data.links import drawn_radios
from uniair.data.links.drawn_radios import Drawn, draw, measured, unseen
from uniair.data.links.links import Links
from uniair.data.links.loader import AreaBatches, environment_of
from uniair.environment import TALL
from uniair.radio import ULA, Radio


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
