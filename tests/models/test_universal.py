from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import uniair
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.epnn import edges, line_window
from uniair.models.presets import PRESETS
from uniair.models.transformer import ResidualAttentionBlock
from uniair.models.universal import RadioWarning, UniversalModel
from uniair.radio import OFDM, ULA, Radio


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    torch.manual_seed(0)
    return uniair.build("tiny")


def test_embeddings_have_unit_norm_and_the_right_shape(model: UniversalModel, links: Links) -> None:
    batch = batch_of(links)
    for z in (model.encode_channel(batch.csi), model.encode_environment(batch.environment)):
        assert z.shape == (len(links), 32)
        assert z.dtype == torch.float32
        torch.testing.assert_close(z.norm(dim=1), torch.ones(len(links)))


@pytest.mark.parametrize("name", ["tiny", "base"])
def test_power_and_common_phase_do_not_matter(name: str, links: Links) -> None:
    torch.manual_seed(0)
    model = uniair.build(name)
    csi = batch_of(links).csi[:4].numpy().astype(np.complex128)
    factor = np.array([1e-30, 1e3, 2.0, 1.0]) * np.exp(1j * np.array([0.3, 2.0, -1.0, 3.1]))
    torch.testing.assert_close(
        model.encode_channel(csi), model.encode_channel(csi * factor[:, None, None]), atol=2e-5, rtol=0
    )


def test_timing_does_matter(model: UniversalModel, links: Links) -> None:
    csi = batch_of(links).csi[:4]
    later = csi * torch.polar(torch.ones(64), -2 * np.pi * 720e3 * 2e-7 * torch.arange(64))
    assert (model.encode_channel(csi) - model.encode_channel(later)).abs().max() > 1e-3


