"""CSI synthesis against the formula, closed forms, and the bookkeeping of ragged paths."""

from __future__ import annotations

import cmath
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uniair.errors import InputError
from uniair.propagation.paths import Paths, free_space_gain
from uniair.radio import OFDM, SPEED_OF_LIGHT, ULA, UPA, Antennas, Radio, Subcarriers


def random_paths(seed: int, counts: tuple[int, ...], longest: float = 2e-6) -> Paths:
    rng = np.random.default_rng(seed)
    total = sum(counts)
    return Paths.from_rows(
        len(counts),
        rng.permutation(np.repeat(np.arange(len(counts)), counts)),
        gain=(rng.normal(size=total) + 1j * rng.normal(size=total)) * 10.0 ** rng.uniform(-6, -3, total),
        delay=rng.uniform(1e-8, longest, total),
        aod_azimuth=rng.uniform(-np.pi, np.pi, total),
        aod_zenith=rng.uniform(0, np.pi, total),
        aoa_azimuth=rng.uniform(-np.pi, np.pi, total),
        aoa_zenith=rng.uniform(0, np.pi, total),
        interactions=rng.integers(0, 333, total),
    )


def single(gain: complex = 1.0, delay: float = 0.0, azimuth: float = np.pi / 2, zenith: float = np.pi / 2) -> Paths:
    one = {"gain": gain, "delay": delay, "aod_azimuth": azimuth, "aod_zenith": zenith}
    rest = {"aoa_azimuth": 0.0, "aoa_zenith": np.pi / 2, "interactions": 0}
    return Paths.from_rows(1, np.array([0]), **{k: np.array([v]) for k, v in (one | rest).items()})


def rows(paths: Paths, link: int) -> dict[str, list[float]]:
    part = slice(paths.offsets[link], paths.offsets[link + 1])
    return {name: getattr(paths, name)[part].tolist() for name in Paths.PER_PATH}


def by_the_formula(
    paths: Paths, bearing: NDArray[np.float64], antennas: int, tones: int, df: float
) -> NDArray[np.complex128]:
    """Σ_l a_l e^{−j2π k Δf τ_l} e^{−jπ n sinϑ_l cos(φ_l − bearing)}, term by term in double precision."""
    out = np.zeros((len(paths), antennas, tones), dtype=np.complex128)
    for i in range(len(paths)):
        for path in range(paths.offsets[i], paths.offsets[i + 1]):
            gain, delay = complex(paths.gain[path]), float(paths.delay[path])
            sine = math.sin(float(paths.aod_zenith[path])) * math.cos(float(paths.aod_azimuth[path]) - bearing[i])
            for n in range(antennas):
                for k in range(tones):
                    out[i, n, k] += (
                        gain * cmath.exp(-2j * math.pi * k * df * delay) * cmath.exp(-1j * math.pi * n * sine)
                    )
    return out


