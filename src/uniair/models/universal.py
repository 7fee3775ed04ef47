"""The universal model: two towers, shared blocks and reconstruction (paper 1, Fig. 2)."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from uniair.angle_delay import REACH, TONE, Seen, see
from uniair.complex_arrays import complex_tensor, strongest
from uniair.environment import PER_HYPOTHESIS, Environment, buried
from uniair.errors import InputError
from uniair.models.cfenn import CFENN
from uniair.models.conditions import of_radio
from uniair.models.crnn import CRNN, profile
from uniair.models.epnn import EPNN
from uniair.models.learned import Learned
from uniair.models.presets import Preset
from uniair.models.transformer import ResidualAttentionBlock, initialise
from uniair.noise import estimated_snr
from uniair.radio import Radio, same_carrier

BATCH = 512
CACHED = 32  # CSI whose activations fit a CPU's cache


class RadioWarning(UserWarning):
    """An answer about a radio or a place that lies outside what the weights have learned from."""


class ReadPaths(NamedTuple):
    """The P paths that a channel was read as, strongest first.

    Attributes:
        cosine: float32 [N, P] direction cosine of departure along the array.
        delay: float32 [N, P] s, by the clock that the channel was seen with.
        gain: complex64 [N, P] relative gains, 1 in total power; phase at the middle of array and band. Of an array of
            two polarisations: to the first.
    """

    cosine: Tensor
    delay: Tensor
    gain: Tensor


def _distances(distance: Any, count: int) -> Tensor:
    """Checked distances: [N] m.

    Raises:
        InputError: another shape, NaN or below 0.
    """
    try:
        out = torch.as_tensor(distance).double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError("distance is not an array of numbers, [N] m") from error
    if out.shape != (count,) or not (torch.isfinite(out) & (out >= 0)).all():
        raise InputError(f"distance has shape {tuple(out.shape)} or NaN, expected [{count}] m, finite and at least 0")
    return out


def mean_gain(csi: Any) -> Tensor:
    """Mean power of an entry of each CSI, of several UE antennas of the strongest: float64 [N]."""
    power = complex_tensor(csi, "CSI").to(torch.complex128).abs().square().mean((-2, -1))
    return power if power.ndim == 1 else power.amax(1)


class UniversalModel(nn.Module):
    """EPNN and CFENN with shared MSNN blocks, aligned in one embedding space, and CRNN that restores the CSI.

    Use `encode_channel`, `encode_environment` and `reconstruct_channel` for answers; `forward` is for training.

    Attributes:
        radio: what the weights have learned from; of weights that learned from many, paper 1's.
        learned: in which ranges, where many were.
    """

    def __init__(self, preset: Preset, radio: Radio = Radio(), learned: Learned | None = None) -> None:
        super().__init__()
        self.preset, self.radio, self.learned = preset, radio, learned
        self.msnn = nn.ModuleList(ResidualAttentionBlock(preset.width, preset.heads) for _ in range(preset.shared))
        self.epnn = EPNN(preset, self.msnn)
        self.cfenn = CFENN(preset, self.msnn)
        self.crnn = CRNN(preset)
        self.project_environment = nn.Linear(preset.width, preset.embedding, bias=False)
        self.project_channel = nn.Linear(preset.width, preset.embedding, bias=False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(0.07)))
        initialise(self, preset.width, preset.blocks)

    def forward(
        self,
        csi: Tensor,
        environment: Environment,
        known: dict[str, Tensor] | None = None,
        clean: Tensor | None = None,
        radio: Radio | None = None,
        wide: Tensor | None = None,
        places: bool = False,
    ) -> dict[str, Tensor]:
        """One training step's tensors.

        Args:
            csi: complex64 [N, ports, subcarriers].
            environment: checked tensors of M ≥ N hypotheses; the first N are the true ones, in the CSI's order.
            known: see `EPNN.forward`.
            clean: the CSI without noise, which the reconstruction is judged by; None: `csi` itself.
            radio: that measured the CSI; None: the weights' own.
            wide: the same channels by the weights' own radio, clocked as `radio`, whose profile is to be found; None:
                that of `csi` itself.

            places: ask the true environments for the profile too.

        Returns:
            channel [N, E] and environment [M, E] of unit norm, csi (normalised) and reconstruction [N, …], temperature;
            in the angle-delay domain where (log-probability) and power (its target) [N, cells], wide (normalised), with
            `places` also place and where_place: the channel and the profile that the true environments alone give.
        """
        radio = self.radio if radio is None else radio
        carrier = None if environment.carrier is None else environment.carrier[: len(csi)]
        seen = self.see(csi, radio, carrier=carrier)
        channel = self.channel_embedding(seen)
        if clean is not None:
            seen = self.see(clean, radio)
        reconstruction, where = self.crnn(channel, radio)
        out = {
            "channel": channel,
            "environment": self.environment_embedding(environment, known),
            "csi": seen.csi,
            "reconstruction": reconstruction,
            "temperature": self.log_temperature.exp(),
        }
        if where is not None:
            own = radio if wide is None else replace(self.radio, clock=radio.clock)
            if wide is not None:
                seen = self.see(wide, own)
            out |= {"where": where, "power": profile(seen), "wide": seen.csi}
            if places:
                out["place"], out["where_place"] = self.crnn(out["environment"][: len(csi)], own)
        return out

    def see(
        self,
        csi: Tensor,
        radio: Radio,
        distance: Tensor | None = None,
        gain: Tensor | None = None,
        carrier: Tensor | None = None,
    ) -> Seen:
        """CSI complex64 [N, ports, subcarriers] in physical units, see `angle_delay.see`.

        Args:
            gain: [N] mean power of an entry, where `csi` was scaled; None: what it has.
            carrier: [N] Hz; None: the radio's.
        """
        any_radio = self.preset.radios == "any"
        seen = see(csi, radio, self.preset.beams, self.preset.delays, distance, by_cell=any_radio)
        if not any_radio:
            return seen
        power = csi.abs().square().mean((1, 2)) if gain is None else gain
        return seen._replace(conditions=of_radio(radio, len(csi), carrier, power).to(csi.device))

    def channel_embedding(self, seen: Seen) -> Tensor:
        """What a radio saw → unit-norm [N, E]."""
        return functional.normalize(self.project_channel(self.cfenn(seen)).float(), dim=-1)

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

    def check_csi(self, csi: Any, radio: Radio) -> Tensor:
        """CSI as complex64 [N, ports, subcarriers] on the model's device; of several UE antennas the strongest.

        Raises:
            InputError: not complex, a shape that the radio contradicts, NaN or infinite values, a channel all zero.
        """
        out = complex_tensor(csi, "CSI")
        ports, subcarriers = radio.shape
        if out.ndim not in (3, 4) or tuple(out.shape[-2:]) != radio.shape or (out.ndim == 4 and not out.shape[1]):
            turned = "; transpose the last two axes" if tuple(out.shape[-2:]) == (subcarriers, ports) else ""
            alone = "; give csi[None] for one link" if tuple(out.shape) == radio.shape else ""
            raise InputError(
                f"CSI has shape {tuple(out.shape)}, expected [N, {ports}, {subcarriers}] (antennas, subcarriers) or "
                f"[N, UE antennas, {ports}, {subcarriers}] of this radio: {radio}{turned}{alone}"
            )
        if not torch.isfinite(torch.view_as_real(out)).all():
            raise InputError("CSI holds NaN or infinite values; leave those samples out")
        # scaled before the cast: measured channels may be as weak as 1e-30 in double precision
        peak = out.abs().flatten(1).amax(1).view(-1, *[1] * (out.ndim - 1))
        if (peak == 0).any():
            raise InputError(
                f"CSI {int((peak == 0).flatten().nonzero()[0])} is all zero; leave out links without a channel"
            )
        if (peak < torch.finfo(torch.float32).tiny).any():  # too weak for a quotient in single precision
            out, peak = out.to(torch.complex128), peak.double()
        out = (out / peak).to(torch.complex64).to(self.device)
        return strongest(out)

    def own_or(self, radio: Radio | None) -> Radio:
        """The radio, or the weights' own where none is given.

        Raises:
            InputError: something else was given.
        """
        if radio is not None and not isinstance(radio, Radio):
            raise InputError(f"radio is {type(radio).__name__}; give a uniair.Radio")
        return self.radio if radio is None else radio

    def remarks(self, radio: Radio) -> tuple[str, ...]:
        """What to know about answers on a radio that differs from the one of the weights, a line each."""
        out = [] if self.learned is None else list(self.learned.of_radio(radio))
        if self.preset.radios == "one" and not same_carrier(radio, self.radio):
            have, want = (f"{one.carrier / 1e9:g} GHz" for one in (self.radio, radio))
            out.append(
                f"extrapolated: carrier {want}, the weights know {have}; walls and corners act differently there"
            )
        if radio.clock == "first_path":
            how = "each hypothesis is asked with the clock that its straight line implies; "
            out.append(
                f"the clock starts at the first path: {how if self.preset.radios == 'one' else ''}"
                "positions are told apart less well, and the scale of a map stays near chance"
            )
        if np.diff(radio.grid.frequencies).max() > TONE * (1 + 1e-9):
            out.append(
                f"delays are told apart up to {1e9 / np.diff(radio.grid.frequencies).max():.0f} ns alone: a longer "
                "path may stand where a shorter one would"
            )
        if radio.calibrated and not radio.isotropic:
            out.append("the power is not used for LOS: the gain of these antennas towards the user is not known")
        changed = [name for name in radio.differs(self.radio) if name in ("array", "grid")]
        if changed:
            out.append(f"converted: {' and '.join(changed)} of {radio} to the response that the weights know")
        return tuple(out)

    @torch.inference_mode()
    def encode_channel(self, csi: Any, radio: Radio | None = None, distance: Any = None) -> Tensor:
        """CSI of any power and common phase → float32 [N, E] of unit norm.

        Args:
            csi: complex [N, antennas, subcarriers], or [N, UE antennas, antennas, subcarriers], NumPy or torch.
            radio: that measured them; None: the weights' own.
            distance: [N] m from BS to UE, if known: sets the clock of a radio whose clock starts at the first path, for
                weights of one radio.

        Raises:
            InputError: see `check_csi`; such a distance for weights that learned such clocks.

        Warns:
            RadioWarning: a radio, a power of calibrated gains, or noise that lies outside what the weights have learned
                from; noise is told of channels of `noise.TELLING` entries and more.
        """
        radio = self.own_or(radio)
        checked = self.check_csi(csi, radio)
        gain = mean_gain(csi)
        self.warn(radio, gain, checked)
        known = None if distance is None else _distances(distance, len(checked))
        if known is not None and radio.clock == "first_path" and self.preset.radios == "any":
            raise InputError(
                "distance: weights for any radio learned clocks that start at the first path as they are, and places "
                "are told of them; leave it out"
            )
        return self.encode_checked(checked, radio, gain, known)

    @torch.inference_mode()
    def encode_checked(self, csi: Tensor, radio: Radio, gain: Tensor, distance: Tensor | None = None) -> Tensor:
        """As `encode_channel`, of what `check_csi` gave.

        Args:
            gain: [N] mean power of an entry before that, see `mean_gain`.
        """
        size = CACHED if self.device.type == "cpu" else BATCH
        chunks, gains = torch.split(csi, size), torch.split(gain.to(self.device), size)
        lengths = [None] * len(chunks) if distance is None else torch.split(distance, size)
        parts = [
            self.channel_embedding(self.see(part, radio, length, power))
            for part, length, power in zip(chunks, lengths, gains, strict=True)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, self.preset.embedding)

    def power_remarks(self, gain: Any, radio: Radio) -> tuple[str, ...]:
        """What to know about answers on channels of such mean power [N], see `mean_gain`, a line each."""
        return () if self.learned is None else self.learned.of_power(gain, radio)

    def place_remarks(self, environment: Environment) -> tuple[str, ...]:
        """What to know about answers on such places, of `Environment.tensors`, a line each."""
        inside = int(buried(environment).sum())
        who = f"{inside} of {len(environment)} stations stand" if len(environment) > 1 else "the station stands"
        lines = (f"extrapolated: {who} inside a building, below its roof",) if inside else ()
        if self.learned is None:
            return lines
        station, user = (None if at is None else at[:, 2].numpy(force=True) for at in (environment.bs, environment.ue))
        return lines + self.learned.of_place(station, user, environment.size.numpy(force=True))

    def noise_remarks(self, csi: Tensor) -> tuple[str, ...]:
        """What to know about answers on channels as `check_csi` gives them in so much noise, a line each."""
        if self.learned is None or self.learned.snr is None:
            return ()
        return self.learned.of_noise(estimated_snr(csi))

    def warn(self, radio: Radio, gain: Any = (), csi: Tensor | None = None) -> None:
        """Warns of what lies outside what the weights have learned from."""
        noise = () if csi is None else self.noise_remarks(csi)
        for remark in (*self.remarks(radio), *self.power_remarks(gain, radio), *noise):
            if remark.startswith("extrapolated"):
                warnings.warn(remark, RadioWarning, stacklevel=3)

    @torch.inference_mode()
    def encode_environment(self, environment: Environment) -> Tensor:
        """`Environment` of N hypotheses → float32 [N, E] of unit norm.

        Raises:
            InputError: see `Environment.tensors`.

        Warns:
            RadioWarning: heights or sides outside what the weights have learned from, a station inside a building.
        """
        checked = environment.tensors()
        for line in self.place_remarks(checked):
            warnings.warn(line, RadioWarning, stacklevel=2)
        order = torch.argsort(checked.area, stable=True)  # the hypotheses of one map go through together
        parts = []
        # beside a map that is encoded once each time; more at once take more memory and, out of the cache, longer
        for index in torch.split(order, 4 * BATCH if self.preset.attention == "prefix" else BATCH // 4):
            part = checked.select(index)
            used, area = torch.unique(part.area, return_inverse=True)
            maps = None if part.map is None else part.map[used].to(self.device)
            kept = [name for name in PER_HYPOTHESIS if name not in ("area", "bearing")]
            moved = {k: v.to(self.device) for k in kept if (v := getattr(part, k)) is not None}
            area = area.to(self.device) if maps is not None else torch.zeros_like(area).to(self.device)
            parts.append(self.environment_embedding(Environment(map=maps, area=area, **moved)))
        out = torch.empty_like(joined := torch.cat(parts))
        out[order] = joined
        return out

    @torch.inference_mode()
    def reconstruct_channel(self, z: Any, radio: Radio | None = None, seen_by: Radio | None = None) -> Tensor:
        """Embeddings [N, E] → the CSI of any radio, complex64 [N, ports, subcarriers], as `normalise_channel` has it.

        Args:
            radio: to write the channel for; None: the weights' own.
            seen_by: the radio that `z` was encoded from, where it is another one: more antennas, a wider band, the band
                beside (by its grid or by its carrier). None: `radio` itself.

        Raises:
            InputError: another shape, or NaN; a carrier far from the one seen at; absolute delays of a clock without;
                another polarisation than a single one seen in, or of the UE.

        Warns:
            RadioWarning: another radio than the channel was seen by, outside what the weights have learned from.
        """
        z, radio = self._check_code(z), self.own_or(radio)
        if seen_by not in (None, radio):
            seen_by = self.own_or(seen_by)
            check_writable(radio, seen_by, turned=self.preset.radios != "one")
            self.warn(radio)
        parts = [self.crnn(part, radio, seen_by)[0] for part in torch.split(z, BATCH)]
        out = torch.cat(parts) if parts else torch.zeros(0, *radio.shape, dtype=torch.complex64)
        if seen_by in (None, radio) or not len(out):
            return out
        # another middle of array or band, to which the phase is referred, other gains, and maybe another clock
        return torch.cat([self.see(part, radio).csi for part in torch.split(out, BATCH)])

    @torch.inference_mode()
    def read_paths(self, z: Any) -> ReadPaths:
        """What the model saw in a channel: the paths that `reconstruct_channel` writes, strongest first.

        Raises:
            InputError: as `reconstruct_channel`.
        """
        cells = [self.crnn.paths(part) for part in torch.split(self._check_code(z), BATCH)]
        if not cells:
            return ReadPaths(torch.zeros(0, 0), torch.zeros(0, 0), torch.zeros(0, 0, dtype=torch.complex64))
        beam, delay, gain = (torch.cat([getattr(part, name) for part in cells]) for name in ("beam", "delay", "gain"))
        order = gain.abs().argsort(dim=1, descending=True)
        gain = gain / gain.abs().square().sum(1, keepdim=True).clamp_min(1e-30).sqrt()
        cosine, seconds = 2 / self.preset.beams * beam, REACH / self.preset.delays * delay
        return ReadPaths(cosine.gather(1, order), seconds.gather(1, order), gain.gather(1, order))

    def _check_code(self, z: Any) -> Tensor:
        z = torch.as_tensor(z if isinstance(z, Tensor) else np.asarray(z)).to(self.device, torch.float32)
        if z.ndim != 2 or z.shape[1] != self.preset.embedding or not torch.isfinite(z).all():
            raise InputError(
                f"embedding has shape {tuple(z.shape)} or NaN, expected finite [N, {self.preset.embedding}]"
            )
        return z

    @torch.inference_mode()
    def normalise_channel(self, csi: Any, radio: Radio | None = None) -> Tensor:
        """CSI as the model sees it, what `reconstruct_channel` is compared with: complex64 [N, ports, subcarriers]."""
        radio = self.own_or(radio)
        return torch.cat([self.see(part, radio).csi for part in torch.split(self.check_csi(csi, radio), BATCH)])

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


def check_writable(radio: Radio, seen_by: Radio, turned: bool) -> None:
    """Raises `InputError` where a channel that one radio saw does not tell what another one would see.

    Args:
        turned: whether two polarisations may be written in two others.
    """
    if not same_carrier(radio, seen_by):
        raise InputError(
            f"a channel seen at {seen_by.carrier / 1e9:g} GHz can't be written for "
            f"{radio.carrier / 1e9:g} GHz: walls act differently there"
        )
    if seen_by.clock == "first_path" and radio.clock == "absolute":
        raise InputError("a channel seen with a clock at the first path has no absolute delays to write")
    seen, wanted = seen_by.array, radio.array
    if seen.slants != wanted.slants and (len(seen.slants) == 1 or not turned):
        raise InputError(
            f"a channel seen in {seen.polarisation} polarisation can't be written in {wanted.polarisation}: "
            "how strong its paths are there was not seen"
        )
    if seen_by.ue.polarisation != radio.ue.polarisation:
        raise InputError(
            f"a channel seen by a UE of {seen_by.ue.polarisation} polarisation can't be written for one of "
            f"{radio.ue.polarisation}: how strong its paths are there was not seen"
        )
