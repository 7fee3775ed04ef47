"""Free English to tasks and arguments: the language model tells the task, a grammar the arguments; all is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from uniair.models.router import Route
from uniair.tasks.answers import Declined, Question
from uniair.tasks.scene import Scene
from uniair.tasks.task import Task
from uniair.tasks.words import foreign
from uniair.tasks.words.clauses import Clause, Cue, clauses
from uniair.tasks.words.leftovers import Account
from uniair.tasks.words.lexicon import lexicon
from uniair.tasks.words.marked import IDIOM, Marked, Refusal
from uniair.tasks.words.requests import Arguments, Request, inherited
from uniair.tasks.words.restrictions import Restrictions
from uniair.tasks.words.tokens import plain, tokens

SERVICE = "path_loss"  # the task by which stations are compared where none is named: the least loss serves best
SURE = 0.6  # least probability of a task that no word of the clause names
# the same of one that words of the clause name, where the router takes it for none of the tasks, or for another
NAMED, NAMED_AMONG = 0.1, 0.02
_DANGLING = ("at", "on", "the", "a", "with", "@")
_SAID = {"user": "the user", "station": "the base station", "position": "this position"}  # to the router


class Routes(Protocol):
    """Reads an instruction as `Router` does."""

    def route(self, instruction: str) -> Route:
        """The task, or None."""

    def limits(self, instruction: str, words: Sequence[tuple[int, int]]) -> list[float]:
        """The probability of some words that they limit what is asked."""


@dataclass(frozen=True)
class Understood:
    """What an instruction asks for.

    Attributes:
        requests: in their order.
    """

    requests: tuple[Request, ...]


def understand(
    instruction: str, scene: Scene, tasks: Sequence[Task], router: Routes
) -> Understood | Declined | Question:
    """Tasks and arguments of one instruction, or why there are none, or what has to be asked back.

    Args:
        tasks: that can be asked for.

    Raises:
        InputError: see `Router.route`.
    """
    declined = foreign.declined(instruction, scene.stations)
    if declined is not None:
        return declined
    words = lexicon(tasks)
    text = plain(instruction)
    if not text:
        router.route(instruction)  # which refuses it
    names = {name: ("station", number) for number, name in enumerate(scene.stations)}
    return _Reading(Marked.of(text, tokens(text, names, words), words), scene, tasks, router).result()


class _Reading:
    """One instruction as it is read."""

    def __init__(self, marked: Marked, scene: Scene, tasks: Sequence[Task], router: Routes) -> None:
        self.marked, self.scene, self.router = marked, scene, router
        self.tasks = {task.name: task for task in tasks}
        self.arguments = Arguments(marked, scene)
        self.clauses = clauses(marked)

    def result(self) -> Understood | Declined | Question:
        """The requests, or why there are none."""
        serving = self.arguments.ask_which_serves
        asking = [clause for clause in self.clauses if clause.cues or serving(clause)]
        asking = asking or [Clause(0, len(self.marked.tags), ())]
        routed = {clause: self._task(clause) for clause in asking}
        known = {clause: task for clause, task in routed.items() if task is not None}
        if not known:
            return self._nothing(asking)
        self._account(known)
        for clause, task in routed.items():
            if task is None and not self._tells(clause, asking):
                self.marked.refuse(clause.start, clause.end)
            for cue in clause.cues:
                told = any(clause.start <= at < clause.end for at in self.arguments.described)
                if task not in (None, cue.task) and not told and not self._goes_with(cue, clause, task):
                    self.marked.refuse(cue.start, cue.end, "that is another task")
        requests = []
        for clause, task in known.items():
            region = self._region(clause, [*known])
            found = self.arguments.each(region, self.tasks[task])
            whole = (
                found[0] if len(found) == 1 else replace(found[0], users=tuple(u for one in found for u in one.users))
            )
            if not any(region.start <= at < region.end for at in self.arguments.described):
                Restrictions(self.marked, region, whole, known.values()).settle()
            requests += found
        self.arguments.check_all_are_used(requests)
        if self.marked.refusals:
            return self._refused(requests[0].task)
        if self.marked.doubts:
            _, doubt = min(self.marked.doubts, key=lambda one: one[0])
            return Question(doubt.about, doubt.message, doubt.choices)
        return Understood(tuple(inherited(requests)))

    # what is asked for

    def _task(self, clause: Clause) -> str | None:
        """The task of a clause: the router's, unless its own words name another that the router thinks possible."""
        if clause in self.clauses and self.arguments.ask_which_serves(clause):
            return SERVICE if SERVICE in self.tasks else None
        if added := [name for name in clause.tasks if name in self.marked.words.added]:
            return added[0]
        route = self.router.route(self._plainly(clause))
        chances = route.probabilities
        task = route.task
        if not clause.cues and task is not None and chances.get(task, 1.0) < SURE:
            task = None
        if clause.cues and task not in clause.tasks:
            best = max(clause.tasks, key=lambda name: chances.get(name, 0.0))
            task = best if chances.get(best, 0.0) >= (NAMED if task is None else NAMED_AMONG) else task
        return task if task in self.tasks else None

    def _plainly(self, clause: Clause) -> str:
        """A clause as the router knows such: without numbers and names."""
        marked = self.marked
        if not any(marked.roles) and len(self.clauses) == 1:
            return marked.text
        out: list[str] = []
        before = ""
        for at in range(clause.start, clause.end):
            token, role = marked.tokens[at], marked.roles[at]
            if role in ("", "refused", IDIOM):
                said = marked.text[token.start : token.end]
                usual = role == IDIOM or said.lower().removesuffix("'s") == token.text
                out.append(said if usual else token.text)
            elif role != before:
                beams = "B" in marked.tags[at : at + 5]
                if role in _SAID or role == "candidates" or beams:
                    out.append(_SAID.get(role, "best beam" if beams else "best"))
                elif role in ("carrier", "radio"):
                    while out and out[-1] in _DANGLING:
                        out.pop()
            before = role
        text = " ".join(out)
        for mark in ",.?!;:":
            text = text.replace(f" {mark}", mark)
        end = marked.tokens[clause.end].text if clause.end < len(marked.tokens) else ""
        return text.strip(" ,:") + (end if end in (".", "?", "!") else "") or marked.text

    def _tells(self, clause: Clause, asking: Sequence[Clause]) -> bool:
        """Whether a clause is a sentence that only leads to what is asked, as "the sweep takes long" does."""
        end = self.marked.tokens[clause.end].text if clause.end < len(self.marked.tokens) else ""
        return end == "." and clause != asking[-1]

    def _goes_with(self, cue: Cue, clause: Clause, task: str | None) -> bool:
        """Whether words of another task only say more about the one that is asked: "the beam of least loss"."""
        start = max(clause.start, cue.start - 3)
        if self.marked.has("aside", cue.start, cue.end):
            return True
        return {cue.task, task} == {"beam", "precoding"} or self.marked.has("superlatives", start, cue.start)

    def _region(self, clause: Clause, known: Sequence[Clause]) -> Clause:
        """A clause and what stands between it and the next whose task is known; the first has what is before it too."""
        place = known.index(clause)
        start = 0 if place == 0 else clause.start
        end = known[place + 1].start if place + 1 < len(known) else len(self.marked.tags)
        return Clause(start, end, clause.cues)

    # what can't be honoured

    def _account(self, tasks: Mapping[Clause, str]) -> None:
        """Refuses what nothing explains."""
        for clause in self.clauses:
            asked = [tasks[clause]] if clause in tasks else [*tasks.values()]
            Account(self.marked, self.scene, clause.start, clause.end, asked, self._limits.__getitem__).settle()

    @cached_property
    def _limits(self) -> dict[int, float]:
        """Words that are not known → the probability that they limit what is asked."""
        allowed = self.marked.words.allowed
        odd = [(at, token) for at, token in enumerate(self.marked.tokens)
               if not self.marked.roles[at] and token.is_word and token.text not in allowed]  # fmt: skip
        found = self.router.limits(self.marked.text, [(token.start, token.end) for _, token in odd])
        return {at: value for (at, _), value in zip(odd, found, strict=True)}

    def _nothing(self, asking: Sequence[Clause]) -> Declined:
        """Declines what the router takes for none of the tasks, by the phrases that are known for that."""
        for clause in self.clauses:
            Account(self.marked, self.scene, clause.start, clause.end, (), lambda _: 0.0).settle()
            Restrictions(self.marked, clause, None, ()).settle()
        if self.marked.refusals and asking[0].cues:
            return self._refused(None)
        can = "; ".join(f"{task.tells} (from {task.needed})" for task in self.tasks.values())
        named = f": {_each(self._refusals)}" if self._refusals else ""
        refused = tuple(refusal.phrase for refusal in self._refusals)
        return Declined("out_of_scope", f"I can't answer that{named}. What I can tell is: {can}.", refused=refused)

    def _refused(self, task: str | None) -> Declined:
        """Declines by the phrases that can't be honoured."""
        scene = self.scene
        there = f"{scene.said_stations}; {scene.said_users}; {scene.radio}"
        message = (f"I can't take into account: {_each(self._refusals)}. "
                   f"I answer about the place and the radio as they are: {there}.")  # fmt: skip
        return Declined("not_honoured", message, task, refused=tuple(refusal.phrase for refusal in self._refusals))

    @property
    def _refusals(self) -> list[Refusal]:
        found = [refusal for _, refusal in sorted(self.marked.refusals, key=lambda one: one[0])]
        return list(dict.fromkeys(found))


def _each(refusals: Sequence[Refusal]) -> str:
    return "; ".join(f'"{refusal.phrase}"' + (f" ({refusal.why})" if refusal.why else "") for refusal in refusals)
