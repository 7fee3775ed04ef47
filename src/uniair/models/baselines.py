"""Paper 1's supervised baselines: networks of CFENN's and CRNN's size that are trained from scratch (IV-C).

They know one radio, paper 1's, whatever the preset is for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from uniair.angle_delay import see
from uniair.models.cfenn import CFENN
from uniair.models.crnn import CRNN, profile
from uniair.models.presets import Preset
from uniair.models.transformer import initialise
from uniair.radio import Radio

BATCH = 512
CHANNEL_SIDE = ("width", "heads", "blocks", "crnn_blocks", "embedding", "beams", "delays", "csi_domain",
                "csi_patch", "crnn_patch", "pool")  # fmt: skip


def channel_side(shape: Preset) -> dict[str, Any]:
    """What of a preset fixes the networks here; the rest is the environment's."""
    return {name: getattr(shape, name) for name in CHANNEL_SIDE}


class ChannelViT(nn.Module):
    """CFENN without its last LayerNorm, and a linear layer to the outputs of one or several tasks.

    At `base` the Task-Specific ViT for 32 beams has 7,125,024 parameters, the Task-General ViT for position (2), LOS
    (2) and beam 7,126,052 (paper 1, Table III).

    Args:
        outputs: numbers that each task asks for.
    """

    offset: Tensor
    unit: Tensor

    def __init__(self, shape: Preset, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = outputs
        self.grid = (shape.beams, shape.delays)
        self.cfenn = CFENN(replace(shape, radios="one"), nn.ModuleList())
        self.cfenn.ln_post = nn.Identity()
        self.outputs = nn.Linear(shape.width, sum(outputs))
        # the fixed scaling of a regression's outputs, as in `Head`
        self.register_buffer("offset", torch.zeros(sum(outputs)))
        self.register_buffer("unit", torch.ones(sum(outputs)))
        initialise(self, shape.width, shape.blocks)

    def forward(self, csi: Tensor) -> tuple[Tensor, ...]:
        """CSI complex64 [N, antennas, subcarriers] → [N, outputs] of each task."""
        out = self.outputs(self.cfenn(see(csi, Radio(), *self.grid)))
        return torch.split(out * self.unit + self.offset, list(self.sizes), dim=1)

    @torch.inference_mode()
    def predict(self, csi: Tensor) -> tuple[Tensor, ...]:
        """As `forward`, for any N; the outputs are on the CPU."""
        parts = [self(part) for part in torch.split(csi, BATCH)]
        return tuple(torch.cat(task).cpu() for task in zip(*parts, strict=True))


class ChannelAutoencoder(nn.Module):
    """CFENN, a code of the universal model's length, CRNN: the universal model without its environment's side.

    Trained on one area it is the Area-Specific ViT, on the pretraining areas the Area-General one.
    """

    def __init__(self, shape: Preset) -> None:
        super().__init__()
        self.grid = (shape.beams, shape.delays)
        shape = replace(shape, radios="one")
        self.cfenn = CFENN(shape, nn.ModuleList())
        self.project = nn.Linear(shape.width, shape.embedding, bias=False)
        self.crnn = CRNN(shape)
        initialise(self, shape.width, shape.blocks)

    def forward(self, csi: Tensor) -> dict[str, Tensor]:
        """CSI complex64 [N, antennas, subcarriers] → what `UniversalModel.forward` says of the channel.

        That is csi (normalised) and reconstruction [N, antennas, subcarriers]; in the angle-delay domain also where
        (log-probability) and power (its target) [N, cells].
        """
        seen = see(csi, Radio(), *self.grid)
        code = functional.normalize(self.project(self.cfenn(seen)), dim=-1)
        reconstruction, where = self.crnn(code)
        out = {"csi": seen.csi, "reconstruction": reconstruction}
        if where is not None:
            out |= {"where": where, "power": profile(seen)}
        return out

    @torch.inference_mode()
    def normalise(self, csi: Tensor) -> Tensor:
        """What `restore` is compared with: complex64 [N, antennas, subcarriers], on the CPU."""
        return torch.cat([see(part, Radio(), *self.grid).csi.cpu() for part in torch.split(csi, BATCH)])

    @torch.inference_mode()
    def restore(self, csi: Tensor) -> Tensor:
        """CSI → the normalised CSI after coding and decoding: complex64 [N, antennas, subcarriers], on the CPU."""
        return torch.cat([self(part)["reconstruction"].cpu() for part in torch.split(csi, BATCH)])


class TapGRU(nn.Module):
    """Predicts a tap of a channel in angle and delay from its own past: a recurrent layer, and a linear one.

    A tap is seen relative to its mean power and to the phase of its last value, so what it learns holds for all.

    Args:
        future: times to come.
        hidden: units.
    """

    def __init__(self, future: int, hidden: int = 64) -> None:
        super().__init__()
        self.future = future
        self.recurrent = nn.GRU(3, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 2 * future)

    def forward(self, past: Tensor, noise: Tensor) -> Tensor:
        """Taps complex64 [S, T] and the power of noise on each [S] → complex64 [S, future]."""
        power = past.abs().square().mean(1, keepdim=True).clamp_min(1e-20)
        last = past[:, -1:]
        turn = torch.where(last.abs() > 0, last / last.abs().clamp_min(1e-20), 1.0)
        unit = power.sqrt() * turn
        seen = torch.view_as_real(past / unit)
        above = (power.mT[0] / noise.clamp_min(1e-20)).clamp(1e-3, 1e6).log10()
        given = torch.cat([seen, above[:, None, None].expand(-1, past.shape[1], 1)], -1)
        out = self.head(self.recurrent(given)[0][:, -1]).view(len(past), self.future, 2)
        return torch.view_as_complex(out) * unit
