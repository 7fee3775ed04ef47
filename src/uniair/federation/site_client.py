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

from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.federation.aggregate import Arrays
from uniair.federation.agreement import Agreement
from uniair.federation.privacy import Account
from uniair.federation.shared_secret import proof
from uniair.federation.site_training import SiteData, SiteTraining, filled
from uniair.files import atomic_path
from uniair.models.universal import UniversalModel
from uniair.training.checkpoint import digest
from uniair.training.heads import divide, save_head

OK = Status(Code.OK, "")
ANSWER = "answer.safetensors"  # of the round that was learned last


class SiteClient(Client):
    """One site.

    A round that is asked for twice, as by a server that was killed, is learned once: the second answer is the first
    one's, so that nothing more is spent of the links' privacy.

    Args:
        name: under which the site joins.
        model: frozen.
        links: its own.
        out: folder for the account of privacy, the last answer, and the head in the end; None keeps nothing.
        epsilon: most that may be spent of the links' privacy; what is not private is refused then. None: any.
        data: of the links, where they are embedded already.
        seeded: as `SiteTraining.seeded`.
        secret: that the server asks for; one that does not is refused. None: this site knows none.
        say: what is done with a line for people.
    """

    def __init__(
        self, name: str, model: UniversalModel, links: Links, out: Path | None = None, *,
        epsilon: float | None = None, data: SiteData | None = None, seeded: bool = False,
        secret: bytes | None = None, say: Callable[[str], object] = lambda _: None,
    ) -> None:  # fmt: skip
        self.name, self.model, self.own, self.out, self.data = name, model, links, out, data
        self.epsilon, self.seeded, self.secret, self.say = epsilon, seeded, secret, say
        self.asked = time.monotonic()  # last
        self.refusal = ""  # why the site does not take part, or not any more
        self.training: SiteTraining | None = None
        self.head: Path | None = None  # that was handed out
        self._answer: tuple[str, Arrays] | None = None

    def get_properties(self, ins: GetPropertiesIns) -> GetPropertiesRes:
        """Joins, or says why it can't."""
        self.asked = time.monotonic()
        found: dict[str, Any] = {"name": self.name, "weights": digest(self.model), "links": 0, "refusal": ""}
        try:
            agreement = Agreement.from_json(str(ins.config["agreement"]))
            learn, _ = divide(self.own, agreement.federation.adaptation)
            found["links"] = len(learn)
            asked = agreement.federation.epsilon
            self.refusal = agreement.refusal(found["weights"], self.own.one_radio(), len(learn))
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
                self.data = self.data or SiteData.of(self.model, self.own, agreement)
                self.training = SiteTraining(self.name, agreement, self.data, account, self.seeded)
        except (InputError, KeyError) as error:
            self.refusal = str(error)
        found["refusal"] = self.refusal
        return GetPropertiesRes(OK, found)

    def get_parameters(self, ins: GetParametersIns) -> GetParametersRes:
        """None: the server has the head that all begin from."""
        status = Status(Code.GET_PARAMETERS_NOT_IMPLEMENTED, "the server has what all begin from")
        return GetParametersRes(status, ndarrays_to_parameters([]))

    def fit(self, ins: FitIns) -> FitRes:
        """Learns a round from the parameters that came."""
        try:
            training = self._joined()
            arrays, number = parameters_to_ndarrays(ins.parameters), int(ins.config["round"])
            asked = _name_of(training.agreement, arrays, number)
            found = self._kept(asked)
            if found is None:
                found = training.learn(arrays, number)
                self._keep(asked, found)
            said: dict[str, Any] = {"links": training.links}
            if (noise := training.noise) is not None:
                said |= {"epsilon": training.epsilon, "noise_multiplier": noise.multiplier, "sampling_rate": noise.rate}
            self.say(f"round {number}: learned from {training.links} links"
                     + (f", epsilon {training.epsilon:.3g} spent" if training.account is not None else ""))  # fmt: skip
            return FitRes(OK, ndarrays_to_parameters(found), training.links, said)
        except (InputError, KeyError, ValueError) as error:
            self.refusal = str(error)
            return FitRes(Status(Code.FIT_NOT_IMPLEMENTED, str(error)), Parameters([], ""), 0, {"name": self.name})

    def evaluate(self, ins: EvaluateIns) -> EvaluateRes:
        """Figures of the parameters that came on the links held out, or nothing where learning is private.

        In the end it also keeps the head.
        """
        try:
            training = self._joined()
            arrays = parameters_to_ndarrays(ins.parameters)
            figures = {} if training.agreement.private else training.figures(arrays)
            if "about" in ins.config and self.out is not None:
                about = json.loads(str(ins.config["about"]))
                self.head = keep_head(self.out, training.agreement, arrays, self.model, about)
            return EvaluateRes(OK, 0.0, training.links, dict(figures))
        except (InputError, KeyError, ValueError) as error:
            return EvaluateRes(Status(Code.EVALUATE_NOT_IMPLEMENTED, str(error)), 0.0, 0, {"name": self.name})

    def _joined(self) -> SiteTraining:
        self.asked = time.monotonic()
        if self.training is None:
            raise InputError(self.refusal or "asked to learn before it joined; start the server again")
        return self.training

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


def keep_head(
    out: Path, agreement: Agreement, arrays: Sequence[Any], model: UniversalModel, about: dict[str, Any]
) -> Path:
    """Writes a head as `uniair adapt` does; returns its file.

    Args:
        about: for its card: rounds, sites, links, aggregate, privacy.
    """
    adaptation = agreement.federation.adaptation
    path = out / f"federated-{adaptation.task}-{adaptation.reads}-{adaptation.seed}.safetensors"
    save_head(path, filled(agreement, arrays).eval(), adaptation, model, agreement.radio, {"federated": about})
    return path


def _name_of(agreement: Agreement, arrays: Sequence[Any], number: int) -> str:
    """Tells one question of a round from another."""
    found = hashlib.sha256(json.dumps([agreement.to_json(), number], sort_keys=True).encode())
    for values in arrays:
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()[:32]
