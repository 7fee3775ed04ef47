"""Lead a federation: sites that keep their data learn one head or forecaster together; parameters travel, never data.

The server has no data. It waits until --federation.sites sites have joined (uniair federate client), sends them the
parameters, lets each learn from its own links or drives, and aggregates what comes back: --federation.rounds times. A
site whose model has another digest, or whose links are of another radio than --radio, is refused by name. A round
without enough sites is not applied: the command ends with one line, what the round before gave stays in --out, and the
same command goes on from there, as it does after a kill.

In --out: federated-TASK-INPUTS-SEED.safetensors, a head as uniair adapt writes it, replaced after every round, with
rounds, sites, links, aggregate and privacy on its card; federation.safetensors, the state. With --federation.task
forecast, LoRA (or --federation.part head, or all) of the forecaster --model learns from drives instead, and the folder
federated-forecast-PART-SEED is what uniair forecast adapt would write.

--federation.aggregate median, trimmed, krum or multi-krum withstand --federation.poisoned sites; the mean withstands
none. --federation.epsilon 8 has every site learn with differential privacy of a single link (DP-SGD by Opacus), at
--federation.delta. The noise is drawn at the sites: what they send is private from the server too.

Between machines a federation speaks TLS alone: --tls is a folder with ca.pem, server.pem and server.key. With --secret,
a file that sites have too, only who knows it joins (it is proved, never sent); without, whoever reaches the address
can. Transport, sites and aggregates are Flower's; it reports to nobody.

Example:
  uniair federate server --federation.task los --federation.sites 8 --out runs/server
  uniair federate server --address 0.0.0.0:8080 --tls keys --secret secret --out runs/server
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.commands.drives import TOWER, forecaster
from uniair.errors import InputError
from uniair.federation.aggregate import require_flower
from uniair.federation.agreement import FORECAST, Agreement, Federation
from uniair.models.forecast import WMLM
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.training.forecasting import PACKAGED
from uniair.training.heads import load_head


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--out", type=str, required=True, help="folder for result and state")
    parser.add_argument("--model", type=str | None, default=None,
                        help="packaged model, checkpoint folder, or forecaster; packaged if not given")  # fmt: skip
    parser.add_argument("--tower", type=str, default="small", help=TOWER)
    parser.add_argument("--radio", type=str | None, default=None,
                        help="of the sites' links, file or JSON; the model's own if not given")  # fmt: skip
    parser.add_argument("--head", type=str | None, default=None, help="a head to begin from")
    parser.add_argument("--address", type=str, default="127.0.0.1:8080", help="where sites reach it")
    parser.add_argument("--tls", type=str | None, default=None, help="folder with ca.pem, server.pem, server.key")
    parser.add_argument("--secret", type=str | None, default=None, help="file with a secret that sites have to know")
    parser.add_argument("--wait", type=float, default=600.0, help="s for enough sites to join, and for their answers")
    parser.add_argument("--federation", type=Federation, default=Federation(), help="what is learned and how")


def run(options: Any) -> dict[str, Any]:
    """Leads all rounds."""
    plan: Federation = options.federation
    require_flower()
    from uniair.federation.connection import check_address, read_certificates, serve
    from uniair.federation.rounds import Rounds
    from uniair.federation.shared_secret import read_secret

    if not options.wait > 0:
        raise InputError(f"--wait {options.wait}: give seconds above 0")
    check_address(options.address, options.tls is not None, "--address")
    secret = read_secret(options.secret)
    certificates = None if options.tls is None else read_certificates(Path(options.tls))
    agreement, begin, model = _begun(options)
    rounds = Rounds(
        agreement, begin, model, Path(options.out), options.wait, secret=secret,
        say=lambda line: print(line, flush=True),
    )  # fmt: skip
    print(f"{options.address}: waits for {plan.sites} sites with model {agreement.weights}{agreement.more}", flush=True)
    serve(rounds, options.address, certificates)
    print(f"{agreement.kept_at(Path(options.out))}: {rounds.done} rounds")
    return rounds.about()


def _begun(options: Any) -> tuple[Agreement, Sequence[Any], UniversalModel | WMLM]:
    """What is agreed on, and what all begin from."""
    from uniair.federation.forecast_agreement import ForecastAgreement
    from uniair.federation.head_agreement import HeadAgreement

    plan: Federation = options.federation
    if plan.task == FORECAST:
        for name in ("radio", "head"):
            if getattr(options, name) is not None:
                raise InputError(f"--{name}: heads have one, a forecaster is learned from drives; leave it out")
        base = forecaster(Path(options.model or PACKAGED), options.tower)
        return *ForecastAgreement.of(base, plan, options.model or "the packaged forecaster"), base
    model = uniair.load(options.model or "small")
    radio = model.radio if options.radio is None else Radio.parse(options.radio)
    start = None if options.head is None else load_head(Path(options.head), model, plan.task)
    return *HeadAgreement.of(model, plan, radio, start, options.head or ""), model
