"""Lead a federation: sites that keep their data learn one head together; parameters of the head travel, never data.

The server has no data. It waits until --federation.sites sites have joined (uniair federate client), sends them the
head, lets each learn from its own links, and aggregates what comes back: --federation.rounds times. A site whose model
has another digest, or whose links are of another radio than --radio, is refused by name. A round without enough sites
is not applied: the command ends with one line, the head of the round before stays in --out, and the same command goes
on from there, as it does after a kill.

In --out: federated-TASK-INPUTS-SEED.safetensors, a head as uniair adapt writes it, replaced after every round, with
rounds, sites, links, aggregate and privacy on its card; federation.safetensors, the state.

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

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.errors import InputError
from uniair.federation.aggregate import require_flower
from uniair.federation.agreement import Agreement, Federation
from uniair.radio import Radio
from uniair.training.heads import load_head


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--out", type=str, required=True, help="folder for head and state")
    parser.add_argument("--model", type=str, default="small", help="packaged model or checkpoint folder")
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
    model = uniair.load(options.model)
    radio = model.radio if options.radio is None else Radio.parse(options.radio)
    start = None if options.head is None else load_head(Path(options.head), model, plan.task)
    agreement, begin = Agreement.of(model, plan, radio, start, options.head or "")
    rounds = Rounds(
        agreement, begin, model, Path(options.out), options.wait, secret=secret,
        say=lambda line: print(line, flush=True),
    )  # fmt: skip
    print(f"{options.address}: waits for {plan.sites} sites with model {agreement.weights}, {radio}", flush=True)
    serve(rounds, options.address, certificates)
    print(f"{options.out}: the head of {rounds.done} rounds")
    return rounds.about()
