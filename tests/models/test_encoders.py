from __future__ import annotations

import pytest
import torch
from torch import Tensor

import uniair
from uniair.errors import InputError
from uniair.models.encoders import (
    BeamIndex,
    BeamPower,
    Camera,
    Channel,
    Encoder,
    Lidar,
    Position,
    PretrainedCamera,
    Radar,
)
from uniair.radio import Radio

N, T, WIDTH = 2, 3, 32


def example(name: str) -> tuple[Encoder, Tensor]:
    torch.manual_seed(0)
    cube, image = (8, 16, 8), (32, 48)
    return {
        "power": (BeamPower(16, WIDTH), 10 * torch.log10(torch.rand(N, T, 16) + 0.01)),
        "position": (Position(WIDTH), 10 * torch.randn(N, T, 4)),
        "camera": (Camera(WIDTH, image), torch.rand(N, T, 3, *image)),
        "lidar": (Lidar(WIDTH), 20 * torch.randn(N, T, 50, 3)),
        "radar": (Radar(WIDTH, cube), 10 * torch.rand(N, T, *cube)),
        "csi": (Channel(WIDTH, uniair.build("tiny"), Radio()), torch.randn(N, T, 32, 64, dtype=torch.complex64)),
    }[name]


@pytest.mark.parametrize("name", ["power", "position", "camera", "lidar", "radar", "csi"])
def test_a_missing_step_gives_the_learned_token_and_the_others_are_untouched(name: str) -> None:
    encoder, values = example(name)
    whole = encoder(values)
    assert whole.shape == (N, T, WIDTH)
    values[1, 2] = torch.nan
    gone = encoder(values)
    torch.testing.assert_close(gone[1, 2], encoder.missing)
    torch.testing.assert_close(gone[0], whole[0])
    gone.sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in encoder.parameters())
    assert encoder.missing.grad is not None


def test_beam_index_tells_the_move_from_the_beam_before() -> None:
    encoder = BeamIndex(16, WIDTH, by_beam=False)
    tokens = encoder(torch.tensor([[[5, 3], [9, 7], [9, -1], [-1, 4]]]))[0]
    torch.testing.assert_close(tokens[0], tokens[1])  # two beams on
    assert not torch.allclose(tokens[1], tokens[2])
    torch.testing.assert_close(tokens[3], encoder.missing)


def test_beam_power_does_not_depend_on_its_unit() -> None:
    encoder, values = example("power")
    torch.testing.assert_close(encoder(values), encoder(values + 40), atol=1e-4, rtol=1e-4)


def test_the_frozen_tower_is_neither_trained_nor_saved() -> None:
    encoder, values = example("csi")
    assert {name.split(".")[0] for name in encoder.state_dict()} == {"missing", "out"}
    torch.testing.assert_close(encoder(values), encoder(5j * values), atol=1e-4, rtol=1e-3)


def test_points_come_in_any_order() -> None:
    encoder, values = example("lidar")
    torch.testing.assert_close(encoder(values), encoder(values.flip(2)))


def test_camera_frames_must_divide_into_patches() -> None:
    with pytest.raises(InputError, match="give multiples of 16"):
        Camera(WIDTH, (30, 48))


def test_an_unknown_vision_model_is_one_clear_line(tmp_path: object) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match="vision model"):
        PretrainedCamera(WIDTH, f"{tmp_path}/nothing")


def test_a_place_that_is_not_known_is_missing_whatever_its_move() -> None:
    encoder = Position(16)
    steps = torch.tensor([[[1.0, 20, 0, 0], [torch.nan, torch.nan, 0, 0], [2.0, torch.nan, 1, 0]]])
    tokens = encoder(steps)
    assert torch.isfinite(tokens).all()
    assert torch.equal(tokens[0, 1], encoder.missing)
    assert torch.equal(tokens[0, 2], encoder.missing)
    assert not torch.equal(tokens[0, 0], encoder.missing)
