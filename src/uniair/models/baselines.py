"""Networks that are trained from scratch: paper 1's supervised baselines (IV-C), and a small autoencoder of a radio.

Those of paper 1 have CFENN's and CRNN's size and know one radio, paper 1's, whatever the preset is for.
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
from uniair.models.transformer import ResidualAttentionBlock, initialise
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


class SmallAutoencoder(nn.Module):
    """Two attention blocks on either side of a code: after TransNet (Cui, Guo and Song, IEEE WCL 2022), for any radio.

    A token is a sixteenth of the delays, at all ports. Of paper 1's radio it has 498,496 parameters.

    Args:
        ports, subcarriers: of the radio.
        code: numbers of the code.
    """

    TOKENS = 16

    def __init__(self, ports: int, subcarriers: int, code: int = 128, width: int = 64, blocks: int = 2) -> None:
        super().__init__()
        self.ports, self.subcarriers, self.width = ports, subcarriers, width
        self.delays = -(-subcarriers // self.TOKENS)  # of a token
        each = 2 * ports * self.delays
        self.read = nn.Linear(each, width)
        self.encoder = nn.Sequential(*(ResidualAttentionBlock(width, 4) for _ in range(blocks)))
        self.squeeze = nn.Linear(self.TOKENS * width, code)
        self.spread = nn.Linear(code, self.TOKENS * width)
        self.decoder = nn.Sequential(*(ResidualAttentionBlock(width, 4) for _ in range(blocks)))
        self.write = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, each))
        self.positions = nn.Parameter(0.02 * torch.randn(2, self.TOKENS, width))
        initialise(self, width, blocks)

    def normalise(self, csi: Tensor) -> Tensor:
        """CSI complex64 [N, ports, subcarriers] by delay, of power 1 an entry, the strongest real and positive."""
        by_delay = torch.fft.ifft(csi, dim=2, norm="ortho")
        flat = by_delay.flatten(1)
        strongest = flat.gather(1, flat.abs().argmax(1, keepdim=True))
        size = flat.abs().square().mean(1, keepdim=True).sqrt().clamp_min(1e-30)
        return by_delay * (strongest.conj() / strongest.abs().clamp_min(1e-30) / size)[..., None]

    def encode(self, csi: Tensor) -> Tensor:
        """What `normalise` gave → code float32 [N, code] of unit norm."""
        missing = self.TOKENS * self.delays - self.subcarriers
        planes = functional.pad(torch.stack([csi.real, csi.imag], dim=1), (0, missing))
        tokens = planes.view(len(csi), 2, self.ports, self.TOKENS, self.delays).permute(0, 3, 1, 2, 4).flatten(2)
        x = self.encoder(self.read(tokens) + self.positions[0])
        return functional.normalize(self.squeeze(x.flatten(1)), dim=-1)

    def decode(self, z: Tensor) -> Tensor:
        """Codes → complex64 as `normalise` gives it."""
        x = self.spread(z * z.shape[1] ** 0.5).view(len(z), self.TOKENS, self.width) + self.positions[1]
        tokens = self.write(self.decoder(x)).view(len(z), self.TOKENS, 2, self.ports, self.delays)
        real, imaginary = tokens.permute(2, 0, 3, 1, 4).flatten(3)[..., : self.subcarriers]
        return torch.complex(real, imaginary)

    def csi(self, z: Tensor) -> Tensor:
        """Codes → CSI complex64 [N, ports, subcarriers], of any power and phase."""
        return torch.fft.fft(self.decode(z), dim=2, norm="ortho")