def test_shared_prefix_equals_attention_over_the_concatenation() -> None:
    torch.manual_seed(0)
    block = ResidualAttentionBlock(32, 4)
    ground, x = torch.randn(3, 9, 32), torch.randn(3, 5, 2, 32)
    _, seen = block.prefix(ground)
    together = block.after(x, seen)
    for a in range(3):
        for i in range(5):
            q, k, v = block._heads(torch.cat([ground[a : a + 1], x[a, i : i + 1]], dim=1))
            attended = torch.nn.functional.scaled_dot_product_attention(q[:, :, 9:], k, v)
            torch.testing.assert_close(together[a, i], block._finish(x[a, i : i + 1], attended)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", ["prefix", "joint"])
@pytest.mark.parametrize("positions", ["vector", "features"])
def test_a_hypothesis_does_not_depend_on_its_neighbours(links: Links, attention: str, positions: str) -> None:
    torch.manual_seed(0)
    model = UniversalModel(replace(PRESETS["tiny"], attention=attention, positions=positions)).eval()
    env = batch_of(links).environment
    together = model.encode_environment(env)
    for i in (0, 13, 40):
        one = Environment(
            map=env.map[env.area[i]][None], bs=env.bs[i : i + 1], ue=env.ue[i : i + 1], los=env.los[i : i + 1],
            size=env.size[i : i + 1], carrier=env.carrier[i : i + 1],
        )  # fmt: skip
        torch.testing.assert_close(model.encode_environment(one)[0], together[i], atol=1e-5, rtol=0)


def test_every_part_of_the_environment_matters_and_may_be_unknown(model: UniversalModel, links: Links) -> None:
    env = batch_of(links).environment
    full = model.encode_environment(env)
    seen = [full]
    for name in ("map", "bs", "ue", "los"):
        without = model.encode_environment(replace(env, **{name: None}))
        assert all((without - other).abs().max() > 1e-4 for other in seen), name
        seen.append(without)
    nothing = model.encode_environment(Environment(los=[0, 1]))
    assert nothing.shape == (2, 32)


def test_unknown_by_flag_equals_unknown_by_absence(model: UniversalModel, links: Links) -> None:
    env = batch_of(links).environment
    n = len(env)
    for name in ("map", "bs", "ue", "los"):
        by_flag = model.environment_embedding(env, {name: torch.zeros(n, dtype=torch.bool)})
        torch.testing.assert_close(
            by_flag.detach(), model.encode_environment(replace(env, **{name: None})), atol=1e-5, rtol=0
        )


def test_maps_of_any_resolution_are_resampled(model: UniversalModel) -> None:
    small = np.zeros((1, 32, 32), dtype=np.uint8)
    small[0, 8:16, 4:20] = 1
    large = np.kron(small, np.ones((1, 8, 8), dtype=np.uint8))
    a, b = (model.encode_environment(Environment(map=m, size=[100.0])) for m in (small, large.astype(bool)))
    torch.testing.assert_close(a, b)


def test_the_corridor_sees_a_wall_between_bs_and_ue_whatever_the_compass() -> None:
    maps = torch.zeros(1, 100, 100, dtype=torch.uint8)
    maps[0, 45:55, 48:52] = 1  # a wall across the way from west to east, 10 m long
    turned = maps.transpose(1, 2).contiguous()
    yes = {name: torch.ones(1, dtype=torch.bool) for name in ("map", "bs", "ue", "los")}
    at = [[20.0, 50.0, 6.0]], [[80.0, 50.0, 1.5]]
    size, area = torch.tensor([100.0]), torch.zeros(1, dtype=torch.int64)
    east = Environment(maps, torch.tensor(at[0]), torch.tensor(at[1]), None, size, area)
    north = Environment(turned, torch.tensor(at[0])[:, [1, 0, 2]], torch.tensor(at[1])[:, [1, 0, 2]], None, size, area)
    seen = line_window(east, yes, 31, 15).view(31, 15)
    assert seen[15, 7] == 1  # half way, on the line
    assert seen[15, 0] == seen[15, 14] == 0  # open to the sides
    assert seen[:12].sum() == seen[19:].sum() == 0
    torch.testing.assert_close(line_window(north, yes, 31, 15).view(31, 15).flip(1), seen)
    assert not line_window(east, yes | {"map": torch.zeros(1, dtype=torch.bool)}, 31, 15).any()


def test_edges_are_the_rim_of_the_buildings() -> None:
    maps = torch.zeros(1, 16, 16, dtype=torch.uint8)
    maps[0, 4:10, 3:12] = 1
    rim = torch.zeros(16, 16)
    rim[4:10, 3:12] = 1
    rim[5:9, 4:11] = 0
    torch.testing.assert_close(edges(maps, 16)[0], rim)


def test_reconstruction_shape(model: UniversalModel, links: Links) -> None:
    csi = batch_of(links).csi[:3]
    out = model.reconstruct_channel(model.encode_channel(csi))
    assert out.shape == (3, 32, 64)
    assert out.dtype == torch.complex64
    assert torch.isfinite(torch.view_as_real(out)).all()


def test_several_ue_antennas_are_seen_by_the_strongest(model: UniversalModel, links: Links) -> None:
    csi = batch_of(links).csi[:4]
    both = torch.stack([0.1 * csi.flip(0), csi], dim=1)
    both[2] = both[2].flip(0)
    torch.testing.assert_close(model.encode_channel(both), model.encode_channel(csi))


def test_a_carrier_that_the_weights_do_not_know_is_said(links: Links) -> None:
    model = UniversalModel(replace(PRESETS["tiny"], radios="one")).eval()
    radio = Radio(carrier=3.5e9)
    with pytest.warns(RadioWarning, match=r"extrapolated: carrier 3\.5 GHz, the weights know 28 GHz"):
        z = model.encode_channel(batch_of(links).csi[:2], radio)
    torch.testing.assert_close(z, model.encode_channel(batch_of(links).csi[:2]))
    assert not model.remarks(Radio())
    assert not model.remarks(Radio(carrier=28.3e9))
    said = model.remarks(Radio(ULA(16), clock="first_path"))
    assert [line.split(":")[0] for line in said] == ["the clock starts at the first path", "converted"]


def test_the_paths_that_are_read_are_those_that_are_written(model: UniversalModel, links: Links) -> None:
    z = model.encode_channel(batch_of(links).csi[:3])
    paths = model.read_paths(z)
    assert (paths.gain.abs().diff(dim=1) <= 1e-6).all()
    assert paths.gain.abs().square().sum(1) == pytest.approx(1)
    assert (paths.cosine.abs() <= 1.1).all()
    assert paths.delay.max() < 1.5e-6
    radio = Radio()
    n = torch.from_numpy(radio.array.layout[:, 0] - radio.array.centre[0]).float()
    k = torch.from_numpy(radio.grid.frequencies - radio.grid.frequencies.mean())
    across = torch.polar(torch.ones(()), -2 * torch.pi * paths.cosine[..., None] * n)
    along = torch.polar(torch.ones(()), (-2 * torch.pi * paths.delay[..., None].double() * k).float())
    again = (across * paths.gain[..., None]).mT @ along
    written = model.reconstruct_channel(z)
    scale = (written.abs().square().mean((1, 2)) / again.abs().square().mean((1, 2))).sqrt()
    torch.testing.assert_close(again * scale[:, None, None], written, atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", ["tiny", "base"])
def test_a_code_is_written_for_another_radio(name: str, links: Links) -> None:
    torch.manual_seed(0)
    model = uniair.build(name)
    z = model.encode_channel(batch_of(links).csi[:2])
    wide = Radio(ULA(48), OFDM(20, 1e6, 5e6))
    out = model.reconstruct_channel(z, wide, seen_by=model.radio)
    assert out.shape == (2, 48, 20)
    torch.testing.assert_close(out.abs().square().mean((1, 2)), torch.ones(2))
    same = model.reconstruct_channel(z, model.radio, seen_by=model.radio)
    torch.testing.assert_close(same, model.reconstruct_channel(z))
    assert model.reconstruct_channel(z[:0], wide).shape == (0, 48, 20)
    half = Radio(ULA(16), OFDM(32))  # seen by itself: the middle of either is where the phase is referred to
    assert model.reconstruct_channel(z, half).shape == (2, 16, 32)


def test_what_no_clock_or_carrier_allows_is_refused(model: UniversalModel, links: Links) -> None:
    z = model.encode_channel(batch_of(links).csi[:2])
    first = Radio(clock="first_path")
    with pytest.raises(InputError, match="no absolute delays"):
        model.reconstruct_channel(z, Radio(), seen_by=first)
    with pytest.raises(InputError, match=r"can't be written for 3\.5 GHz"):
        model.reconstruct_channel(z, Radio(carrier=3.5e9), seen_by=Radio())
    for polarisation in ("horizontal", "dual", "slanted"):
        with pytest.raises(InputError, match=f"in vertical polarisation can't be written in {polarisation}"):
            model.reconstruct_channel(z, Radio(ULA(8, polarisation=polarisation)), seen_by=Radio())
    with pytest.raises(InputError, match=r"give a uniair\.Radio"):
        model.encode_channel(batch_of(links).csi[:2], torch.zeros(2))  # type: ignore[arg-type]
    for wrong in (torch.zeros(1), torch.tensor([50.0, torch.nan]), 3.0, ["a", "b"]):
        with pytest.raises(InputError, match="distance"):
            model.encode_channel(batch_of(links).csi[:2], first, wrong)
    with pytest.raises(InputError, match="UE of vertical polarisation can't be written for one of horizontal"):
        model.reconstruct_channel(z, Radio(ue=ULA(1, polarisation="horizontal")), seen_by=Radio())


def test_a_distance_moves_the_clock_of_weights_alone_that_never_learned_such_clocks(links: Links) -> None:
    csi, first, far = batch_of(links).csi[:2], Radio(clock="first_path"), torch.tensor([40.0, 90.0])
    one = uniair.build("base")
    assert not torch.allclose(one.encode_channel(csi, first, far), one.encode_channel(csi, first))
    with pytest.raises(InputError, match="distance: weights for any radio learned clocks"):
        uniair.build("tiny").encode_channel(csi, first, far)


def test_csi_is_taken_however_it_is_held(model: UniversalModel, links: Links) -> None:
    csi = batch_of(links).csi[:2]
    want = model.encode_channel(csi)
    held = csi.numpy()
    for same in (csi.conj().conj(), held.astype(">c16"), held.astype(np.clongdouble), held.tolist(), csi.mT.mT,
                 (csi.to(torch.complex128) * 1e-300), (csi / csi.abs().max() * 1e-40)):  # fmt: skip
        torch.testing.assert_close(model.encode_channel(same), want, atol=2e-3, rtol=0)
    torch.testing.assert_close(model.encode_channel(csi.conj()), model.encode_channel(held.conj()))
    for odd in (None, "csi", held.astype(object).astype(str), torch.zeros(2, 0, 32, 64, dtype=torch.complex64)):
        with pytest.raises(InputError, match="CSI"):
            model.encode_channel(odd)


def test_a_map_that_is_there_many_times_is_encoded_once(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    model = uniair.build("tiny")
    env = batch_of(links).environment
    whole = model.encode_environment(env)
    copies = Environment(env.map[env.area].clone(), env.bs, env.ue, env.los, env.size, carrier=env.carrier)
    torch.testing.assert_close(model.encode_environment(copies), whole, atol=1e-5, rtol=0)
    assert len(copies.tensors().map) == len(env.map)


def test_bad_csi_is_refused_in_one_line(model: UniversalModel, links: Links) -> None:
    csi = batch_of(links).csi[:2].numpy()
    spoiled = csi.copy()
    spoiled[1, 3, 4] = np.nan
    for bad, says in (
        (spoiled, "NaN"),
        (csi.real, "complex"),
        (csi[:, :16], "shape"),
        (csi[0], "shape"),
        (np.zeros_like(csi), "zero"),
    ):
        with pytest.raises(InputError, match=says) as caught:
            model.encode_channel(bad)
        assert "\n" not in str(caught.value)


def test_bad_environments_are_refused_in_one_line(model: UniversalModel) -> None:
    good = {"map": np.zeros((1, 32, 32)), "bs": [[5, 5, 6.0]], "ue": [[9, 9, 1.5]], "los": [1], "size": [50.0]}
    model.encode_environment(Environment(**good))
    for change, says in (
        ({"bs": [[5, 5]]}, "shape"),
        ({"ue": [[np.nan, 1, 1]]}, "NaN"),
        ({"ue": [[60, 1, 1.5]]}, "outside"),
        ({"los": [2]}, "los"),
        ({"size": [-1.0]}, "above 0"),
        ({"size": None}, "size"),
        ({"map": np.zeros((32, 32))}, "map"),
        ({"map": np.zeros((3, 32, 32))}, "maps"),
        ({"bs": ["a"]}, "numbers"),
    ):
        with pytest.raises(InputError, match=says) as caught:
            model.encode_environment(Environment(**(good | change)))
        assert "\n" not in str(caught.value)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(hnp.arrays(st.sampled_from([np.complex64, np.complex128, np.float32, np.int64]),
                  hnp.array_shapes(min_dims=0, max_dims=4, max_side=4)))  # fmt: skip
def test_random_arrays_never_crash_the_encoder(values: np.ndarray) -> None:
    with pytest.raises(InputError):
        uniair.build("tiny").encode_channel(values)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(hnp.arrays(np.float64, (2, 4, 4), elements=st.floats(-1, 1)), st.integers(-200, 200))
def test_any_finite_csi_gives_a_finite_unit_vector(corner: np.ndarray, exponent: int) -> None:
    torch.manual_seed(0)
    model = uniair.build("tiny")
    values = np.zeros((1, 32, 64), dtype=np.complex128)
    values[0, 3:7, 5:9] = (corner[0] + 1j * corner[1]) * 10.0**exponent
    try:
        z = model.encode_channel(values)
    except InputError:
        assert not values.any()
        return
    assert float(z.norm()) == pytest.approx(1.0, abs=1e-4)
