"""Take part in a federation with a site's own links or drives: they stay here, parameters travel.

What is sent: parameters, the number of links or steps, and unless learning is private the figures of those held out.

FOLDER is one of links (of uniair trace or import), from which a head is learned, or one of drives, from which a
forecaster is. The server says what is learned and with how much privacy; before anything is sent, the digest of the
model, and of links the radio, are compared, and where they differ the command ends with one line. In the end --out
holds what all sites learned: federated-TASK-INPUTS-SEED.safetensors, as uniair adapt writes it, or the folder
federated-forecast-PART-SEED, as uniair forecast adapt does. Until then whatever lies there stays.

With differential privacy (--federation.epsilon at the server; --epsilon refuses more than that, and less privacy) --out
also keeps privacy.json: all that was ever learned privately from these links, so that nothing is sent that would spend
more than the epsilon agreed on. Keep that file with the links: a federation that starts without it counts from 0. A
server that was killed is waited for, and a round that it asks for again is answered as it was.

Example:
  uniair federate client runs/links --server 127.0.0.1:8080 --name munich --out runs/munich
  uniair federate client runs/drives --server 127.0.0.1:8080 --name munich --out runs/munich
  uniair federate client runs/links --server leader.example:8080 --ca ca.pem --secret secret --out runs/munich
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.commands.drives import SCENARIOS, TOWER, are_drives, check_drives, drives_of, forecaster
from uniair.data.drives.drive import Drive
from uniair.data.links.links import Links
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.federation.aggregate import require_flower
from uniair.models.forecast import WMLM
from uniair.models.universal import UniversalModel
from uniair.training.forecasting import PACKAGED


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("data", metavar="FOLDER", type=str, help="links, or drives")
    parser.add_argument("--server", type=str, required=True, help="HOST:PORT of uniair federate server")
    parser.add_argument("--out", type=str, required=True, help="folder for what is learned, and the account of privacy")
    parser.add_argument("--name", type=str, default=socket.gethostname(), help="under which the site joins")
    parser.add_argument("--model", type=str | None, default=None,
                        help="packaged model, checkpoint folder, or forecaster; packaged if not given")  # fmt: skip
    parser.add_argument("--tower", type=str, default="small", help=TOWER)
    parser.add_argument("--areas", type=int | None, default=None, help="of links only the first so many areas")
    parser.add_argument("--scenarios", type=list[str], default=[], help=f"of drives {SCENARIOS}")
    parser.add_argument("--epsilon", type=float | None, default=None,
                        help="most that may be spent of privacy; whatever the server says if not given")  # fmt: skip
    parser.add_argument("--ca", type=str | None, default=None, help="certificate of who signed the server's, PEM")
    parser.add_argument("--secret", type=str | None, default=None, help="file with the secret that the server asks for")
    parser.add_argument("--wait", type=float, default=600.0, help="s to wait for a server")


def run(options: Any) -> dict[str, Any]:
    """Takes part until the last round."""
    require_flower(private=True)
    from uniair.federation.connection import check_address, join
    from uniair.federation.shared_secret import read_secret
    from uniair.federation.site_client import SiteClient

    if options.epsilon is not None and not options.epsilon > 0:
        raise InputError(f"--epsilon {options.epsilon}: give a number above 0, such as 8")
    if not options.wait > 0:
        raise InputError(f"--wait {options.wait}: give seconds above 0")
    check_address(options.server, options.ca is not None, "--server")
    if options.ca is not None and not Path(options.ca).is_file():
        raise InputError(f"--ca {options.ca}: no such file; give the certificate of who signed the server's")
    secret = read_secret(options.secret)
    model: UniversalModel | WMLM
    own: Links | list[Drive]
    if are_drives(folder := Path(options.data)):
        own, model = drives_of(folder, options.scenarios), forecaster(Path(options.model or PACKAGED), options.tower)
        check_drives(folder, own, model.preset)
    else:
        store, model = Store(folder).first(options.areas), uniair.load(options.model or "small")
        for remark in model.remarks(store.one_radio()):
            print(remark)
        own = Links.concatenate(list(store))
    client = SiteClient(
        options.name, model, own, Path(options.out), epsilon=options.epsilon, secret=secret,
        say=lambda line: print(line, flush=True),
    )  # fmt: skip
    join(client, options.server, options.wait, None if options.ca is None else Path(options.ca).read_bytes())
    assert client.kept is not None
    assert client.site is not None
    assert client.agreement is not None
    print(client.kept)
    return {"out": str(client.kept), client.agreement.counted: client.site.examples, "epsilon": client.site.epsilon}
