from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import uniair
from uniair.edge.graphs import ChannelGraph, EnvironmentGraph, ForecastGraph, ReconstructionGraph
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.epnn import UNKNOWN
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.models.presets import PRESETS, Preset
from uniair.models.ray_launching import FEATURES, FEATURES_3D, candidates
from uniair.models.universal import UniversalModel, mean_gain
from uniair.radio import OFDM, ULA, UPA, Array, Radio, Subcarriers

PAPER = replace(PRESETS["tiny"], csi_domain="frequency", attention="joint", positions="vector", line_window=(0, 0),
                rays=0, pool="class", name="like the paper's")  # fmt: skip


def any_radio(preset: Preset = PRESETS["tiny"]) -> UniversalModel:
    """Towers for any radio whose parameters are drawn anew a little: else new inputs would count for nothing."""
    torch.manual_seed(0)
    model = UniversalModel(replace(preset, radios="any")).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.02 * torch.randn_like(value))
    return model


@pytest.fixture(scope="module", params=["tiny", "paper", "any", "any like the paper's"])
def model(request: pytest.FixtureRequest) -> UniversalModel:
    torch.manual_seed(0)
    if request.param.startswith("any"):
        return any_radio(PRESETS["tiny"] if request.param == "any" else PAPER)
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
    "slanted panel": Radio(UPA(2, 4, polarisation="slanted"), OFDM(24, 360e3), 3.5e9),
    "beams of a dual panel": Radio(UPA(2, 3, polarisation="dual", codebook=np.eye(12)[::2] + 0.3j)),
    "calibrated": Radio(ULA(8), OFDM(32, 1e6), 3.5e9, calibrated=True),
    "calibrated pattern": Radio(ULA(8, pattern="tr38901"), calibrated=True),
}


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::uniair.models.universal.RadioWarning")
@pytest.mark.parametrize("weights", ["one", "any"])
@pytest.mark.parametrize("radio", RADIOS.values(), ids=RADIOS)
def test_graphs_of_any_radio(radio: Radio, weights: str) -> None:
    torch.manual_seed(0)
    model, draw = any_radio() if weights == "any" else uniair.build("tiny"), torch.Generator().manual_seed(2)
    direction = torch.nn.functional.normalize(torch.randn(6, 3, generator=draw, dtype=torch.float64), dim=1)
    gain = torch.randn(6, 2, dtype=torch.complex64, generator=draw)
    csi = (
        radio.array.response(direction, gain if len(radio.array.slants) > 1 else gain[:, 0])[..., None]
        * radio.grid.response(torch.rand(6, generator=draw).double() * 1e-6)[:, None]
    )
    csi = csi + 0.1 * torch.randn(csi.shape, dtype=csi.dtype, generator=draw)
    csi = csi * 10.0 ** -torch.arange(6)[:, None, None]
    z = model.encode_channel(csi, radio)
    planes = torch.stack([csi.real, csi.imag], dim=1)
    said = ChannelGraph(model, radio)(planes, mean_gain(csi).log10().float())
    assert torch.allclose(said, z, atol=2e-5)
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
    env = {
        name: value if there else None for (name, value), there in zip(place(Radio()).items(), (*known, 1), strict=True)
    }
    same_environment(model, Environment(**env), Radio())


@torch.no_grad()
@pytest.mark.parametrize("height", [6.0, 25.0])
def test_environment_of_a_tilted_array_and_a_clock_at_the_first_path(height: float) -> None:
    radio = Radio(UPA(2, 4, pattern="tr38901"), carrier=3.5e9, clock="first_path")
    env = Environment(**place(radio, height), downtilt=np.full(7, 0.2))
    same_environment(any_radio(), env, radio)


def place(radio: Radio, height: float = 8.0) -> dict[str, Any]:
    """Seven hypotheses on a map of houses of all heights, some of them not known."""
    rng, n = np.random.default_rng(0), 7
    heights = np.where(rng.random((16, 16)) < 0.2, rng.uniform(3, 30, (16, 16)), 0)
    heights[rng.random((16, 16)) < 0.03] = np.inf
    ue = np.column_stack([rng.uniform(0, 150, (n, 2)), np.full(n, 1.5)])
    heights = np.kron(heights, np.ones((16, 16))).astype(np.float32)
    return {"map": heights[None], "bs": np.tile([60.0, 70.0, height], (n, 1)), "ue": ue, "los": np.arange(n) % 2,
            "size": np.full(n, 150.0)}  # fmt: skip


def same_environment(model: UniversalModel, env: Environment, radio: Radio) -> None:
    """The graph says of hypotheses what the model says."""
    env, n = env.seen_by(radio) if model.epnn.solid else env, len(env)
    known = torch.tensor([[getattr(env, name) is not None for name in UNKNOWN]] * n)
    features = torch.zeros(0, FEATURES_3D if model.epnn.solid else FEATURES)
    owner, clock, checked = torch.zeros(0, dtype=torch.int64), torch.zeros(n), env.tensors()
    if known[0, :3].all():
        found = candidates(checked, torch.ones(n, dtype=torch.bool), model.epnn.solid)
        rows = [torch.nonzero(found.owner == of)[:, 0] for of in found.of]
        features = (found.features_3d() if model.epnn.solid else found.features())[torch.cat(rows)]
        owner = torch.repeat_interleave(torch.tensor([len(r) for r in rows]))
        clock = found.clock[found.of]
    whole = Environment(**place(radio)).tensors()
    parts = {name: getattr(whole if getattr(checked, name) is None else checked, name) for name in (*UNKNOWN, "size")}
    tilt = torch.zeros(n) if checked.downtilt is None else checked.downtilt
    said = EnvironmentGraph(model, radio)(
        parts["map"][0], parts["bs"], parts["ue"], parts["los"], parts["size"], known, features, owner, clock, tilt
    )
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
