"""Towers for any radio: trained on drawn ones, begun from weights of one, asked with panels and clocks of their own."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store, Stores
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.losses import covariance
from uniair.models.presets import PRESETS
from uniair.models.universal import RadioWarning, UniversalModel
from uniair.radio import OFDM, ULA, UPA, Radio
from uniair.tasks import zero_shot
from uniair.tasks.alignment import Alignment
from uniair.tasks.generation import channel_of_place, paths_of_place
from uniair.training.checkpoint import begin_from, load_model
from uniair.training.distributed import World
from uniair.training.loop import Optimisation
from uniair.training.pretraining import Batches, pretrain

ANY = PRESETS["tiny"]
ONE = replace(ANY, radios="one")
RADIOS = (
    Radio(),
    Radio(array=UPA(2, 4, polarisation="slanted"), grid=OFDM(24, 360e3), carrier=3.5e9, clock="first_path"),
    Radio(array=ULA(8, pattern="tr38901"), ue=ULA(2), calibrated=True),
    Radio(array=ULA(8), grid=OFDM(32, 1e6), calibrated=True, clock="first_path"),
)


def polarised(links: Links) -> Links:
    """Paths that keep polarisation, nearly as a direct path does, and heights."""
    cross = np.zeros((len(links.paths.gain), 3), dtype=np.complex64)
    cross[:, 0], cross[:, 2] = 0.3j * links.paths.gain, -links.paths.gain
    heights = np.where(links.built, 9.0, 0.0).astype(np.float32)
    return replace(links, maps=heights, paths=replace(links.paths, cross=cross))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    out = tmp_path_factory.mktemp("folders")
    made = []
    for name, place, carrier, seed in (("one", "town", 28e9, 1), ("two", "city", 3.5e9, 2), ("held", "far", 28e9, 3)):
        links = polarised(geometric_links(seed=seed, areas=3, per_area=8, place=place))
        links = replace(links, radios=(Radio(carrier=carrier),) * 3)
        shards.write_shard(out / name / "links-00000.safetensors", links)
        shards.write_manifest(out / name, {}, f"of {name}")
        made.append(out / name)
    return made[0], made[1], made[2]


def trained(folders: tuple[Path, Path, Path], out: Path, steps: int = 4, start: Path | None = None) -> UniversalModel:
    data = Stores([Store(folder) for folder in folders[:2]])
    held = {"held": shards.read(folders[2])}
    optimisation = Optimisation(steps=steps, save_every=2, log_every=2, seed=1)
    task = Alignment(place_profile_weight=0.3)
    return pretrain(ANY, data, held, task, Batches(3, 6), optimisation, out, World.alone(), start).eval()


def test_it_trains_on_several_folders_and_says_what_it_learned(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    model = trained(folders, tmp_path / "a")
    learned = load_model(tmp_path / "a").learned
    assert learned is not None
    assert learned.carrier == (3.5, 28.0)
    assert learned.station[0] <= 6.0 <= learned.station[1]
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["total"]) for line in lines if "total" in line)
    assert "place_profile" in lines[0]
    assert any("held/top1" in line for line in lines)
    again = trained(folders, tmp_path / "b")
    for (name, one), two in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two), name


def test_folders_stand_side_by_side(folders: tuple[Path, Path, Path]) -> None:
    both = Stores([Store(folder) for folder in folders[:2]])
    assert len(both) == 6
    assert both.links == sum(len(both[i]) for i in range(6))
    assert [both[i].areas[0] for i in (2, 3, -1)] == [both.areas[2], both.areas[3], both.areas[5]]
    assert both.radios == (Radio(), Radio(carrier=3.5e9))
    extents = both.extents()
    parts = [both[i] for i in range(6)]
    every = [np.concatenate(values) for values in ([p.sizes for p in parts], [p.bs[:, 2] for p in parts])]
    for extent, values in zip(extents, every, strict=False):
        assert extent.tolist() == [values.min(), values.max()]


def test_begun_from_weights_of_one_radio_it_answers_nearly_as_they_do(links: Links) -> None:
    torch.manual_seed(0)
    old, new = UniversalModel(ONE).eval(), UniversalModel(ANY).eval()
    begin_from(new, old)
    new.cfenn.told.weight.data.zero_()
    new.cfenn.told.bias.data.zero_()
    batch = batch_of(links)
    torch.testing.assert_close(new.encode_channel(batch.csi), old.encode_channel(batch.csi), rtol=0, atol=1e-5)
    occupancy = replace(batch.environment, carrier=None)  # heights that are not known
    torch.testing.assert_close(new.encode_environment(occupancy), old.encode_environment(occupancy), rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="weights to begin from"):
        begin_from(old, new)


@pytest.mark.parametrize("radio", RADIOS, ids=str)
def test_any_radio_is_asked_and_written(links: Links, radio: Radio) -> None:
    torch.manual_seed(1)
    model = UniversalModel(ANY).eval()
    with torch.no_grad():  # else new inputs count for nothing
        for value in model.parameters():
            value.add_(0.02 * torch.randn_like(value))
    links = polarised(links.select(np.arange(12)))
    batch = batch_of(links, radio)
    env = batch.environment.without("carrier")  # that of the links, which not every radio has
    z = model.encode_channel(batch.csi, radio)
    assert model.encode_channel(batch.csi[:0], radio).shape == (0, 32)
    assert z.norm(dim=1) == pytest.approx(1, abs=1e-5)
    assert model.reconstruct_channel(z, radio).shape == (12, *radio.shape)
    for answer in (
        zero_shot.los(model, batch.csi, env, radio),
        zero_shot.rank(model, batch.csi, env, radio),
        zero_shot.scale(model, batch.csi, env, radio=radio),
    ):
        assert torch.isfinite(answer).all()
    weak = zero_shot.los(model, 2.0**-10 * batch.csi, env, radio)  # rounds nothing
    told = radio.calibrated and radio.isotropic
    assert torch.allclose(weak, zero_shot.los(model, batch.csi, env, radio), atol=1e-4) != told


def test_what_is_new_is_read(links: Links) -> None:
    """Heights, carrier and tilt change an environment's embedding, the second polarisation a channel's."""
    torch.manual_seed(2)
    model = UniversalModel(ANY).eval()
    links = polarised(links.select(np.arange(6)))
    env = batch_of(links).environment

    def changed(**parts: Any) -> bool:
        other: Environment = replace(env, **parts)
        return not torch.allclose(model.encode_environment(env), model.encode_environment(other), atol=1e-4)

    assert changed(carrier=torch.full((6,), 3.5e9))
    assert changed(carrier=None)
    assert changed(downtilt=torch.full((6,), 0.2))
    assert changed(map=3 * env.map)
    assert changed(first_path=torch.ones(6))
    radio = Radio(array=ULA(16, polarisation="dual"))
    csi = batch_of(links, radio).csi
    alone = csi.clone()
    alone[:, 16:] = 0
    assert not torch.allclose(model.encode_channel(csi, radio), model.encode_channel(alone, radio), atol=1e-4)


@pytest.mark.parametrize("radio", RADIOS, ids=str)
def test_a_place_tells_a_channel_of_any_radio(links: Links, radio: Radio) -> None:
    torch.manual_seed(3)
    model = UniversalModel(ANY).eval()
    env = batch_of(links.select(np.arange(5))).environment.without("los", "carrier")
    guessed = radio.array.polarisation != "vertical"
    with pytest.warns(RadioWarning, match="places learned") if guessed else nullcontext():
        csi, paths = channel_of_place(model, env, radio), paths_of_place(model, env, radio)
    assert csi.shape == (5, *radio.shape)
    assert csi.abs().square().mean((1, 2)) == pytest.approx(1, rel=1e-4)
    assert paths.gain.abs().square().sum(1) == pytest.approx(1, rel=1e-4)
    with pytest.raises(InputError, match="knows one radio"):
        channel_of_place(UniversalModel(ONE).eval(), env)


def test_the_pattern_of_a_place_is_put_on_once(links: Links) -> None:
    """Told that elements look one way, the code holds their pattern; it is written as what such elements measure."""
    model = UniversalModel(ANY).eval()
    env = batch_of(links.select(np.arange(5))).environment.without("los")
    radio = Radio(ULA(32, pattern="tr38901"))
    written = model.reconstruct_channel(model.encode_environment(env.seen_by(radio)), radio)
    similar = covariance(channel_of_place(model, env, radio), written)
    assert float(similar) == pytest.approx(0, abs=1e-4)


def test_what_a_place_tells_of_a_radio_far_from_what_was_learned_is_flagged(links: Links) -> None:
    small = uniair.load("small")
    env = batch_of(links.select(np.arange(2))).environment.without("los")
    for tell in (channel_of_place, paths_of_place):
        with pytest.warns(RadioWarning, match="extrapolated: carrier 150 GHz"):
            tell(small, env.without("carrier"), Radio(carrier=150e9))
        with pytest.warns(RadioWarning, match="extrapolated: slanted polarisation"):
            tell(small, env, Radio(UPA(4, 4, polarisation="slanted")))
    z = small.encode_channel(batch_of(links).csi[:2])
    with pytest.warns(RadioWarning, match="extrapolated: array's extent"):
        small.reconstruct_channel(z, Radio(ULA(512)), seen_by=Radio())


def test_a_place_is_taught_its_channel(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """After some steps on three links, each place's covariance is nearer to its own channel's than before."""
    links = shards.read(folders[0])
    batch = batch_of(links.select(np.arange(3)))
    torch.manual_seed(0)
    model = UniversalModel(ANY)
    task = Alignment(place_profile_weight=1.0, hypotheses=False, bare_los=0.0, unknown_map=0.0, unknown_bs=0.0,
                     unknown_ue=0.0, unknown_both=0.0, unknown_los=0.0)  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    seen = []
    for step in range(60):
        terms = task.loss(model, batch, np.random.default_rng(step))
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
        seen.append(float(terms["place_profile"].detach()))
    assert seen[-1] < 0.5 * seen[0]
    found = channel_of_place(model.eval(), batch.environment)
    assert float(covariance(found, batch.csi)) < 0.3
