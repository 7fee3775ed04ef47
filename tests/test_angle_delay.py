"""Matched filters: a path has one place and amplitude on every radio, and what is written is what a radio measures."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from uniair.angle_delay import REACH, TYPICAL, CellPaths, arrival, delayed, filters, frequency, respond, see, write
from uniair.errors import InputError
from uniair.radio import OFDM, SPEED_OF_LIGHT, ULA, UPA, Antennas, Array, Radio, Subcarriers

RADIOS = {
    "paper 1's": Radio(),
    "16 antennas": Radio(ULA(16)),
    "64 antennas": Radio(ULA(64)),
    "0.7 λ": Radio(ULA(32, 0.7)),
    "240 kHz": Radio(grid=OFDM(64, 240e3)),
    "184 MHz": Radio(grid=OFDM(256)),
    "panel": Radio(UPA(4, 16)),
    "a half of the antennas": Radio(Array([[0.5 * n, 0, 0] for n in range(32) if n % 3])),
    "beams": Radio(ULA(32, codebook=ULA(32).dft_codebook().numpy())),
    "some subcarriers": Radio(grid=Subcarriers([720e3 * k for k in range(64) if k % 5])),
}


def plane_wave(radio: Radio, cosine: float, delay: float, up: float = 0.0) -> torch.Tensor:
    """The CSI of one path: complex64 [1, ports, subcarriers]."""
    direction = torch.tensor([[cosine, math.sqrt(1 - cosine**2 - up**2), up]], dtype=torch.float64)
    tones = radio.grid.response(torch.tensor([delay], dtype=torch.float64))
    return radio.array.response(direction)[:, :, None] * tones[:, None]


@pytest.mark.parametrize("name", RADIOS)
def test_a_path_has_its_place_and_amplitude_on_every_radio(name: str) -> None:
    radio, beam, delay = RADIOS[name], 5, 11
    seen = see(0.3j * plane_wave(radio, beam / 16, delay * REACH / 64), radio, 32, 64)
    strongest = int(seen.response[0].abs().argmax())
    assert divmod(strongest, 64) == (16 + beam, delay)
    peak = seen.response[0, 16 + beam, delay]
    assert float(peak.real) == pytest.approx(math.sqrt(32 * 64), rel=1e-3)
    assert float(peak.imag) == pytest.approx(0, abs=1e-2)
    assert float(seen.csi.abs().square().mean()) == pytest.approx(1, rel=1e-4)


def test_on_paper_1_s_radio_it_is_the_unitary_fourier_transform() -> None:
    csi = torch.randn(3, 32, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    n, k = np.arange(32) - 15.5, np.arange(64) - 31.5
    across = np.exp(2j * np.pi / 32 * np.outer(np.arange(32) - 16, n)) / math.sqrt(32)
    along = np.exp(2j * np.pi / 64 * np.outer(k, np.arange(64))) / 8
    seen = see(csi, Radio(), 32, 64)
    expected = across @ seen.csi.numpy() @ along
    np.testing.assert_allclose(seen.response.numpy(), expected, atol=2e-5)
    torch.testing.assert_close(frequency(seen.response), seen.csi, atol=2e-5, rtol=0)
    torch.testing.assert_close(respond(seen.csi), seen.response, atol=2e-5, rtol=0)


def test_normalisation_is_idempotent_and_takes_power_and_phase_out() -> None:
    csi = torch.randn(4, 32, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    once = see(csi, Radio(), 32, 64).csi
    torch.testing.assert_close(see(once, Radio(), 32, 64).csi, once, atol=1e-4, rtol=0)
    turned = csi * torch.polar(torch.tensor([1e-9, 1e6, 2.0, 1.0]), torch.arange(4.0))[:, None, None]
    torch.testing.assert_close(see(turned, Radio(), 32, 64).csi, once, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("radio", "off"), [(Radio(ULA(128)), (0.5, 0.0)), (Radio(grid=OFDM(256)), (0.0, 0.5))])
def test_a_taper_keeps_a_path_between_cells_from_falling_through(radio: Radio, off: tuple[float, float]) -> None:
    on, between = (
        see(plane_wave(radio, (5 + beam) / 16, (11 + delay) * REACH / 64), radio, 32, 64).response.abs().amax()
        for beam, delay in ((0.0, 0.0), off)
    )
    assert float(on / between) < 1.6  # as on paper 1's radio, π/2; without weights there is a null


@pytest.mark.parametrize("up", [-0.7, -0.2, 0.0, 0.4])
def test_a_panel_takes_in_whatever_elevation_is_strongest(up: float) -> None:
    radio = Radio(UPA(8, 16))
    noise = torch.randn(1, 128, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    seen = see(plane_wave(radio, 0.25, 11 * REACH / 64, up) + noise, radio, 32, 64)
    assert divmod(int(seen.response[0].abs().argmax()), 64) == (20, 11)


@pytest.mark.parametrize("name", RADIOS)
def test_what_is_written_is_what_the_radio_measures(name: str) -> None:
    radio, rng = RADIOS[name], np.random.default_rng(0)
    beam, delay = rng.uniform(-15, 15, 6), rng.uniform(0, 50, 6)
    gain = (rng.standard_normal(6) + 1j * rng.standard_normal(6)).astype(np.complex64)
    paths = CellPaths(*(torch.from_numpy(v)[None] for v in (beam.astype(np.float32), delay.astype(np.float32), gain)),
                      (32, 64))  # fmt: skip
    centre, middle = radio.array.centre, radio.grid.frequencies.mean()
    expected = 0
    for u, t, g in zip(beam / 16, delay * REACH / 64, gain, strict=True):
        at = np.array([u, math.sqrt(1 - u * u), 0])
        reference = np.exp(2j * np.pi * (centre @ at + middle * t))
        expected = expected + g * reference * plane_wave(radio, u, t).numpy()
    np.testing.assert_allclose(write(paths, radio).numpy(), expected, atol=2e-3)


def test_paths_seen_by_one_radio_are_written_for_another() -> None:
    """Gains move with the middle of array and band, and with the pattern: one channel, two radios."""
    rng = np.random.default_rng(1)
    beam, delay = rng.uniform(-12, 12, 5), rng.uniform(0, 50, 5)
    a, b = Radio(), Radio(ULA(64, pattern="tr38901"), OFDM(64, 720e3, 46.08e6))
    gains = rng.standard_normal(5) + 1j * rng.standard_normal(5)
    both = []
    for radio in (a, b):
        both.append(
            sum(g * plane_wave(radio, u / 16, t * REACH / 64) for g, u, t in zip(gains, beam, delay, strict=True))
        )
    turn = [
        np.exp(-2j * np.pi * (a.array.centre[0] * u / 16 + a.grid.frequencies.mean() * t * REACH / 64))
        for u, t in zip(beam, delay, strict=True)
    ]
    paths = CellPaths(
        torch.tensor(beam[None], dtype=torch.float32), torch.tensor(delay[None], dtype=torch.float32),
        torch.tensor((gains * turn)[None], dtype=torch.complex64), (32, 64),
    )  # fmt: skip
    torch.testing.assert_close(write(paths, a), both[0], atol=2e-3, rtol=0)
    torch.testing.assert_close(write(paths, b, seen_by=a), both[1], atol=2e-2, rtol=1e-3)


@pytest.mark.parametrize("seen", ["dual", "slanted"])
@pytest.mark.parametrize("written", ["vertical", "horizontal", "dual", "slanted"])
def test_two_polarisations_tell_every_other(seen: str, written: str) -> None:
    """An element at an angle s takes in cos s of the vertical and sin s of the horizontal field, whoever saw them."""
    draw = torch.Generator().manual_seed(0)
    field = torch.randn(2, 3, 2, dtype=torch.complex64, generator=draw)
    a, b = (Radio(ULA(8, polarisation=name)) for name in (seen, written))

    def gains(radio: Radio) -> tuple[torch.Tensor, ...]:
        return tuple(math.cos(s) * field[..., 0] + math.sin(s) * field[..., 1] for s in radio.array.slants)

    place = (torch.rand(2, 3, generator=draw) * 20 - 10, torch.rand(2, 3, generator=draw) * 40)
    read, wanted = (CellPaths(*place, given[0], (32, 64), given[-1]) for given in (gains(a), gains(b)))
    torch.testing.assert_close(write(read, b, seen_by=a), write(wanted, b), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("grid", [OFDM(64, 720e3), OFDM(48, 240e3), Subcarriers(720e3 * np.arange(64))])
@pytest.mark.parametrize("late", [-4e-8, 0.0, 2.5e-7])
def test_the_first_path_arrives_when_it_does(grid: OFDM | Subcarriers, late: float) -> None:
    radio = Radio(grid=grid)
    csi = plane_wave(radio, 0.3, late) + 1.5j * plane_wave(radio, -0.5, late + 2.2e-7)
    step = 1 / (grid.bandwidth * 8)
    assert float(arrival(csi, radio)) == pytest.approx(late, abs=2 * step)
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(50, 32, grid.subcarriers, dtype=torch.complex64, generator=draw) * 1.8 * 10 ** (5 / 20)
    off = arrival(csi + noise, radio) - float(arrival(csi, radio))
    assert float((off.abs() < max(1e-8, 1.5 * step)).float().mean()) >= 0.95  # at −5 dB


def test_a_clock_at_the_first_path_is_set_by_the_distance() -> None:
    radio = Radio(clock="first_path")
    csi = plane_wave(radio, 0.3, 1e-8) + 0.5 * plane_wave(radio, -0.5, 1.9e-7)
    for distance, length in ((None, TYPICAL), (torch.tensor([130.0]), 130.0)):
        seen = see(csi, radio, 32, 64, distance)
        place = divmod(int(seen.response[0].abs().argmax()), 64)[1]
        assert place == round(length / SPEED_OF_LIGHT * 64 / REACH)
    # told that the clock is absolute, the delays are left alone
    absolute = see(csi, replace(radio, clock="absolute"), 32, 64)
    assert divmod(int(absolute.response[0].abs().argmax()), 64)[1] == 0


def test_later_is_later() -> None:
    radio = Radio(grid=OFDM(64, 720e3, 1e8))
    csi, later = plane_wave(radio, 0.1, 1e-7), plane_wave(radio, 0.1, 2e-7)
    ratio = (delayed(csi, radio, torch.tensor([1e-7])) / later)[0]
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio), atol=1e-3, rtol=0)  # up to the common phase


@pytest.mark.parametrize("turn", [10.0, -25.0])
def test_elements_on_a_slanted_line_take_paths_to_run_level(turn: float) -> None:
    n, angle = 0.5 * np.arange(32), np.deg2rad(turn)
    radio = Radio(Array(np.column_stack([n * np.cos(angle), 0 * n, n * np.sin(angle)])))
    assert filters(radio, 32, 64).beams.shape == (1, 32, 32)
    seen = see(plane_wave(radio, 5 / 16, 11 * REACH / 64), radio, 32, 64)
    assert divmod(int(seen.response[0].abs().argmax()), 64) == (21, 11)


@pytest.mark.parametrize("side", [1, -1])
def test_elements_in_depth_see_behind_them(side: int) -> None:
    angle = 2 * np.pi * np.arange(16) / 16
    radio = Radio(Array(np.column_stack([1.3 * np.cos(angle), 1.3 * np.sin(angle), 0 * angle])))
    direction = torch.tensor([[0.5, side * math.sqrt(0.75), 0]], dtype=torch.float64)
    csi = radio.array.response(direction)[:, :, None] * radio.grid.response(torch.tensor([2e-7]).double())[:, None]
    assert divmod(int(see(csi, radio, 32, 64).response[0].abs().argmax()), 64)[0] == 24


def test_the_band_beside_may_be_said_by_the_carrier() -> None:
    paths = CellPaths(torch.tensor([[3.0, -4.0]]), torch.tensor([[5.0, 20.0]]), torch.ones(1, 2, dtype=torch.complex64),
                      (32, 64))  # fmt: skip
    own = Radio(carrier=3.5e9)
    by_grid, by_carrier = Radio(grid=OFDM(64, 720e3, 1e8), carrier=3.5e9), Radio(carrier=3.6e9)
    torch.testing.assert_close(write(paths, by_grid, own), write(paths, by_carrier, own), atol=1e-4, rtol=0)


def test_filters_made_while_answering_may_be_trained_with() -> None:
    radio = Radio(ULA(13))
    with torch.inference_mode():
        filters(radio, 32, 64)
    z = torch.ones(1, 13, 64, dtype=torch.complex64, requires_grad=True)
    see(z, radio, 32, 64).response.abs().sum().backward()
    assert z.grad is not None


@pytest.mark.parametrize("array", [Array([[0, 0, 0], [0, 0, 0.5], [0, 0, 1.0]]), UPA(8, 1),
                                   Array([[1e-16 * n, 0, 0.5 * n] for n in range(8)])])  # fmt: skip
def test_an_array_that_sees_no_direction_along_x_is_refused(array: Antennas) -> None:
    with pytest.raises(InputError, match="no extent along x"):
        filters(Radio(array), 32, 64)


def test_a_path_exactly_along_the_array_has_a_slope() -> None:
    """One such among millions would make all weights NaN."""
    beam = torch.tensor([[-16.0, 16.0, 0.0]], requires_grad=True)
    up = torch.zeros(1, 3, requires_grad=True)
    gain = torch.ones(1, 3, dtype=torch.complex64)
    paths = CellPaths(beam, torch.ones(1, 3), gain, (32, 64), up=up)
    for radio in (Radio(), Radio(UPA(4, 4))):
        write(paths, radio).abs().square().sum().backward()
    assert beam.grad is not None
    assert up.grad is not None
    assert torch.isfinite(beam.grad).all()
    assert torch.isfinite(up.grad).all()
