from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import uniair
from uniair.edge.graphs import ChannelGraph, EnvironmentGraph, ForecastGraph, ReconstructionGraph
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.models.presets import PRESETS
from uniair.models.ray_launching import FEATURES, candidates
from uniair.models.universal import UniversalModel
from uniair.radio import OFDM, ULA, UPA, Array, Radio, Subcarriers

PAPER = replace(PRESETS["tiny"], csi_domain="frequency", attention="joint", positions="vector", line_window=(0, 0),
                rays=0, pool="class", name="like the paper's")  # fmt: skip


@pytest.fixture(scope="module", params=["tiny", "paper"])
def model(request: pytest.FixtureRequest) -> UniversalModel:
    torch.manual_seed(0)
    return uniair.build("tiny") if request.param == "tiny" else UniversalModel(PAPER).eval()


def gaussian(count: int) -> torch.Tensor:
    return torch.randn(count, 32, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(count))


@torch.no_grad()
def test_channel_of_any_power_and_phase(model: UniversalModel) -> None:
    csi = gaussian(5)
    turned = csi * torch.exp(1j * torch.arange(5.0))[:, None, None] * 1e-3
    planes = torch.stack([turned.real, turned.imag], dim=1)
    assert torch.allclose(ChannelGraph(model)(planes), model.encode_channel(csi), atol=1e-5)


