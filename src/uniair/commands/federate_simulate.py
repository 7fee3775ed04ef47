"""Learn from the sites of a folder in this process, as a federation would: a rehearsal.

FOLDER is one of links, from which a head is learned: each of its areas is a site (--by area), or each of its places
(--by place). Or it is one of drives, from which a forecaster of beams is learned (--federation.task forecast): each
scenario is a site. Every site measures on a fifth of what it has, and learns from the other links, or from the three
drives in five that uniair forecast adapt learns from. Rounds are printed with the headline figure, the mean over sites.
In --out: federated-TASK-INPUTS-SEED.safetensors, a head as uniair adapt writes it, or the folder
federated-forecast-PART-SEED, a forecaster as uniair forecast adapt does, with rounds, sites and privacy on its card;
and the state that the same command goes on from after it was stopped. uniair bench federated compares with what every
site learns alone, with all links in one place, with poisoned sites and with privacy.

--federation.aggregate median, trimmed, krum or multi-krum withstand --federation.poisoned sites; the mean withstands
none. --federation.epsilon 8 makes learning differentially private for every single link (DP-SGD by Opacus). The noise
of a rehearsal comes from the seed, so the head that it makes is not private.

Example:
  uniair federate simulate runs/validation --by place --federation.task los --out runs/federated
  uniair federate simulate runs/dense --federation.aggregate median --out runs/median
  uniair federate simulate runs/drives --federation.task forecast --federation.part lora --out runs/forecaster
  uniair federate simulate runs/dense --federation.epsilon 8 --federation.batch 1024 --out runs/private
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.commands.drives import TOWER, check_drives, drives_of, forecaster
from uniair.data.drives.drive import Drive
from uniair.data.links.links import Links
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.federation.aggregate import require_flower
from uniair.federation.agreement import FORECAST, Agreement, Federation
from uniair.models.forecast import WMLM
from uniair.models.universal import UniversalModel
from uniair.training.forecasting import PACKAGED
from uniair.training.heads import load_head


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("data", metavar="FOLDER", type=str, help="links, or drives")
    parser.add_argument("--out", type=str, required=True, help="folder for result and state")
    parser.add_argument("--model", type=str | None, default=None,
                        help="packaged model, checkpoint folder, or forecaster; packaged if not given")  # fmt: skip
    parser.add_argument("--tower", type=str, default="small", help=TOWER)
    parser.add_argument("--by", type=str, default="area", help="what a site of links is: an area, or a place")
    parser.add_argument("--first", type=int | None, default=None, help="only the first so many sites")
    parser.add_argument("--head", type=str | None, default=None, help="a head to begin from")
    parser.add_argument("--federation", type=Federation, default=Federation(), help="what is learned and how")


def run(options: Any) -> dict[str, Any]:
    """Runs all rounds, and prints the figures of every site."""
    plan: Federation = options.federation
    require_flower(plan.epsilon is not None)
    from uniair.federation.simulation import simulate

    if options.first is not None and options.first < 1:
        raise InputError(f"--first {options.first}: give at least 1")
    agreement, begin, model, sites = _drives(options) if plan.task == FORECAST else _links(options)
    rounds = simulate(agreement, begin, model, sites, Path(options.out))
    about, key = rounds.about(), agreement.headline
    for name, figures in about["figures"].items():
        print(f"{name:28}{about['sites'][name]:8,} {agreement.counted}{key:>14} {figures[key]:.3f}")
    if about["privacy"]:
        print("the noise came from the seed, as a rehearsal's does: this head is not private")
    print(agreement.kept_at(Path(options.out)))
    return about


def _links(options: Any) -> tuple[Agreement, Sequence[Any], UniversalModel, dict[str, Links]]:
    """What a head is learned from."""
    from uniair.federation.head_agreement import HeadAgreement
    from uniair.federation.simulation import sites_of

    plan: Federation = options.federation
    store, model = Store(options.data), uniair.load(options.model or "small")
    radio = store.one_radio()
    for remark in model.remarks(radio):
        print(remark)
    start = None if options.head is None else load_head(Path(options.head), model, plan.task)
    agreement, begin = HeadAgreement.of(model, plan, radio, start, options.head or "")
    return agreement, begin, model, sites_of(store, options.by, options.first)


def _drives(options: Any) -> tuple[Agreement, Sequence[Any], WMLM, dict[str, list[Drive]]]:
    """What a forecaster is learned from."""
    from uniair.federation.forecast_agreement import ForecastAgreement
    from uniair.federation.simulation import sites_of_drives

    if options.head is not None:
        raise InputError(f"--head {options.head}: a forecaster begins from --model; leave it out")
    folder, name = Path(options.data), options.model or str(PACKAGED)
    drives, model = drives_of(folder, ()), forecaster(Path(name), options.tower)
    check_drives(folder, drives, model.preset)
    agreement, begin = ForecastAgreement.of(model, options.federation, options.model or "the packaged forecaster")
    return agreement, begin, model, sites_of_drives(drives, options.first)
