"""Paper 1's supervised baselines: a vision transformer of CFENN's size that ends in a task's outputs."""

from __future__ import annotations

from torch import Tensor, nn

from uniair.models.cfenn import CFENN, Normalisation
from uniair.models.presets import Preset, preset


class ChannelViT(nn.Module):
    """CFENN without its last LayerNorm, and a linear layer to `outputs` numbers (paper 1, IV-C)."""

    def __init__(self, shape: Preset, outputs: int) -> None:
        super().__init__()
        self.normalisation = Normalisation(shape.antennas, shape.subcarriers)
        self.cfenn = CFENN(shape, nn.ModuleList())
        self.cfenn.ln_post = nn.Identity()
        self.outputs = nn.Linear(shape.width, outputs)

    def forward(self, csi: Tensor) -> Tensor:
        """CSI complex64 [N, antennas, subcarriers] → [N, outputs]."""
        out: Tensor = self.outputs(self.cfenn(self.normalisation(csi), self.normalisation))
        return out


def task_specific_vit(beams: int, shape: str = "base") -> ChannelViT:
    """One network for beam selection; 7,125,024 parameters at `base` and 32 beams."""
    return ChannelViT(preset(shape), beams)


def task_general_vit(beams: int, shape: str = "base") -> ChannelViT:
    """One network for position (2), LOS (2) and beam; 7,126,052 parameters at `base` and 32 beams."""
    return ChannelViT(preset(shape), 4 + beams)
