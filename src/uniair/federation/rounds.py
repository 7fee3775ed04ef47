"""Flower's server, round by round: who takes part, what is aggregated, and a state that a killed run goes on from."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flwr.common import (
    EvaluateIns,
    FitIns,
    ndarrays_to_parameters,
)
from flwr.server.client_manager import SimpleClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.server import Server, evaluate_clients, fit_clients
from safetensors.numpy import load_file, save_file

from uniair.errors import InputError
from uniair.federation.aggregate import AGGREGATES, Arrays, aggregated
from uniair.federation.agreement import FORMAT, Agreement
from uniair.federation.answer import PRIVACY, Answer, read_answer, read_figures
from uniair.federation.greeting import PROMPT, Greeting
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
        workers: 1 asks one site after another, as all that draw from one generator must be; None: all at once.
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
        self.rehearsal, self.data = rehearsal, data
        self.done = 0  # rounds
        self.history: list[dict[str, Any]] = []
        self.greeting = Greeting(self.client_manager(), agreement, secret, wait, workers == 1, say)
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
        left_out = Counter(name for each in self.history for name in each.get("left_out", {}))
        spent = [value for each in self.history for value in each.get("epsilon", {}).values()]
        return {
            "rounds": self.done, "sites": sites, self.agreement.counted: sum(sites.values()),
            "left_out": dict(sorted(left_out.items())), "aggregate": plan.aggregate,
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
        answers: dict[str, Answer] = {}
        left_out = self._unanswered(present, results, failures)
        for site, answer in results:
            name = self.greeting.joined[site.cid]
            try:
                answers[name] = read_answer(answer, self.agreement, self.model)
            except InputError as error:
                left_out[name] = str(error)
        left_out = dict(sorted(left_out.items()))
        for name, reason in left_out.items():
            self.say(f"round {number}: left out {name}: {reason}")
        least = max(plan.sites, AGGREGATES[plan.aggregate].fewest(plan.poisoned))
        if len(answers) < least:
            first = "".join(f" ({name}: {reason})" for name, reason in list(left_out.items())[:1])
            raise InputError(f"round {number}: {len(answers)} sites answered, {least} are needed{first}; "
                             f"{self._kept()}; run the same command again with more sites")  # fmt: skip
        # sums depend on their order in the last bits, and who answers first on the day
        answers = dict(sorted(answers.items()))
        arrays = self._aggregated(number, answers)
        entry: dict[str, Any] = {
            "round": number, "sites": {name: each.examples for name, each in answers.items()}, "left_out": left_out,
        }  # fmt: skip
        if self.agreement.private:
            for key in PRIVACY:
                entry[key] = {name: each.privacy[key] for name, each in answers.items()}
        else:
            entry["figures"] = self._figures(number, present, arrays, {})
        line = self._line(entry)  # all that is told of it is there before any of it is kept
        self.arrays, self.done, self.history = arrays, number, [*self.history, entry]
        self._save()
        self.say(line)

    def _aggregated(self, number: int, answers: Mapping[str, Answer]) -> Arrays:
        """One set of parameters of the sites'.

        Raises:
            InputError: it is none that could be kept.
        """
        plan = self.agreement.federation
        try:
            # each is finite, and their sum may not be
            with np.errstate(over="ignore", invalid="ignore"):
                sites = [(each.arrays, each.examples) for each in answers.values()]
                arrays = aggregated(plan.aggregate, plan.poisoned, sites)
            self.agreement.check(arrays, self.model)
        except InputError as error:
            raise InputError(f"round {number}: the {plan.aggregate} of {', '.join(answers)}: {error}; "
                             f"{self._kept()}") from error  # fmt: skip
        return arrays

    def _gather(self, number: int) -> list[ClientProxy]:
        """The sites of a round, once there are enough."""
        plan, began = self.agreement.federation, time.monotonic()
        while len(present := self.greeting.present()) < plan.sites:
            if time.monotonic() - began > self.wait:
                raise InputError(f"round {number}: {len(present)} sites are there after {self.wait:g} s, {plan.sites} "
                                 f"are needed; {self._kept()}; run the same command again with more sites")  # fmt: skip
            time.sleep(0.05)
        return present

    def _figures(
        self, number: int, present: list[ClientProxy], arrays: Arrays, config: dict[str, Any]
    ) -> dict[str, dict[str, float]]:
        """What the sites measure of such parameters, by name; of private ones nothing."""
        instructions = [(site, EvaluateIns(ndarrays_to_parameters(arrays), config)) for site in present]
        results, failures = evaluate_clients(instructions, self.max_workers, self.wait, number)
        found, without = {}, self._unanswered(present, results, failures)
        for site, answer in results:
            name = self.greeting.joined[site.cid]
            try:
                found[name] = {} if self.agreement.private else read_figures(answer.metrics, self.agreement)
            except InputError as error:
                without[name] = str(error)
        for name, reason in sorted(without.items()):
            self.say(f"round {number}: not measured by {name}: {reason}")
        return dict(sorted(found.items()))

    def _unanswered(self, asked: list[ClientProxy], results: Sequence[Any], failures: Sequence[Any]) -> dict[str, str]:
        """Why a site did not answer, by name."""
        said = [each for each in failures if not isinstance(each, BaseException)]
        found = {self.greeting.joined[site.cid]: " ".join(answer.status.message.split()) for site, answer in said}
        kinds = sorted({type(each).__name__ for each in failures if isinstance(each, BaseException)})
        heard = {site.cid for site, _ in [*results, *said]}
        gone = [self.greeting.joined[site.cid] for site in asked if site.cid not in heard]
        return found | dict.fromkeys(gone, f"it left, or did not answer in {self.wait:g} s ({', '.join(kinds)})")

    def _hand_out(self) -> None:
        try:
            there = self._gather(self.done)  # of a run that was killed after the last round they come again
        except InputError:
            self.say("too few sites are there to be handed the result; the same command waits for them again")
            return
        self._figures(self.done, there, self.arrays, {"about": json.dumps(self.about())})

    def let_go(self) -> None:
        """Ends every connection."""
        try:
            self.disconnect_all_clients(PROMPT)
        except Exception as error:  # one that is gone already
            self.say(f"a site left by itself ({type(error).__name__})")

    def _line(self, entry: dict[str, Any]) -> str:
        plan, headline = self.agreement.federation, self.agreement.headline
        sites, counted = entry["sites"], self.agreement.counted
        line = f"round {entry['round']} of {plan.rounds}: {len(sites)} sites, {sum(sites.values()):,} {counted}"
        if entry["left_out"]:
            line += f", {len(entry['left_out'])} left out"
        if figures := entry.get("figures"):
            line += f", {headline} {np.mean([each[headline] for each in figures.values()]):.3f}"
        if epsilon := entry.get("epsilon"):
            line += f", epsilon {max(epsilon.values()):.3g} at delta {plan.delta:g}"
        return line

    def _kept(self) -> str:
        where = "" if self.out is None else f" in {self.out}"
        return f"nothing is applied, what round {self.done} gave{where} stays"

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
