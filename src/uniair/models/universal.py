"""The universal model: two towers, shared blocks and reconstruction (paper 1, Fig. 2)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.cfenn import CFENN, Normalisation
from uniair.models.crnn import CELL, CRNN
from uniair.models.epnn import EPNN
from uniair.models.presets import Preset
from uniair.models.transformer import ResidualAttentionBlock, initialise

BATCH = 512
CACHED = 32  # CSI whose activations fit a CPU's cache


class UniversalModel(nn.Module):
    """EPNN and CFENN with shared MSNN blocks, aligned in one embedding space, and CRNN that restores the CSI.

    Use `encode_channel`, `encode_environment` and `reconstruct_channel` for answers; `forward` is for training.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.msnn = nn.ModuleList(ResidualAttentionBlock(preset.width, preset.heads) for _ in range(preset.shared))
        self.epnn = EPNN(preset, self.msnn)
        self.cfenn = CFENN(preset, self.msnn)
        self.crnn = CRNN(preset)
        self.project_environment = nn.Linear(preset.width, preset.embedding, bias=False)
        self.project_channel = nn.Linear(preset.width, preset.embedding, bias=False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(0.07)))
        self.normalisation = Normalisation(preset.antennas, preset.subcarriers)
        initialise(self, preset.width, preset.blocks)

    def forward(
        self, csi: Tensor, environment: Environment, known: dict[str, Tensor] | None = None, clean: Tensor | None = None
    ) -> dict[str, Tensor]:
        """One training step's tensors.

        Args:
            csi: complex64 [N, antennas, subcarriers].
            environment: checked tensors of M ≥ N hypotheses; the first N are the true ones, in the CSI's order.
            known: see `EPNN.forward`.
            clean: the CSI without noise, which the reconstruction is judged by; None: `csi` itself.

        Returns:
            channel [N, E] and environment [M, E] of unit norm, csi (normalised) and reconstruction [N, …], temperature;
            in the angle-delay domain where (log-probability) and power (its target) [N, cells].
        """
        seen = self.normalisation(csi)
        csi = seen if clean is None else self.normalisation(clean)
        channel = self.channel_embedding(seen)
        reconstruction, where = self.crnn(channel)
        out = {
            "channel": channel,
            "environment": self.environment_embedding(environment, known),
            "csi": csi,
            "reconstruction": reconstruction,
            "temperature": self.log_temperature.exp(),
        }
        if where is not None:
            power = functional.avg_pool2d(self.normalisation.angle_delay(csi).abs().square(), CELL).flatten(1)
            out |= {"where": where, "power": power / power.sum(1, keepdim=True)}
        return out

    def channel_embedding(self, csi: Tensor) -> Tensor:
        """Normalised CSI → unit-norm [N, E]."""
        return functional.normalize(self.project_channel(self.cfenn(csi, self.normalisation)).float(), dim=-1)

    def environment_embedding(self, environment: Environment, known: dict[str, Tensor] | None = None) -> Tensor:
        """Checked tensors → unit-norm [N, E]."""
        return functional.normalize(self.project_environment(self.epnn(environment, known)).float(), dim=-1)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.log_temperature.device

    @property
    def temperature(self) -> float:
        """Learned temperature of the similarities."""
        return float(self.log_temperature.detach().exp())

    def check_csi(self, csi: Any) -> Tensor:
        """CSI as complex64 [N, antennas, subcarriers] on the model's device.

        Raises:
            InputError: not complex, another shape, NaN or infinite values, or a channel that is all zero.
        """
        out = csi if isinstance(csi, Tensor) else torch.as_tensor(np.ascontiguousarray(csi))  # [:, ::-1] is fine too
        want = (self.preset.antennas, self.preset.subcarriers)
        if not out.is_complex():
            raise InputError(f"CSI of type {out.dtype} is not complex; give complex [N, {want[0]}, {want[1]}]")
        if out.ndim != 3 or tuple(out.shape[1:]) != want:
            raise InputError(
                f"CSI has shape {tuple(out.shape)}, expected [N, {want[0]}, {want[1]}] (antennas, subcarriers)"
            )
        if not torch.isfinite(torch.view_as_real(out)).all():
            raise InputError("CSI holds NaN or infinite values; leave those samples out")
        # scaled before the cast: measured channels may be as weak as 1e-30 in double precision
        peak = out.abs().amax(dim=(1, 2), keepdim=True)
        if (peak == 0).any():
            raise InputError(
                f"CSI {int((peak == 0).flatten().nonzero()[0])} is all zero; leave out links without a channel"
            )
        return (out / peak).to(torch.complex64).to(self.device)

    @torch.inference_mode()
    def encode_channel(self, csi: Any) -> Tensor:
        """CSI, complex [N, 32, 64], NumPy or torch, of any power and common phase → float32 [N, E] of unit norm.

        Raises:
            InputError: see `check_csi`.
        """
        chunks = torch.split(self.check_csi(csi), CACHED if self.device.type == "cpu" else BATCH)
        parts = [self.channel_embedding(self.normalisation(chunk)) for chunk in chunks]
        return torch.cat(parts) if parts else torch.zeros(0, self.preset.embedding)

    @torch.inference_mode()
    def encode_environment(self, environment: Environment) -> Tensor:
        """`Environment` of N hypotheses → float32 [N, E] of unit norm.

        Raises:
            InputError: see `Environment.tensors`.
        """
        checked = environment.tensors()
        order = torch.argsort(checked.area, stable=True)  # the hypotheses of one map go through together
        parts = []
        for index in torch.split(order, 64 * BATCH if self.preset.attention == "prefix" else BATCH // 4):
            part = checked.select(index)
            used, area = torch.unique(part.area, return_inverse=True)
            maps = None if part.map is None else part.map[used].to(self.device)
            moved = {k: v.to(self.device) for k in ("bs", "ue", "los", "size") if (v := getattr(part, k)) is not None}
            area = area.to(self.device) if maps is not None else torch.zeros_like(area).to(self.device)
            parts.append(self.environment_embedding(Environment(map=maps, area=area, **moved)))
        out = torch.empty_like(joined := torch.cat(parts))
        out[order] = joined
        return out

    @torch.inference_mode()
    def reconstruct_channel(self, z: Any) -> Tensor:
        """Embeddings [N, E] → CSI, complex64 [N, 32, 64], of unit mean power and `Normalisation`'s phase.

        Raises:
            InputError: another shape, or NaN.
        """
        z = torch.as_tensor(z if isinstance(z, Tensor) else np.asarray(z)).to(self.device, torch.float32)
        if z.ndim != 2 or z.shape[1] != self.preset.embedding or not torch.isfinite(z).all():
            raise InputError(
                f"embedding has shape {tuple(z.shape)} or NaN, expected finite [N, {self.preset.embedding}]"
            )
        return torch.cat([self.crnn(part)[0] for part in torch.split(z, BATCH)])

    @torch.inference_mode()
    def normalise_channel(self, csi: Any) -> Tensor:
        """CSI as the model sees it: what `reconstruct_channel` is compared with. complex64 [N, 32, 64]."""
        return torch.cat([self.normalisation(part) for part in torch.split(self.check_csi(csi), BATCH)])

    def parameter_counts(self) -> dict[str, int]:
        """Parameters by part, as paper 1 counts them.

        epnn and cfenn each include the shared blocks (msnn) and end before the projection; unknown are the tokens for
        missing inputs; total counts every parameter once.
        """

        def count(module: nn.Module) -> int:
            return sum(p.numel() for p in module.parameters())

        unknown = self.epnn.unknown.numel()
        return {
            "epnn": count(self.epnn) - unknown,
            "cfenn": count(self.cfenn),
            "msnn": count(self.msnn),
            "crnn": count(self.crnn),
            "projection": count(self.project_environment) + count(self.project_channel),
            "unknown": unknown,
            "total": count(self),
        }