@torch.no_grad()
def test_reconstruction(model: UniversalModel) -> None:
    z = torch.nn.functional.normalize(torch.randn(4, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    planes, whole = ReconstructionGraph(model)(z), model.reconstruct_channel(z)
    assert torch.allclose(torch.complex(planes[:, 0], planes[:, 1]), whole, atol=1e-4 * float(whole.abs().max()))


RADIOS = {
    "ULA of 16": Radio(ULA(16)),
    "UPA": Radio(UPA(4, 8), OFDM(100, 360e3)),
    "UPA of a wide spacing": Radio(UPA(8, 4, vertical=0.8, horizontal=0.6)),
    "a band beside": Radio(grid=OFDM(64, 720e3, 46.08e6)),
    "tones": Radio(grid=Subcarriers(1e6 * np.array([0, 1, 2, 5, 9, 11, 12, 20]))),
    "an arc": Radio(Array([[0.5 * n, 0.02 * (n - 8) ** 2, 0] for n in range(16)])),
    "beams": Radio(ULA(32, codebook=ULA(32).dft_codebook()[::2].numpy())),
    "a large array": Radio(ULA(96)),
}


@torch.no_grad()
@pytest.mark.parametrize("radio", RADIOS.values(), ids=RADIOS)
def test_graphs_of_any_radio(radio: Radio) -> None:
    torch.manual_seed(0)
    model, draw = uniair.build("tiny"), torch.Generator().manual_seed(1)
    direction = torch.nn.functional.normalize(torch.randn(6, 3, generator=draw, dtype=torch.float64), dim=1)
    csi = (
        radio.array.response(direction)[..., None]
        * radio.grid.response(torch.rand(6, generator=draw).double() * 1e-6)[:, None]
    )
    csi = csi + 0.1 * torch.randn(csi.shape, dtype=csi.dtype, generator=draw)
    z = model.encode_channel(csi, radio)
    planes = torch.stack([csi.real, csi.imag], dim=1)
    assert torch.allclose(ChannelGraph(model, radio)(planes), z, atol=2e-5)
    again, whole = ReconstructionGraph(model, radio)(z), model.reconstruct_channel(z, radio)
    assert torch.allclose(torch.complex(again[:, 0], again[:, 1]), whole, atol=1e-4 * float(whole.abs().max()))


def test_a_model_of_the_papers_domain_is_of_its_own_radio_alone() -> None:
    model = UniversalModel(PAPER).eval()
    for graph in (ChannelGraph, ReconstructionGraph):
        with pytest.raises(InputError, match="reads antennas and subcarriers"):
            graph(model, Radio(ULA(16)))
        graph(model, Radio(carrier=3.5e9))


@torch.no_grad()
@pytest.mark.parametrize("known", [(1, 1, 1, 1), (1, 1, 1, 0), (0, 1, 1, 1), (1, 1, 0, 1), (1, 0, 0, 1)])
def test_environment_with_parts_unknown(model: UniversalModel, known: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    occupancy = np.kron(rng.random((16, 16)) < 0.2, np.ones((16, 16))).astype(np.uint8)
    n = 7
    whole = {"map": occupancy[None], "bs": np.tile([60.0, 70.0, 8.0], (n, 1)), "los": np.arange(n) % 2,
             "ue": np.column_stack([rng.uniform(0, 150, (n, 2)), np.full(n, 1.5)])}  # fmt: skip
    env = Environment(
        **{
            k: v
            for (k, v), there in zip(((k, whole[k]) for k in ("map", "bs", "ue", "los")), known, strict=True)
            if there
        },
        size=np.full(n, 150.0),
    )
    features, owner = torch.zeros(0, FEATURES), torch.zeros(0, dtype=torch.int64)
    if all(known[:3]):
        found = candidates(env.tensors(), torch.ones(n, dtype=torch.bool))
        rows = [torch.nonzero(found.owner == of)[:, 0] for of in found.of]
        features, owner = (
            found.features()[torch.cat(rows)],
            torch.repeat_interleave(torch.tensor([len(r) for r in rows])),
        )
    said = EnvironmentGraph(model)(
        torch.from_numpy(occupancy).float(), *(torch.as_tensor(whole[k]).float() for k in ("bs", "ue", "los")),
        torch.full((n,), 150.0), torch.tensor([known] * n, dtype=torch.bool), features, owner,
    )  # fmt: skip
    assert torch.allclose(said, model.encode_environment(env), atol=1e-5)


def forecaster(*modalities: str, context: int = 5) -> WMLM:
    torch.manual_seed(0)
    model = WMLM(ForecastPreset(width=32, modalities=modalities, beams=16, context=context, past=1, image=(16, 32),
                                cube=(8, 8, 8))).eval()  # fmt: skip
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def measured(count: int, length: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    power = torch.rand(count, length, 16, generator=draw) + 0.01
    power[0, 0], power[-1, 2:4], power[0, 5, 3] = torch.nan, torch.nan, torch.nan
    lost = ~torch.isfinite(power).any(2)
    position = 20 * torch.randn(count, length, 4, generator=draw)
    position[0, 3] = torch.nan
    return {
        "power": power, "beam": power.nan_to_num(-1).argmax(2).masked_fill(lost, -1), "position": position,
        "camera": torch.rand(count, length, 3, 16, 32, generator=draw),
        "lidar": torch.randn(count, length, 9, 3, generator=draw),
        "radar": torch.randn(count, length, 8, 8, 8, generator=draw),
    }  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(
    "modalities", [("power", "beam"), ("position",), ("power", "position", "camera", "lidar", "radar")]
)
@pytest.mark.parametrize("context", [1, 5])
def test_forecast_of_a_window_and_step_by_step(modalities: tuple[str, ...], context: int) -> None:
    model = forecaster(*modalities, context=context)
    steps = {name: values for name, values in measured(3, 12).items() if name in modalities}
    graph, whole = ForecastGraph(model), model(steps)
    logits, power, los, *_ = graph(*graph.start(3).values(), *steps.values())
    for said, expected in ((logits, whole.logits), (power, whole.power), (los, whole.los)):
        assert torch.allclose(said, expected, atol=1e-4)
    state: tuple[torch.Tensor, ...] = tuple(graph.start(3).values())
    for t in range(12):
        said, _, _, *new = graph(*state, *(values[:, t : t + 1] for values in steps.values()))
        assert torch.allclose(said[:, 0], whole.logits[:, t], atol=1e-4), t
        assert [s.shape for s in new] == [s.shape for s in state]
        state = tuple(new)


def test_csi_is_refused() -> None:
    model = WMLM(ForecastPreset(width=32, modalities=("power", "csi")), uniair.build("tiny"))
    with pytest.raises(InputError, match="CSI"):
        ForecastGraph(model)
