"""A site as Flower's server sees it: it answers what it is asked, with parameters, figures and reasons, never data."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flwr.client import Client
from flwr.common import (
    Code,
    EvaluateIns,
    EvaluateRes,
    FitIns,
    FitRes,
    GetParametersIns,
    GetParametersRes,
    GetPropertiesIns,
    GetPropertiesRes,
    Parameters,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from safetensors.numpy import load, save

from uniair.data.digest import data_digest
from uniair.data.drives.drive import Drive
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.federation.aggregate import Arrays
from uniair.federation.agreement import Agreement, Site, read
from uniair.federation.forecast_agreement import ForecastAgreement
from uniair.federation.head_agreement import HeadAgreement
from uniair.federation.privacy import Account
from uniair.federation.shared_secret import proof
from uniair.files import atomic_path
from uniair.models.forecast import WMLM
from uniair.models.universal import UniversalModel
from uniair.training.checkpoint import digest

OK = Status(Code.OK, "")
ANSWER = "answer.safetensors"  # of the round that was learned last


class SiteClient(Client):
    """One site.

    A round that is asked for twice, as by a server that was killed, is learned once: the second answer is the first
    one's, so that nothing more is spent of the links' privacy.

    Args:
        name: under which the site joins.
        model: that its head reads embeddings of, or the forecaster that is learned.
        own: its links or drives.
        out: folder for the account of privacy, the last answer, and what was learned in the end; None keeps nothing.
        epsilon: most that may be spent of the links' privacy; what is not private is refused then. None: any.
        seeded: as `Agreement.site`.
        secret: that the server asks for; one that does not is refused. None: this site knows none.
        say: what is done with a line for people.
    """

    def __init__(
        self, name: str, model: UniversalModel | WMLM, own: Links | Sequence[Drive], out: Path | None = None, *,
        epsilon: float | None = None, seeded: bool = False,
        secret: bytes | None = None, say: Callable[[str], object] = lambda _: None,
    ) -> None:  # fmt: skip
        self.name, self.model, self.own, self.out = name, model, own, out
        self.epsilon, self.seeded, self.secret, self.say = epsilon, seeded, secret, say
        self.asked = time.monotonic()  # last
        self.refusal = ""  # why the site does not take part, or not any more
        self.agreement: Agreement | None = None
        self.site: Site | None = None
        self.kept: Path | None = None  # what was handed out
        self._data = data_digest(own)
        self._answer: tuple[str, Arrays] | None = None

    def get_properties(self, ins: GetPropertiesIns) -> GetPropertiesRes:
        """Joins, or says why it can't; or hears why the server lets it go."""
        self.asked = time.monotonic()
        if "refusal" in ins.config:
            self.refusal = str(ins.config["refusal"])
            return GetPropertiesRes(OK, {})
        found: dict[str, Any] = {"name": self.name, "weights": digest(self.model), "examples": 0, "refusal": ""}
        try:
            agreement = read(str(ins.config["agreement"]), HeadAgreement, ForecastAgreement)
            found["examples"] = agreement.examples(self.own)
            asked = agreement.federation.epsilon
            self.refusal = agreement.refusal(found["weights"], self.own)
            if self.epsilon is not None and (asked is None or asked > self.epsilon):
                wanted = "learning that is not private" if asked is None else f"epsilon {asked:g}"
                self.refusal = f"the server asks for {wanted}, this site spends at most epsilon {self.epsilon:g}"
            challenge = str(ins.config.get("challenge", ""))
            if self.secret is not None and not challenge:
                self.refusal = "the server asks for no secret; give it --secret"
            elif challenge and self.secret is None:
                self.refusal = "the server asks for a secret; give --secret"
            elif self.secret is not None:
                found["proof"] = proof(self.secret, challenge, self.name)
            if not self.refusal:
                account = Account(self.out) if agreement.private else None
                self.agreement, self.site = agreement, self.made(agreement, account)
        except (InputError, KeyError) as error:
            self.refusal = str(error)
        found["refusal"] = self.refusal
        return GetPropertiesRes(OK, found)

    def made(self, agreement: Agreement, account: Account | None) -> Site:
        """What learns here.

        Raises:
            InputError: it can't learn what was agreed on.
        """
        return agreement.site(self.name, self.model, self.own, account, self.seeded)

    def get_parameters(self, ins: GetParametersIns) -> GetParametersRes:
        """None: the server has what all begin from."""
        status = Status(Code.GET_PARAMETERS_NOT_IMPLEMENTED, "the server has what all begin from")
        return GetParametersRes(status, ndarrays_to_parameters([]))

    def fit(self, ins: FitIns) -> FitRes:
        """Learns a round from the parameters that came."""
        try:
            agreement, site = self._joined()
            arrays, number = parameters_to_ndarrays(ins.parameters), int(ins.config["round"])
            asked = _name_of(agreement, arrays, number, self._data)
            found = self._kept(asked)
            if found is None:
                found = site.learn(arrays, number)
                self._keep(asked, found)
            said: dict[str, Any] = {}
            if (noise := site.noise) is not None:
                said |= {"epsilon": site.epsilon, "noise_multiplier": noise.multiplier, "sampling_rate": noise.rate}
            self.say(f"round {number}: learned from {site.examples} {agreement.counted}"
                     + ("" if site.epsilon is None else f", epsilon {site.epsilon:.3g} spent"))  # fmt: skip
            return FitRes(OK, ndarrays_to_parameters(found), site.examples, said)
        except (InputError, KeyError, ValueError) as error:
            self.refusal = str(error)
            return FitRes(Status(Code.FIT_NOT_IMPLEMENTED, str(error)), Parameters([], ""), 0, {"name": self.name})

    def evaluate(self, ins: EvaluateIns) -> EvaluateRes:
        """Figures of the parameters that came on what is held out, or nothing where learning is private.

        In the end it also keeps what was learned.
        """
        try:
            agreement, site = self._joined()
            arrays = parameters_to_ndarrays(ins.parameters)
            figures = {} if agreement.private else site.figures(arrays)
            if "about" in ins.config and self.out is not None:
                self.kept = agreement.keep(self.out, arrays, self.model, json.loads(str(ins.config["about"])))
            return EvaluateRes(OK, 0.0, site.examples, dict(figures))
        except (InputError, KeyError, ValueError) as error:
            return EvaluateRes(Status(Code.EVALUATE_NOT_IMPLEMENTED, str(error)), 0.0, 0, {"name": self.name})

    def _joined(self) -> tuple[Agreement, Site]:
        self.asked = time.monotonic()
        if self.agreement is None or self.site is None:
            raise InputError(self.refusal or "asked to learn before it joined; start the server again")
        return self.agreement, self.site

    def _kept(self, asked: str) -> Arrays | None:
        if self._answer is None and self.out is not None and (path := self.out / ANSWER).exists():
            try:
                tensors = load(path.read_bytes())
                name = next(iter(tensors)).split("/")[0]
                self._answer = name, [tensors[key] for key in sorted(tensors, key=lambda key: int(key.split("/")[1]))]
            except Exception:  # an answer that can't be read is learned again
                return None
        return None if self._answer is None or self._answer[0] != asked else self._answer[1]

    def _keep(self, asked: str, found: Arrays) -> None:
        self._answer = asked, found
        if self.out is not None:
            with atomic_path(self.out / ANSWER) as temporary:
                temporary.write_bytes(save({f"{asked}/{k}": values for k, values in enumerate(found)}))


def _name_of(agreement: Agreement, arrays: Sequence[Any], number: int, data: str) -> str:
    """Tells one question of a round, about data of such a digest, from another."""
    found = hashlib.sha256(json.dumps([agreement.to_json(), number, data], sort_keys=True).encode())
    for values in arrays:
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()[:32]
