"""An attacker with one antenna: what it can send, and a waveform that is learned."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from uniair.errors import InputError
from uniair.evaluation.over_the_air import learned_waveform, random_waveform, received
from uniair.radio import OFDM, ULA, Radio

RADIO = Radio(ULA(8), OFDM(16, 720e3))


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of_one_path(cosine: float, delay: float = 1e-7) -> Tensor:
    steering = RADIO.array.response(torch.tensor([[cosine, (1 - cosine**2) ** 0.5, 0.0]], dtype=torch.float64))
    tones = RADIO.grid.response(torch.tensor([delay], dtype=torch.float64))
    return steering[:, :, None] * tones[:, None]


def test_of_one_path_the_array_sees_the_attackers_steering_vector_and_nothing_else() -> None:
    channel, waveform = of_one_path(0.3), random_waveform(16, drawn())
    seen = received(channel.expand(3, -1, -1), waveform, drawn())
    steering = RADIO.array.response(torch.tensor([[0.3, 0.91**0.5, 0.0]], dtype=torch.float64))[0]
    for one in seen:
        assert int(torch.linalg.matrix_rank(one, rtol=1e-4)) == 1
        along = steering.conj() @ one / 8
        torch.testing.assert_close(steering[:, None] * along, one, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(along.abs(), waveform.abs(), atol=1e-5, rtol=1e-4)
    two = received(channel + 0.5 * of_one_path(-0.6, 4e-7), waveform, drawn())[0]
    assert int(torch.linalg.matrix_rank(two, rtol=1e-4)) == 2  # no more than it has paths


def test_one_waveform_serves_for_all_links_up_to_their_phases() -> None:
    channel, waveform = of_one_path(0.3).expand(4, -1, -1), random_waveform(16, drawn())
    seen = received(channel, waveform, drawn())
    turn = seen[:, 0, 0] / seen[0, 0, 0]
    torch.testing.assert_close(turn.abs(), torch.ones(4))
    torch.testing.assert_close(seen, turn[:, None, None] * seen[:1], atol=1e-6, rtol=1e-5)
    assert turn.angle().std() > 0.1


def test_a_waveform_learns_the_tone_that_a_loss_listens_to() -> None:
    csi = of_one_path(-0.5).repeat(6, 1, 1)
    channel = of_one_path(0.3).expand(6, -1, -1)

    def loss(x: Tensor) -> Tensor:  # the power of subcarrier 5 beyond what is there, at most 1.28
        return (x - csi)[:, :, 5].abs().square().sum(1) / 10

    waveform = learned_waveform(loss, csi, channel, -10.0, 30, drawn())
    assert float(waveform.abs().square().sum()) == pytest.approx(1, abs=1e-4)
    assert float(waveform[5].abs()) > 0.99
    assert float(random_waveform(16, drawn(1))[5].abs()) < 0.9
    again = learned_waveform(loss, csi, channel, -10.0, 30, drawn())
    assert torch.equal(waveform, again)


def test_what_an_attacker_cannot_send_is_refused() -> None:
    channel = of_one_path(0.3)
    with pytest.raises(InputError, match="same subcarriers"):
        received(channel, random_waveform(12, drawn()), drawn())
    with pytest.raises(InputError, match="at least one"):
        learned_waveform(lambda x: x.real.sum((1, 2)), channel[:0], channel[:0], -10.0, 2, drawn())
    with pytest.raises(InputError, match="power is NaN"):
        learned_waveform(lambda x: x.real.sum((1, 2)), channel, channel, float("nan"), 2, drawn())
