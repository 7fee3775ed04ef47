"""Learn one head from the sites of a links folder, in this process, as a federation would: a rehearsal.

LINKS is a folder of links; each of its areas is a site (--by area), or each of its places (--by place). Every site
learns from 80 % of its links and measures on the rest. Rounds are printed with the headline figure, the mean over
sites. In --out: federated-TASK-INPUTS-SEED.safetensors, a head as uniair adapt writes it, with rounds, sites, links and
privacy on its card; and the state that the same command goes on from after it was stopped. uniair bench federated
compares with what every site learns alone, with all links in one place, with poisoned sites and with privacy.

--federation.aggregate median, trimmed, krum or multi-krum withstand --federation.poisoned sites; the mean withstands
none. --federation.epsilon 8 makes learning differentially private for every single link (DP-SGD by Opacus). The noise
of a rehearsal comes from the seed, so the head that it makes is not private.

Example:
  uniair federate simulate runs/validation --by place --federation.task los --out runs/federated
  uniair federate simulate runs/dense --federation.aggregate median --out runs/median
  uniair federate simulate runs/dense --federation.epsilon 8 --federation.batch 1024 --out runs/private
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.federation.aggregate import require_flower
from uniair.federation.agreement import Agreement, Federation
from uniair.training.heads import load_head


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("links", metavar="LINKS", type=str, help="links folder")
    parser.add_argument("--out", type=str, required=True, help="folder for head and state")
    parser.add_argument("--model", type=str, default="small", help="packaged model or checkpoint folder")
    parser.add_argument("--by", type=str, default="area", help="what a site is: an area, or a place")
    parser.add_argument("--first", type=int | None, default=None, help="only the first so many sites")
    parser.add_argument("--head", type=str | None, default=None, help="a head to begin from")
    parser.add_argument("--federation", type=Federation, default=Federation(), help="what is learned and how")


def run(options: Any) -> dict[str, Any]:
    """Runs all rounds, and prints the figures of every site."""
    plan: Federation = options.federation
    require_flower(plan.epsilon is not None)
    from uniair.federation.simulation import simulate, sites_of

    if options.first is not None and options.first < 1:
        raise InputError(f"--first {options.first}: give at least 1")
    store, model = Store(options.links), uniair.load(options.model)
    radio = store.one_radio()
    for remark in model.remarks(radio):
        print(remark)
    start = None if options.head is None else load_head(Path(options.head), model, plan.task)
    agreement, begin = Agreement.of(model, plan, radio, start, options.head or "")
    sites = sites_of(store, options.by, options.first)
    rounds = simulate(agreement, begin, model, sites, Path(options.out))
    about = rounds.about()
    key = agreement.task.headline
    for name, figures in about["figures"].items():
        print(f"{name:28}{about['sites'][name]:8,} links{key:>14} {figures[key]:.3f}")
    if about["privacy"]:
        print("the noise came from the seed, as a rehearsal's does: this head is not private")
    head = options.out, plan.adaptation
    print(f"{Path(head[0]) / f'federated-{head[1].task}-{head[1].reads}-{head[1].seed}.safetensors'}")
    return about
