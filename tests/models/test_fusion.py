"""Fusion of several BSs: what it may and may not depend on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from uniair.models.fusion import Attention, Concatenation, MultiStationViT
from uniair.models.presets import preset

STATIONS = torch.tensor([[10.0, 20.0, 6.0], [80.0, 30.0, 6.0], [50.0, 90.0, 8.0]])
PRESENT = torch.tensor([[True, True, True], [True, False, True], [False, True, False]])


def embeddings(draw: int = 0) -> Tensor:
    return torch.randn(3, 3, 16, generator=torch.Generator().manual_seed(draw))


@pytest.fixture(params=["concatenation", "attention"])
def network(request: pytest.FixtureRequest) -> Concatenation | Attention:
    torch.manual_seed(0)
    made = Concatenation(3, 16) if request.param == "concatenation" else Attention(16)
    made.standardise(embeddings(1), PRESENT, 50 * torch.rand(3, 2))
    return made.eval()


def test_what_is_missing_is_not_read(network: Concatenation | Attention) -> None:
    z = embeddings()
    with torch.inference_mode():
        one = network(z, PRESENT, STATIONS)
        assert torch.equal(one, network(z.masked_fill(~PRESENT[..., None], 1e6), PRESENT, STATIONS))
        fewer = network(z, PRESENT & torch.tensor([True, True, False]), STATIONS) if PRESENT[2, 1] else one
        assert not torch.allclose(one[0], fewer[0])  # what is there, is


def test_attention_knows_no_order_and_any_number_of_stations() -> None:
    torch.manual_seed(0)
    network, z = Attention(16).eval(), embeddings()
    order = torch.tensor([2, 0, 1])
    with torch.inference_mode():
        one = network(z, PRESENT, STATIONS)
        torch.testing.assert_close(network(z[:, order], PRESENT[:, order], STATIONS[order]), one)
        torch.testing.assert_close(network(z[2:, 1:2], PRESENT[2:, 1:2], STATIONS[1:2]), one[2:])  # one BS is there
        more = network(
            torch.cat([z, z[:, :1]], 1), torch.cat([PRESENT, PRESENT[:, :1]], 1), torch.cat([STATIONS, STATIONS[:1]])
        )
        assert more.shape == (3, 2)
        moved = network(z, PRESENT, STATIONS + torch.tensor([30.0, 0.0, 0.0]))
        assert not torch.allclose(moved, one)  # where a BS stands counts


def test_a_missing_station_starts_as_its_mean() -> None:
    torch.manual_seed(0)
    network, z = Concatenation(3, 16), embeddings()
    everywhere = torch.ones(3, 3, dtype=torch.bool)
    network.standardise(z, everywhere, torch.rand(3, 2))
    with torch.inference_mode():
        alone = torch.tensor([[True, False, False]]).expand(3, -1)
        mean = torch.cat([z[:, :1], z[:, 1:].mean(0).expand(3, -1, -1)], 1)
        torch.testing.assert_close(network(z, alone, STATIONS), network(mean, everywhere, STATIONS))


def test_the_vision_transformer_reads_only_channels_that_are_there() -> None:
    torch.manual_seed(0)
    network = MultiStationViT(preset("tiny"), 3).eval()
    csi = torch.randn(3, 3, 32, 64, dtype=torch.complex64)
    with torch.inference_mode():
        one = network(csi, PRESENT, STATIONS)
        assert torch.equal(one, network(csi.masked_fill(~PRESENT[..., None, None], torch.nan), PRESENT, STATIONS))
    assert one.shape == (3, 2)
    assert torch.isfinite(one).all()


def test_light_networks_are_light() -> None:
    def count(network: torch.nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    assert count(Concatenation(3, 128)) == 3 * 128 * 64 + 64 + 64 * 32 + 32 + 32 * 2 + 2 + 3 * 128
    assert count(Attention(128)) < 0.01 * 7_117_312
