"""Flower's server, round by round: who takes part, what is aggregated, and a state that a killed run goes on from."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flwr.common import (
    EvaluateIns,
    EvaluateRes,
    FitIns,
    FitRes,
    GetPropertiesIns,
    ReconnectIns,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.server.client_manager import SimpleClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.server import Server, evaluate_clients, fit_clients, reconnect_clients
from safetensors.numpy import load_file, save_file

from uniair.errors import InputError
from uniair.federation.aggregate import AGGREGATES, Arrays, aggregated
from uniair.federation.agreement import FORMAT, Agreement
from uniair.federation.shared_secret import is_proof
from uniair.files import atomic_path
from uniair.models.forecast import WMLM
from uniair.models.universal import UniversalModel
from uniair.training.checkpoint import differences, read_header

STATE = "federation.safetensors"


class Rounds(Server):
    """All rounds of a federation. After each, state and result in `out` are replaced, one file in one step each.

    Args:
        agreement: what is learned.
        begin: the parameters of round 0.
        model: that a head reads embeddings of, or the forecaster that is learned.
        out: folder for state and what is learned; one that holds a state of the same agreement goes on from it.
        wait: s for sites to join, and for their answers.
        workers: sites that are asked at once; None: all.
        say: what is done with a line for people.
        rehearsal: the sites draw their noise from the seed, which the card then says.
        secret: that a site has to know; None: whoever reaches the server can join.
        data: tells what the sites learn from; None where nobody here knows that.

    Raises:
        InputError: `out` holds a federation with other settings or of other data, or a broken state.
    """

    def __init__(
        self, agreement: Agreement, begin: Sequence[Any], model: UniversalModel | WMLM, out: Path | None,
        wait: float = 600.0, workers: int | None = None, say: Callable[[str], object] = print, rehearsal: bool = False,
        secret: bytes | None = None, data: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(client_manager=SimpleClientManager())
        self.set_max_workers(workers)
        self.agreement, self.model, self.out, self.wait, self.say = agreement, model, out, wait, say
        self.arrays: Arrays = list(begin)
        self.rehearsal, self.secret, self.data = rehearsal, secret, data
        self.done = 0  # rounds
        self.history: list[dict[str, Any]] = []
        self.joined: dict[str, str] = {}  # name by Flower's id
        self._load()

    def run(self) -> None:
        """Every round that is left; then the sites are handed the result, and let go.

        Raises:
            InputError: too few sites joined or answered. Nothing of that round is applied; state and result of the
                round before stay.
        """
        try:
            while self.done < self.agreement.federation.rounds:
                self._round(self.done + 1)
            self._hand_out()
        finally:
            self.let_go()

    def about(self) -> dict[str, Any]:
        """The card: rounds, sites, what they learned from, aggregate, privacy."""
        plan = self.agreement.federation
        sites: dict[str, int] = {}
        for each in self.history:
            sites |= each["sites"]
        spent = [value for each in self.history for value in each.get("epsilon", {}).values()]
        return {
            "rounds": self.done, "sites": sites, self.agreement.counted: sum(sites.values()),
            "aggregate": plan.aggregate,
            "poisoned": None if plan.aggregate == "mean" else plan.poisoned,
            "privacy": None if plan.epsilon is None else {
                "epsilon": max(spent, default=0.0), "delta": plan.delta, "clip": plan.clip, "unit": "link",
                "accountant": "rdp", "rehearsal": self.rehearsal,
            },
            "begun": self.agreement.begun,
            "figures": self.history[-1].get("figures", {}) if self.history else {},
        }  # fmt: skip

    def _round(self, number: int) -> None:
        plan = self.agreement.federation
        present = self._gather(number)
        instructions = [(site, FitIns(ndarrays_to_parameters(self.arrays), {"round": number})) for site in present]
        results, failures = fit_clients(instructions, self.max_workers, self.wait, number)
        answers, reasons = {}, [_reason(self.joined, failure) for failure in failures]
        for site, answer in results:
            name = self.joined.get(site.cid, site.cid)
            try:
                arrays = parameters_to_ndarrays(answer.parameters)
                self.agreement.check(arrays, self.model)
                answers[name] = (arrays, answer)
            except (InputError, ValueError) as error:
                reasons.append(f"{name}: {error}")
        reasons.sort()
        for reason in reasons:
            self.say(f"round {number}: left out {reason}")
        least = max(plan.sites, AGGREGATES[plan.aggregate].fewest(plan.poisoned))
        if len(answers) < least:
            raise InputError(f"round {number}: {len(answers)} sites answered, {least} are needed"
                             + (f" ({reasons[0]})" if reasons else "") + "; " + self._kept())  # fmt: skip
        # sums depend on their order in the last bits, and who answers first on the day
        names = sorted(answers)
        self.arrays = aggregated(
            plan.aggregate, plan.poisoned, [(answers[name][0], answers[name][1].num_examples) for name in names]
        )
        self.done = number
        entry: dict[str, Any] = {"round": number, "sites": {name: answers[name][1].num_examples for name in names}}
        if self.agreement.private:
            for key in ("epsilon", "noise_multiplier", "sampling_rate"):
                entry[key] = {name: answers[name][1].metrics.get(key) for name in names}
        else:
            entry["figures"] = self._figures(present, {})
        self.history.append(entry)
        self._save()
        self.say(self._line(entry))

    def _gather(self, number: int) -> list[ClientProxy]:
        """The sites of a round, once there are enough; a new one is asked whether it agrees, and let go where not."""
        plan, began = self.agreement.federation, time.monotonic()
        while True:
            there = dict(self._client_manager.all())
            for cid in self.joined.keys() - there.keys():
                self.say(f"{self.joined.pop(cid)} has gone")
            for cid, site in there.items():
                if cid not in self.joined:
                    self._greet(site)
            present = [site for cid, site in self._client_manager.all().items() if cid in self.joined]
            if len(present) >= plan.sites:
                return sorted(present, key=lambda site: self.joined[site.cid])
            if time.monotonic() - began > self.wait:
                raise InputError(f"round {number}: {len(present)} sites are there after {self.wait:g} s, {plan.sites} "
                                 f"are needed; {self._kept()}")  # fmt: skip
            time.sleep(0.05)

    def _greet(self, site: ClientProxy) -> None:
        challenge = "" if self.secret is None else secrets.token_hex(16)
        ask = GetPropertiesIns({"agreement": json.dumps(self.agreement.to_json()), "challenge": challenge})
        try:
            said = site.get_properties(ask, self.wait, None).properties
        except Exception as error:  # whatever the transport raises when the other end is gone
            self._client_manager.unregister(site)
            self.say(f"a site left before it joined ({type(error).__name__})")
            return
        name, reason = str(said.get("name", site.cid)), str(said.get("refusal", ""))
        proved = self.secret is None or is_proof(self.secret, challenge, name, str(said.get("proof", "")))
        if not reason and not proved:
            reason = "it does not know the secret; give both the same --secret"
        if not reason and said.get("weights") != self.agreement.weights:
            reason = f"its model has the digest {said.get('weights')}, the federation's {self.agreement.weights}"
        if not reason and name in self.joined.values():
            reason = "another site has joined under that name; give --name"
        if not reason:
            self.joined[site.cid] = name
            self.say(f"{name} has joined, with {said.get('examples')} {self.agreement.counted}")
            return
        self.say(f"refused {name}: {reason}")
        self._client_manager.unregister(site)
        reconnect_clients([(site, ReconnectIns(None))], self.max_workers, self.wait)

    def _figures(self, present: list[ClientProxy], config: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """What the sites measure of the parameters as they are now, by name."""
        instructions = [(site, EvaluateIns(ndarrays_to_parameters(self.arrays), config)) for site in present]
        results, failures = evaluate_clients(instructions, self.max_workers, self.wait, self.done)
        for reason in sorted(_reason(self.joined, failure) for failure in failures):
            self.say(f"round {self.done}: not measured by {reason}")
        found = {self.joined[site.cid]: dict(res.metrics) for site, res in results if site.cid in self.joined}
        return dict(sorted(found.items()))

    def _hand_out(self) -> None:
        try:
            there = self._gather(self.done)  # of a run that was killed after the last round they come again
        except InputError:
            self.say("too few sites are there to be handed the result; the same command waits for them again")
            return
        self._figures(there, {"about": json.dumps(self.about())})

    def let_go(self) -> None:
        """Ends every connection."""
        try:
            self.disconnect_all_clients(self.wait)
        except Exception as error:  # one that is gone already
            self.say(f"a site left by itself ({type(error).__name__})")

    def _line(self, entry: dict[str, Any]) -> str:
        plan, headline = self.agreement.federation, self.agreement.headline
        sites, counted = entry["sites"], self.agreement.counted
        line = f"round {entry['round']} of {plan.rounds}: {len(sites)} sites, {sum(sites.values()):,} {counted}"
        if figures := entry.get("figures"):
            line += f", {headline} {np.mean([each[headline] for each in figures.values()]):.3f}"
        if epsilon := entry.get("epsilon"):
            line += f", epsilon {max(epsilon.values()):.3g} at delta {plan.delta:g}"
        return line

    def _kept(self) -> str:
        where = "" if self.out is None else f" in {self.out}"
        stays = f"what round {self.done} gave{where} stays"
        return f"nothing is applied, {stays}; run the same command again with more sites"

    def _save(self) -> None:
        if self.out is None:
            return
        header = {"format": FORMAT, "agreement": self.agreement.to_json(), "done": self.done, "history": self.history,
                  "data": self.data}  # fmt: skip
        tensors = {str(k): np.ascontiguousarray(values) for k, values in enumerate(self.arrays)}
        with atomic_path(self.out / STATE) as temporary:
            save_file(tensors, temporary, {"uniair": json.dumps(header)})
        self.agreement.keep(self.out, self.arrays, self.model, self.about())

    def _load(self) -> None:
        if self.out is None or not (path := self.out / STATE).exists():
            return
        header = read_header(path, "remove it to start again")
        if header.get("format") != FORMAT:
            raise InputError(f"{path}: the state of another version of uniair; remove it, or give another --out")
        now = json.loads(json.dumps(self.agreement.to_json()))
        if changed := differences(header["agreement"], now):
            raise InputError(f"{self.out}: holds a federation with another {changed[0]}; give another --out")
        if header.get("data") != self.data:
            raise InputError(f"{self.out}: holds a federation of other sites, or of others' data; give another --out")
        tensors = load_file(path)
        self.arrays = [tensors[str(k)] for k in range(len(tensors))]
        self.agreement.check(self.arrays, self.model)
        self.done, self.history = int(header["done"]), header["history"]
        self.agreement.keep(self.out, self.arrays, self.model, self.about())  # killed between the two


def _reason(joined: dict[str, str], failure: tuple[ClientProxy, FitRes | EvaluateRes] | BaseException) -> str:
    if isinstance(failure, BaseException):
        return f"a site that left ({type(failure).__name__})"
    return f"{joined.get(failure[0].cid, failure[0].cid)}: {failure[1].status.message}"
