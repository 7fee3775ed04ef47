"""Pretraining: align environment and channel, tell wrong hypotheses apart, restore the CSI (paper 1, eqs. 6 to 12)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from uniair import losses
from uniair.environment import OF_RADIO, PER_HYPOTHESIS, Batch, Environment
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.noise import some_noisy

WRONG = ("los", "scale", "map")
SNR = (0.0, 30.0)  # dB


@dataclass(frozen=True)
class Alignment:
    """What pretraining adds up.

    Attributes:
        hypotheses: add explicit wrong hypotheses (LOS flipped, scale changed, map shifted) to the loss.
        bare_los: weight of telling LOS from NLOS by the map alone, without positions; 0: not asked.
        same_area_negatives: let links of the same area be each other's negatives.
        learned_temperature: else it stays at its start, 0.07.
        reconstruction_weight: of eq. 11 in eq. 12.
        profile_weight: of the beam and delay profile that CRNN finds in the angle-delay domain.
        place_profile_weight: of the same profile and of the channel's covariances, told by the environment alone.
        unknown_map: share of areas whose map is hidden.
        unknown_bs: share of areas whose BS positions are hidden.
        unknown_ue: share of areas whose UE positions are hidden.
        unknown_both: share of areas whose BS and UE positions are both hidden.
        unknown_los: share of links whose LOS status is hidden.
        noisy: share of links whose CSI is seen in white noise, of an SNR drawn evenly from `SNR`.
    """

    hypotheses: bool = True
    bare_los: float = 1.0
    same_area_negatives: bool = True
    learned_temperature: bool = True
    reconstruction_weight: float = 1.0
    profile_weight: float = 0.3
    place_profile_weight: float = 0.0
    unknown_map: float = 0.08
    unknown_bs: float = 0.03
    unknown_ue: float = 0.03
    unknown_both: float = 0.06
    unknown_los: float = 0.15
    noisy: float = 0.0

    def loss(self, model: UniversalModel, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """The terms of the loss for one batch; `total` is to be minimised, the rest is for the log.

        Raises:
            InputError: the areas have no map.
        """
        true = batch.environment
        if true.map is None:
            raise InputError("pretraining needs areas with a map, and these have none; give data with buildings")
        known = self.draw_known(true, rng)
        environment, told, valid = with_wrong(true, known, rng) if self.hypotheses else (true, known, None)
        asked = len(environment)
        if self.bare_los:
            environment, told = with_bare(environment, told, true)
        csi, clean = batch.csi, batch.clean
        if self.noisy and clean is None:
            csi, clean = some_noisy(csi, self.noisy, SNR, rng), csi
        out = model(csi, environment, told, clean, batch.radio, batch.wide, places=self.place_profile_weight > 0)
        n = len(batch.csi)
        temperature = out["temperature"] if self.learned_temperature else out["temperature"].detach()
        similarity = out["channel"] @ out["environment"][:n].mT
        spared = indistinguishable(true, known)
        if not self.same_area_negatives:
            spared |= (true.area[:, None] == true.area[None]).fill_diagonal_(False)
        terms = {
            "contrastive": losses.contrastive(similarity, temperature, spared),
            "reconstruction": losses.reconstruction(out["reconstruction"], out["csi"]),
        }
        terms["total"] = terms["contrastive"] + self.reconstruction_weight * terms["reconstruction"]
        if "where" in out:
            terms["profile"] = losses.power_profile(out["where"], out["power"])
            terms["total"] = terms["total"] + self.profile_weight * terms["profile"]
        if "where_place" in out:
            terms["place_profile"] = losses.power_profile(out["where_place"], out["power"])
            terms["place_profile"] = terms["place_profile"] + losses.covariance(out["place"], out["wide"])
            terms["total"] = terms["total"] + self.place_profile_weight * terms["place_profile"]
        if valid is not None:
            wrong = (out["channel"].repeat(len(WRONG), 1) * out["environment"][n:asked]).sum(-1).view(len(WRONG), n)
            terms["hypotheses"] = losses.wrong_hypotheses(similarity.diagonal(), wrong, temperature, valid)
            terms["total"] = terms["total"] + terms["hypotheses"]
        if self.bare_los:
            either = out["environment"][asked:].view(-1, 2, out["channel"].shape[1])[true.area]
            both = (either @ out["channel"][..., None])[..., 0]
            terms["bare_los"] = functional.cross_entropy(both / temperature, true.los.long())
            terms["total"] = terms["total"] + self.bare_los * terms["bare_los"]
        terms["temperature"] = temperature.detach()
        terms["top1"] = (similarity.argmax(1) == torch.arange(n, device=similarity.device)).float().mean()
        return terms

    def draw_known(self, environment: Environment, rng: np.random.Generator) -> dict[str, Tensor]:
        """Which parts the model may see, drawn by area so that the links of an area lack the same: bool [N] each."""
        areas = len(environment.map)
        area = environment.area.cpu().numpy()
        hidden = rng.random(areas) < self.unknown_map
        which = rng.random(areas)
        thresholds = np.cumsum([self.unknown_bs, self.unknown_ue, self.unknown_both])
        no_bs = (which < thresholds[0]) | ((which >= thresholds[1]) & (which < thresholds[2]))
        no_ue = (which >= thresholds[0]) & (which < thresholds[2])
        no_los = rng.random(len(area)) < self.unknown_los
        masks = {"map": ~hidden[area], "bs": ~no_bs[area], "ue": ~no_ue[area], "los": ~no_los}
        return {name: torch.from_numpy(mask).to(environment.area.device) for name, mask in masks.items()}


def with_wrong(
    true: Environment, known: dict[str, Tensor], rng: np.random.Generator
) -> tuple[Environment, dict[str, Tensor], Tensor]:
    """The true hypotheses [N], then one wrong one of each kind in `WRONG` [3N].

    Returns:
        The 4N hypotheses, what is known of each, and bool [3, N]: where the wrong one differs in something known.
    """
    n, device = len(true), true.area.device
    factor = np.exp(rng.uniform(np.log(1.1), np.log(1.4), n)) ** rng.choice([-1, 1], n)
    scale = torch.from_numpy(factor.astype(np.float32)).to(device)
    scaled = {}
    for name in ("bs", "ue"):
        position = getattr(true, name)
        scaled[name] = torch.cat([position[:, :2] * scale[:, None], position[:, 2:]], dim=1)
    shift = rng.integers(true.map.shape[-1] // 16, true.map.shape[-1] // 4, (len(true.map), 2))
    shift = shift * rng.choice([-1, 1], shift.shape)
    shifted = torch.stack([torch.roll(m, tuple(s), (0, 1)) for m, s in zip(true.map, shift.tolist(), strict=True)])
    environment = Environment(
        map=torch.cat([true.map, shifted]),
        bs=torch.cat([true.bs, true.bs, scaled["bs"], true.bs]),
        ue=torch.cat([true.ue, true.ue, scaled["ue"], true.ue]),
        los=torch.cat([true.los, 1 - true.los, true.los, true.los]),
        size=torch.cat([true.size, true.size, true.size * scale, true.size]),
        area=torch.cat([true.area, true.area, true.area, true.area + len(true.map)]),
        **{name: value.repeat(4) for name in OF_RADIO if (value := getattr(true, name)) is not None},
    )
    valid = torch.stack([known["los"], torch.ones_like(known["los"]), known["map"]])
    return environment, {name: flag.repeat(4) for name, flag in known.items()}, valid


def with_bare(
    environment: Environment, known: dict[str, Tensor], true: Environment
) -> tuple[Environment, dict[str, Tensor]]:
    """Adds NLOS and LOS of each true map with no position told: 2 · areas hypotheses more.

    An area's links share these two, so they cost next to nothing.

    Args:
        environment, known: hypotheses of which the first are the true ones.
    """
    device, areas = environment.area.device, len(true.map)
    area = torch.arange(areas, device=device).repeat_interleave(2)
    nowhere = torch.zeros(len(area), 3, device=device)
    size = true.size.new_zeros(areas).scatter(0, true.area, true.size)
    seen = torch.zeros(areas, dtype=torch.bool, device=device).scatter(0, true.area, known["map"][: len(true)])[area]
    extra = Environment(
        map=environment.map, bs=nowhere, ue=nowhere, los=torch.tensor([0.0, 1.0], device=device).repeat(areas),
        size=size[area], area=area,
        **{name: value.new_zeros(areas).scatter(0, true.area, value)[area]
           for name in OF_RADIO if (value := getattr(true, name)) is not None},
    )  # fmt: skip
    told = {"map": seen, "bs": torch.zeros_like(seen), "ue": torch.zeros_like(seen), "los": torch.ones_like(seen)}
    joined = {
        name: torch.cat([getattr(environment, name), getattr(extra, name)])
        for name in PER_HYPOTHESIS
        if getattr(environment, name) is not None
    }
    return Environment(map=environment.map, **joined), {name: torch.cat([known[name], told[name]]) for name in told}


def indistinguishable(environment: Environment, known: dict[str, Tensor]) -> Tensor:
    """Pairs (i, j ≠ i) where environment j, as far as it is known, also describes link i: bool [N, N]."""

    def same(values: Tensor) -> Tensor:
        equal = values[:, None] == values[None]
        return equal.all(-1) if equal.ndim == 3 else equal

    match = torch.ones(len(environment), len(environment), dtype=torch.bool, device=environment.area.device)
    for name, values in (
        ("map", environment.area),
        ("bs", environment.bs),
        ("ue", environment.ue),
        ("los", environment.los),
    ):
        match &= same(values) | ~known[name][None]
    match &= same(environment.size)  # the scale is always told
    return match.fill_diagonal_(False)