@pytest.mark.parametrize(("antennas", "tones", "df"), [(32, 64, 720e3), (5, 7, 120e3), (2, 2, 1e6)])
def test_csi_equals_the_sum_over_paths(antennas: int, tones: int, df: float) -> None:
    paths = random_paths(0, (4, 0, 1, 3))
    bearing = np.array([0.0, 1.0, -2.0, 0.4])
    csi = paths.csi(Radio(ULA(antennas), OFDM(tones, df)), bearing).numpy()
    expected = by_the_formula(paths, bearing, antennas, tones, df)
    assert csi.dtype == np.complex64
    assert csi.shape == (4, antennas, tones)
    assert (csi[1] == 0).all()
    for have, want in zip(csi[[0, 2, 3]], expected[[0, 2, 3]], strict=True):
        assert np.linalg.norm(have - want) <= 1e-5 * np.linalg.norm(want)
        assert np.abs(have - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("array", [UPA(3, 4, 0.7, 0.4), ULA(6, pattern="tr38901"), ULA(4, codebook=np.eye(4)[:2])])
def test_any_radio_sees_the_sum_over_paths(array: Antennas) -> None:
    paths, bearing = random_paths(0, (4, 0, 1, 3)), np.array([0.0, 1.0, -2.0, 0.4])
    radio = Radio(array, Subcarriers([-1e6, 0, 3e6]), clock="first_path")
    csi = paths.csi(radio, bearing)
    assert csi.shape == (4, *radio.shape)
    first = paths.first_delay()
    for i in (0, 2, 3):
        expected = 0
        for path in range(paths.offsets[i], paths.offsets[i + 1]):
            zenith, azimuth = float(paths.aod_zenith[path]), float(paths.aod_azimuth[path]) - bearing[i]
            towards = [math.sin(zenith) * math.cos(azimuth), math.sin(zenith) * math.sin(azimuth), math.cos(zenith)]
            steering = array.response(torch.tensor([towards], dtype=torch.float64))[0].numpy()
            tones = np.exp(-2j * np.pi * radio.grid.frequencies * float(paths.delay[path] - first[i]))
            expected = expected + paths.gain[path] * steering[:, None] * tones
        np.testing.assert_allclose(csi[i].numpy(), expected, atol=1e-5 * np.abs(expected).max())


def test_defaults_are_paper_1s_grid() -> None:
    assert random_paths(1, (2,)).csi().shape == (1, 32, 64)
    assert OFDM().bandwidth == pytest.approx(46.08e6)


def test_no_links_and_no_paths() -> None:
    assert random_paths(0, ()).csi().shape == (0, 32, 64)
    silent = random_paths(0, (0, 0))
    assert (silent.csi() == 0).all()
    assert silent.power().tolist() == [0.0, 0.0]
    assert silent.los().tolist() == [False, False]


@pytest.mark.parametrize("distance", [1.0, 37.0, 400.0])
def test_free_space_channel_is_friis_on_every_antenna_and_tone(distance: float) -> None:
    gain = free_space_gain(distance, 28e9)
    csi = single(gain, distance / SPEED_OF_LIGHT).csi().numpy()[0]
    assert abs(gain) == pytest.approx(SPEED_OF_LIGHT / 28e9 / (4 * math.pi * distance))
    assert cmath.phase(gain * cmath.exp(2j * math.pi * 28e9 * distance / SPEED_OF_LIGHT)) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(np.abs(csi), abs(gain), rtol=1e-5)
    # broadside: all antennas alike
    np.testing.assert_allclose(csi, np.broadcast_to(csi[:1], csi.shape), rtol=1e-4)


@pytest.mark.parametrize("delay", [0.0, 1e-7, 6.5e-7])
def test_the_phase_falls_by_2_pi_df_tau_from_tone_to_tone(delay: float) -> None:
    csi = single(delay=delay).csi().numpy()[0].astype(np.complex128)
    steps = np.angle(csi[:, 1:] / csi[:, :-1])
    np.testing.assert_allclose(steps, -2 * np.pi * 720e3 * delay, atol=2e-6)
    assert np.unwrap(np.angle(csi[0]))[-1] - np.angle(csi[0, 0]) == pytest.approx(
        -2 * np.pi * 63 * 720e3 * delay, abs=1e-5
    )


@pytest.mark.parametrize(("azimuth", "zenith"), [(0.0, np.pi / 2), (2.0, 1.2), (-1.0, 2.5), (1.0, 0.0)])
def test_the_phase_falls_by_pi_times_the_direction_cosine_from_antenna_to_antenna(
    azimuth: float, zenith: float
) -> None:
    csi = single(azimuth=azimuth, zenith=zenith).csi().numpy()[0].astype(np.complex128)
    expected = np.exp(-1j * np.pi * math.sin(zenith) * math.cos(azimuth))
    np.testing.assert_allclose(csi[1:] / csi[:-1], expected, atol=2e-6)


def test_a_bearing_turns_the_array() -> None:
    paths = random_paths(2, (3, 5))
    turned = replace(paths, aod_azimuth=(paths.aod_azimuth - np.float32(0.5)))
    torch.testing.assert_close(paths.csi(bearing=0.5), turned.csi(), rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(paths.csi(bearing=np.array([0.0, 0.5]))[0], paths.csi()[0])


def test_energy_of_orthogonal_paths_adds_up() -> None:
    # delays on the grid of 1/bandwidth and directions on the codebook: Parseval without cross terms
    gain = np.array([3e-4, 2e-4j, -1e-4])
    paths = Paths.from_rows(
        1,
        np.zeros(3, dtype=int),
        gain=gain,
        delay=np.array([2, 9, 30]) / OFDM().bandwidth,
        aod_azimuth=np.arccos([2 / 32, 10 / 32, -4 / 32]),
        aod_zenith=np.full(3, np.pi / 2),
        aoa_azimuth=np.zeros(3),
        aoa_zenith=np.zeros(3),
        interactions=np.zeros(3),
    )
    csi = paths.csi().numpy()[0].astype(np.complex128)
    assert np.mean(np.abs(csi) ** 2) == pytest.approx(paths.power()[0], rel=1e-5)
    assert paths.power()[0] == pytest.approx(14e-8, rel=1e-6)
    beams = np.fft.ifft(ULA().dft_codebook().numpy().conj() @ csi, axis=1, norm="ortho")
    assert np.sum(np.abs(beams) ** 2) == pytest.approx(np.sum(np.abs(csi) ** 2), rel=1e-5)
    strongest = {tuple(np.unravel_index(i, beams.shape)) for i in np.argsort(-np.abs(beams).ravel())[:3]}
    assert strongest == {(1, 2), (5, 9), (30, 30)}


@pytest.mark.parametrize("antennas", [4, 32])
def test_the_codebook_is_orthonormal_and_points_where_it_says(antennas: int) -> None:
    array = ULA(antennas)
    beams = array.dft_codebook().to(torch.complex128)
    torch.testing.assert_close(beams @ beams.conj().T, torch.eye(antennas, dtype=torch.complex128), atol=1e-6, rtol=0)
    sine = 2 * torch.arange(antennas, dtype=torch.float64) / antennas
    response = array.response(((sine + 1) % 2 - 1)[:, None]).to(torch.complex128)
    torch.testing.assert_close(
        (response @ beams.conj().T).abs(),
        math.sqrt(antennas) * torch.eye(antennas, dtype=torch.float64),
        atol=1e-5,
        rtol=0,
    )


def test_the_array_factor_is_a_dirichlet_kernel() -> None:
    array = ULA(16)
    sine = torch.linspace(-1, 1, 41, dtype=torch.float64)[1:-1]
    have = array.response(sine[:, None]).sum(-1).abs().to(torch.float64)
    half = np.pi * sine.numpy() / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        want = np.abs(np.where(np.abs(half) < 1e-12, 16.0, np.sin(16 * half) / np.sin(half)))
    np.testing.assert_allclose(have.numpy(), want, atol=1e-5)


def test_the_spacing_of_the_array_counts() -> None:
    sine = torch.tensor([0.3], dtype=torch.float64)
    expected = torch.exp(-2j * math.pi * 0.25 * 0.3 * torch.arange(8)).to(torch.complex64)
    torch.testing.assert_close(ULA(8, 0.25).response(sine[:, None])[0], expected)


@pytest.mark.parametrize("name", ["gain", "delay", "aod_azimuth", "aod_zenith"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_csi_of_nan_is_refused(name: str, value: float) -> None:
    paths = random_paths(0, (2,))
    broken = getattr(paths, name).copy()
    broken[1] = value
    with pytest.raises(InputError, match=f"paths: {name} holds NaN"):
        replace(paths, **{name: broken}).csi()


def test_from_rows_sorts_by_link_and_falling_power() -> None:
    paths = random_paths(3, (5, 0, 2, 7))
    assert paths.counts.tolist() == [5, 0, 2, 7]
    assert paths.link_of_path.tolist() == [0] * 5 + [2] * 2 + [3] * 7
    for link in range(len(paths)):
        power = np.abs(rows(paths, link)["gain"])
        assert (np.diff(power) <= 0).all()
    assert paths.gain.dtype == np.complex64
    assert paths.delay.dtype == np.float32
    assert paths.interactions.dtype == np.int32
    np.testing.assert_allclose(paths.power()[2], sum(abs(g) ** 2 for g in rows(paths, 2)["gain"]), rtol=1e-6)


def test_from_rows_keeps_a_path_together_and_breaks_ties_by_delay() -> None:
    values = {name: np.array([1.0, 2.0, 3.0]) for name in Paths.PER_PATH}
    values["gain"] = np.array([1.0, -2.0, 1j])
    values["delay"] = np.array([3.0, 2.0, 1.0])
    paths = Paths.from_rows(1, np.zeros(3, dtype=int), **values)
    assert paths.delay.tolist() == [2.0, 1.0, 3.0]
    assert paths.aoa_zenith.tolist() == [2.0, 3.0, 1.0]
    assert paths.interactions.tolist() == [2, 3, 1]


def test_los_is_the_path_without_interaction() -> None:
    paths = replace(random_paths(0, (2, 3, 0)), interactions=np.array([1, 21, 1, 0, 2], dtype=np.int32))
    assert paths.los().tolist() == [False, True, False]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=6), data=st.data())
def test_selected_links_keep_their_paths(counts: list[int], data: st.DataObject) -> None:
    paths = random_paths(1, tuple(counts))
    index = data.draw(st.lists(st.integers(-len(counts), len(counts) - 1), max_size=8))
    picked = paths.select(np.array(index, dtype=np.int64))
    assert len(picked) == len(index)
    for i, link in enumerate(index):
        assert rows(picked, i) == rows(paths, link % len(counts))


def test_selection_by_mask_and_beyond_the_end() -> None:
    paths = random_paths(1, (2, 3, 1))
    masked, indexed = paths.select(np.array([True, False, True])), paths.select(np.array([0, 2]))
    assert [rows(masked, i) for i in range(2)] == [rows(indexed, i) for i in range(2)]
    for wrong in (np.array([3]), np.array([True, False])):
        with pytest.raises(IndexError):
            paths.select(wrong)


@pytest.mark.parametrize("most", [0, 1, 3, 99])
def test_strongest_keeps_the_first_of_each_link(most: int) -> None:
    paths = random_paths(4, (5, 0, 2))
    few = paths.strongest(most)
    assert few.counts.tolist() == [min(c, most) for c in (5, 0, 2)]
    for link in range(3):
        assert rows(few, link) == {name: values[:most] for name, values in rows(paths, link).items()}


def test_concatenate_undoes_select() -> None:
    paths = random_paths(5, (3, 0, 2, 4))
    parts = [paths.select(np.array([0, 1])), paths.select(np.array([2])), paths.select(np.array([3]))]
    joined = Paths.concatenate(parts)
    assert joined.offsets.tolist() == paths.offsets.tolist()
    for name in Paths.PER_PATH:
        np.testing.assert_array_equal(getattr(joined, name), getattr(paths, name))


def polarised(seed: int = 3, counts: tuple[int, ...] = (3, 1, 4)) -> Paths:
    """Paths with any 2 × 2 transfer."""
    paths, rng = random_paths(seed, counts), np.random.default_rng(seed)
    cross = (rng.normal(size=(len(paths.gain), 3)) + 1j * rng.normal(size=(len(paths.gain), 3))) * 1e-4
    return replace(paths, cross=cross.astype(np.complex64))


def direct(azimuth: float, zenith: float) -> Paths:
    """A direct path: what leaves vertical arrives vertical, φ̂ at the user runs the other way (TR 38.901, 7.5-29)."""
    one = single(azimuth=azimuth, zenith=zenith)
    return replace(one, cross=np.array([[0, 0, -1]], dtype=np.complex64))


def test_two_ports_an_element_are_the_two_arrays_one_after_the_other() -> None:
    paths = polarised()

    def seen(polarisation: str) -> torch.Tensor:
        return paths.csi(Radio(array=UPA(2, 3, polarisation=polarisation)), bearing=0.4, downtilt=0.2)

    up, across = seen("vertical"), seen("horizontal")
    torch.testing.assert_close(seen("dual"), torch.cat([up, across], 1))
    slanted = torch.cat([(up + across), (up - across)], 1) / math.sqrt(2)
    torch.testing.assert_close(seen("slanted"), slanted, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("sent", "received", "gain"), [("slanted", "slanted", [[0, 1], [1, 0]]),
                                                        ("dual", "dual", [[1, 0], [0, -1]]),
                                                        ("horizontal", "dual", [[0], [-1]])])  # fmt: skip
def test_a_direct_path_between_polarisations(sent: str, received: str, gain: list[list[float]]) -> None:
    """cos(ζ_UE + ζ_BS): +45° and +45° face each other crossed."""
    radio = Radio(array=ULA(2, polarisation=sent), ue=ULA(1, polarisation=received))
    csi = direct(0.3, 1.2).csi(radio)[0].view(-1, radio.array.ports, 64)
    ports = csi[:, ::2, 0]  # element 0, of each of the BS's polarisations
    torch.testing.assert_close(ports.real, torch.tensor(gain, dtype=torch.float32), rtol=0, atol=1e-6)


def test_several_antennas_at_the_user_take_in_by_their_place() -> None:
    paths = polarised()
    one, three = Radio(array=ULA(4)), Radio(array=ULA(4), ue=ULA(3, 0.7))
    csi = paths.csi(three)
    assert tuple(csi.shape) == three.csi_shape(3) == (3, 3, 4, 64)
    torch.testing.assert_close(csi[:, 0], paths.csi(one), rtol=1e-5, atol=1e-9)
    single_path = paths.select(np.array([1]))
    along = math.sin(float(single_path.aoa_zenith[0])) * math.cos(float(single_path.aoa_azimuth[0]))
    turned = single_path.csi(one)[0] * cmath.exp(-2j * math.pi * 2 * 0.7 * along)
    torch.testing.assert_close(single_path.csi(three)[0, 2], turned.to(torch.complex64), rtol=1e-4, atol=1e-9)


@settings(deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(0.2, 2.9), st.floats(-1.2, 1.2))
def test_a_tilt_turns_polarisation_as_3gpp_says(azimuth: float, zenith: float, tilt: float) -> None:
    """TR 38.901, eqs. 7.1-7, 7.1-11 and 7.1-15, whose boresight is x where ours is y."""
    phi = azimuth - math.pi / 2
    psi = cmath.phase(complex(
        math.cos(tilt) * math.sin(zenith) - math.sin(tilt) * math.cos(zenith) * math.cos(phi),
        math.sin(tilt) * math.sin(phi),
    ))  # fmt: skip
    radio = Radio(array=UPA(2, 2), ue=ULA(1, polarisation="dual"))
    csi = direct(azimuth, zenith).csi(radio, downtilt=tilt)[0, :, :, 0]
    assert abs(csi[0, 0] - math.cos(psi)) < 1e-5
    assert abs(csi[1, 0] + math.sin(psi)) < 1e-5
    up = math.cos(phi) * math.sin(tilt) * math.sin(zenith) + math.cos(zenith) * math.cos(tilt)
    expected = cmath.exp(-1j * math.pi * up)
    assert abs(csi[0, 2] - math.cos(psi) * expected) < 1e-5  # the element above


def test_the_pattern_looks_down_with_the_tilt() -> None:
    """Towards where a tilted boresight points an element has its 8 dBi."""
    tilt = math.radians(10)
    below = single(azimuth=math.pi / 2, zenith=math.pi / 2 + tilt)
    radio = Radio(array=ULA(2, pattern="tr38901"))
    assert abs(abs(below.csi(radio, downtilt=tilt)[0, 0, 0]) - 10 ** (8 / 20)) < 1e-4
    assert abs(below.csi(radio)[0, 0, 0]) < 10 ** (7.8 / 20)


def test_other_polarisations_of_one_gain_a_path_are_refused() -> None:
    with pytest.raises(InputError, match="one gain each, between vertical antennas"):
        random_paths(1, (2, 2)).csi(Radio(array=ULA(4, polarisation="slanted")))


def test_polarisation_follows_the_paths() -> None:
    paths = polarised(counts=(3, 2, 4))
    assert paths.cross is not None
    strength = np.abs(paths.transfer).reshape(len(paths.gain), -1)
    loose = {name: getattr(paths, name) for name in Paths.PER_PATH}
    ordered = Paths.from_rows(3, paths.link_of_path, cross=paths.cross, **loose)
    for link in range(3):
        power = (np.abs(ordered.transfer[ordered.offsets[link] : ordered.offsets[link + 1]]) ** 2).sum((1, 2))
        assert (np.diff(power) <= 0).all()
    picked = paths.select(np.array([2, 0]))
    np.testing.assert_array_equal(np.abs(picked.transfer[:4]).reshape(4, -1), strength[5:])
    both = Paths.concatenate([picked, paths.strongest(2)])
    assert both.cross is not None
    assert len(both.cross) == len(both.gain)
    assert Paths.concatenate([picked, random_paths(1, (1,))]).cross is None
