"""Every word of an instruction is accounted for: what nothing took and nothing explains is refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from uniair.tasks.scene import Scene
from uniair.tasks.words.lexicon import longest
from uniair.tasks.words.marked import OTHER, Marked
from uniair.tasks.words.quantities import EXAMPLE

# `Router.limits` below which a word that is not known is passed over: anywhere, after a preposition or beside a user or
# station, where conditions stand, and beside words that name a task
HARMLESS, HARMLESS_THERE, HARMLESS_BESIDE = 0.15, 0.08, 0.05
_WHOLE = ("hypothesis", "exception")  # conditions that take the rest of their clause with them
_AFTER = ("under", "after", "before", "during", "through", "over", "within")  # prepositions beside the grammar's own
_VERBS = ("is", "are", "was", "be", "it", "and")
# units of answers → the tasks that answer in them
_IN = {"db": ("path_loss",), "decibel": ("path_loss",), "decibels": ("path_loss",), "percent": ("los", "beam"),
       "m": ("position",), "metre": ("position",), "metres": ("position",), "meter": ("position",),
       "meters": ("position",)}  # fmt: skip


@dataclass
class Account:
    """The account of some tokens.

    Attributes:
        start, end: tokens of a clause.
        tasks: that it asks for; may be empty.
        limits: token of a word that is not known → the probability that it limits what is asked (`Router.limits`).
    """

    marked: Marked
    scene: Scene
    start: int
    end: int
    tasks: Collection[str]
    limits: Callable[[int], float]

    def settle(self) -> None:
        """Refuses what nothing explains, and marks doubts."""
        rules = (self._restriction,
                 self._purpose, self._quantity, self._condition, self._number, self._unit, self._landmark, self._change,
                 self._neighbour, self._conjunct, self._allowed, self._unknown)  # fmt: skip
        at = self.start
        while at < self.end:
            if self.marked.roles[at]:
                at += 1
                continue
            at = next(stop for rule in rules if (stop := rule(at)) > at)

    # the rules: where what starts at a token ends, dealt with; 0 where they do not apply

    def _restriction(self, at: int) -> int:
        """Several words that restrict what is asked: `Restrictions` settles them."""
        length = self._longest(self.marked.words.restrictions, at)
        return at + length if length > 1 else 0

    def _purpose(self, at: int) -> int:
        """What the answer is for, "my coverage study", but no condition, as in "rain tests"."""
        after = self.marked.tokens[at + 1].text if at + 1 < self.end else ""
        length = self._longest(self.marked.words.conditions, at)
        named = length > 1 or (length == 1 and not self._is("people", at + 1))
        return 0 if named or after not in self.marked.words.purposes else at + 2

    def _quantity(self, at: int) -> int:
        """What no task tells; of a beam or precoder the most or least of some may be wanted."""
        words = self.marked.words
        length = self._longest(words.quantities, at)
        if not length or any(self.marked.roles[at : at + length]):
            return 0
        if self._is("measures", at) and not self._is_asked(at):
            return 0
        if {"beam", "precoding"} & set(self.tasks) and not self._is("measures", at):
            wanted = self._is("criteria", at) and self.marked.has("superlatives", max(self.start, at - 4), at)
            texts, after = self.marked.texts, at + length
            about_beam = texts[after : after + 1] == ["of"] and any(map(self.marked.is_cue, range(after, after + 4)))
            if wanted or (self._is("aims", at) and not about_beam):
                return at + length
        about = words.quantities[tuple(self.marked.texts[at : at + length])]
        return self._refuse(at, at + length, f"{about} is not among the answers")

    def _is_asked(self, at: int) -> bool:
        """Whether gain or power is what is asked for, and not what a beam is chosen by."""
        answered = "precoding" in self.tasks and not self._is("criteria", at)  # phases are what weights are
        if "path_loss" in self.tasks or not {"beam", "precoding"} & set(self.tasks) or answered:
            return False
        if self.marked.is_cue(at + 1):
            return False
        before = at - 1
        while before > self.start and (
            self.marked.tags[before] == "d" or self._is("superlatives", before) or self._is("parts", before)
        ):  # fmt: skip
            before -= 1
        said = self.marked.tokens[before].text if before >= self.start else ""
        cued = any(self.marked.is_cue(i) for i in range(self.start, max(before + 1, self.start)))
        return said in ("what", "which", "much", "is", "and", ",") or not (cued or before > self.start + 2)

    def _condition(self, at: int) -> int:
        length = self._longest(self.marked.words.conditions, at)
        if not length:
            return 0
        kind = self.marked.words.conditions[tuple(self.marked.texts[at : at + length])]
        if self._is_harmless(at, length, kind) or (kind == "hypothesis" and self._only_places(at)):
            return at + length
        return self._refuse(at, at + length, whole=kind in _WHOLE)

    def _number(self, at: int) -> int:
        """A number that nothing took."""
        token, texts = self.marked.tokens[at], self.marked.texts
        if token.value is None:
            return 0
        first = token.ordinal and (at == 0 or texts[at - 1] in (",", ".", "and", ";") or texts[at] in ("first", "1st"))
        purpose = bool(set(texts[max(0, at - 2) : at]) & self.marked.words.purposes)
        counted = purpose and (texts[at - 1] == "#" or texts[at - 1] in self.marked.words.purposes)  # ticket #4
        if (
            (token.as_word and token.value == 1)
            or first
            or counted
            or self._is("forms", at + 1)
            or self._is("forms", at + 2)
        ):
            return at + 1
        said = repr(self.marked.said(at, at + 1))
        if token.unit == "m":
            asked = "from where, and in which direction? Give x and y in m from the south-west corner"
            self.marked.doubt(at, "position", f"{said}: {asked}, such as {EXAMPLE}")
            return at + 1
        if token.unit or token.ordinal or token.as_word:
            return self._refuse(at, at + 1)
        asked = "of what? Say it with its unit or what it counts, such as user 3, 3.5 GHz or 120 m"
        self.marked.doubt(at, "number", f"{said}: {asked}")
        return at + 1

    def _unit(self, at: int) -> int:
        """Another unit than the answer's: "in feet"."""
        tasks = _IN.get(self.marked.tokens[at].text)
        if tasks is None or at == self.start or self.marked.tokens[at - 1].text != "in" or not self.tasks:
            return 0
        return 0 if set(tasks) & set(self.tasks) else self._refuse(at, at + 1, "answers have units of their own")

    def _landmark(self, at: int) -> int:
        """One that is told by where it stands: "the user at the corner"."""
        marked = self.marked
        if marked.tags[at] not in "US":
            return 0
        stop = at + 1
        while stop < self.end and not marked.roles[stop] and (marked.tags[stop] in "pd" or self._is("placing", stop)):
            stop += 1
        placed = any(self._is("placing", i) or marked.tokens[i].text in ("in", "at", "on") for i in range(at + 1, stop))
        if not placed or stop >= self.end or marked.roles[stop] or not self._is("landmarks", stop):
            return 0
        return self._which(at, stop + 1, "user" if marked.tags[at] == "U" else "station")

    def _change(self, at: int) -> int:
        """A part of the radio or the place that is meant to be another one: "a new antenna"."""
        if not self._is("changes", at):
            return 0
        for stop in range(at + 1, min(at + 4, self.end)):
            if self.marked.roles[stop] or self.marked.is_cue(stop):
                return 0
            if self._is("parts", stop):
                return self._refuse(at, stop + 1)
        return 0

    def _neighbour(self, at: int) -> int:
        said = self.marked.tokens[at].text
        if said not in ("neighbour", "neighbours"):
            return 0
        known = self.scene.said_stations
        self.marked.doubt(at, "station", f"{said!r}: which one? I know {known}", self.scene.stations)
        return at + 1

    def _conjunct(self, at: int) -> int:
        """Something that is asked for beside a task and is none: "beam and power"."""
        marked = self.marked
        if marked.tokens[at].text not in marked.words.radio or marked.is_cue(at):
            return 0
        before = at - 1
        while before > self.start and marked.tags[before] == "d":
            before -= 1
        joined = before > self.start and marked.tags[before] == "&"
        if not joined or not (marked.ends_cue(before - 1) or marked.ends_cue(before - 2)):
            return 0
        stop = self._end(at + 1)
        if stop < self.end and marked.is_cue(stop) and not marked.roles[stop]:
            return 0  # "beam and antenna weights"
        marked.refuse(at, stop, "that is not among the answers")
        return stop

    def _allowed(self, at: int) -> int:
        token = self.marked.tokens[at]
        known = token.text in self.marked.words.allowed or self.marked.tags[at] != OTHER
        return at + 1 if known or len(token.text) == 1 else 0

    def _unknown(self, at: int) -> int:
        """A word that is not known: it may tell which user or station is meant, limit what is asked, or do no harm."""
        marked, limits = self.marked, self.limits(at)
        shapes = {_shape(name) for name in self.scene.stations if any(map(str.isdigit, name))}
        if _shape(marked.tokens[at].text) in shapes:
            return self._which(at, at + 1, "station")
        before, after = at - 1, at + 1
        while (
            before > self.start
            and not marked.roles[before]
            and (marked.tags[before] in "pd" or self._is("placing", before))
        ):
            before -= 1
        for place in (before, after):
            noun = {"U": "user", "S": "station"}.get(marked.tags[place]) if self.start <= place < self.end else None
            if noun is not None and not marked.roles[place] and limits >= HARMLESS_THERE:
                stop = after + 1 if place == after else self._end(after)
                first = min(place, at)
                if any(self._longest(marked.words.conditions, i) for i in range(first, stop)):
                    return self._refuse(at, stop)
                return self._which(first, stop, noun)
        capital = at > self.start and marked.text[marked.tokens[at].start].isupper() and marked.tags[at - 1] not in "p>"
        if limits >= HARMLESS and capital and not {"user", "position"} & set(marked.roles):
            return self._which(at, at + 1, "user")  # where is Peter?
        return self._refuse(at, at + 1) if limits >= self._harmless(at) else at + 1

    # what the rules share

    def _is(self, name: str, at: int) -> bool:
        return at < self.end and self.marked.has(name, at, at + 1)

    def _longest(self, phrases: object, at: int) -> int:
        return longest(phrases, self.marked.texts[: self.end], at)  # type: ignore[arg-type]

    def _which(self, start: int, stop: int, noun: str) -> int:
        choices = self.scene.stations if noun == "station" else ()
        known = self.scene.said_stations if noun == "station" else self.scene.said_users
        said = repr(self.marked.said(start, stop))
        self.marked.doubt(start, noun, f"{said}: which {noun} is that? I know {known}", choices)
        self.marked.take(start, stop, noun)
        return stop

    def _refuse(self, at: int, stop: int, why: str = "", whole: bool = False) -> int:
        """Refuses a phrase: from its preposition on, to where it ends, or to the end of the clause."""
        marked, begin = self.marked, at
        for before in range(at - 1, max(self.start, at - 5) - 1, -1):
            text, tag = marked.tokens[before].text, marked.tags[before]
            if marked.roles[before] or tag in ".,&|()" or text in _VERBS or marked.is_cue(before):
                break
            if tag in "p>" or text in _AFTER:
                begin = before
                break
            begin = begin if tag == "w" else before
        stop = stop if whole else self._end(stop)
        while whole and stop < self.end and marked.tags[stop] not in ".,":
            stop += 1
        marked.refuse(begin, stop, why)
        return stop

    def _end(self, at: int) -> int:
        """Where a phrase ends."""
        marked = self.marked
        while at < self.end and not (marked.roles[at] or marked.tags[at] in "&|()p>.," or marked.is_cue(at)):
            at += 1
        return at

    def _harmless(self, at: int) -> float:
        """The threshold of a word that is not known, by where it stands."""
        marked = self.marked
        his = at > self.start and "'" in marked.text[marked.tokens[at - 1].end - 2 : marked.tokens[at].start]
        if his or marked.ends_cue(at - 1) or (at + 1 < self.end and marked.is_cue(at + 1)):
            return HARMLESS_BESIDE
        for before in range(at - 1, self.start - 1, -1):
            if marked.roles[before] or marked.tags[before] in ".,&|()U":
                break
            if marked.tags[before] in "p>":
                return HARMLESS_THERE
        return HARMLESS

    def _only_places(self, at: int) -> bool:
        """Whether a supposed case only says where a user stands, as arguments do."""
        marked = self.marked
        ends = (i for i in range(at, self.end) if marked.tags[i] in ".," and not marked.roles[i])
        return "position" in marked.roles[at : next(ends, self.end)]

    def _is_harmless(self, at: int, length: int, kind: str) -> bool:
        """Whether a word that often names a condition names none here."""
        marked, sets = self.marked, self.marked.words.sets
        word, texts = marked.tokens[at].text, marked.texts
        before, after = texts[max(0, at - 4) : at], texts[at + length : at + length + 3]
        first, second = (*after, "", "")[:2]
        if word == "if":
            return bool(set(before) & sets["whether"]) or first in sets["as_you_like"]
        if word in ("when", "whenever"):
            return first == "you"
        if word in ("suppose", "assume", "imagine"):
            return first in ("we", "i", "you") and second in sets["serve"]
        if length == 2 and word in ("instead", "rather"):
            return any(role in ("user", "station") for role in marked.roles[at + 2 : at + 4])
        if word in ("without", "sans"):
            return bool({first, second} & sets["dispensable"])
        if word in sets["dispensable"] and word.startswith("expla"):
            return any(self.marked.words.restrictions.get((said,)) in ("negation", "no") for said in before)
        if word == "rank":
            return not first.isdecimal() and before[-1:] not in (["of"], ["channel"])
        if word == "once":
            return first == "more" or before[-1:] == ["at"]
        return kind == "time" and (before[-1:] == ["good"] or (at == 0 and first in ("!", ",")))


def _shape(name: str) -> str:
    """Letters and digits alike: A1 is as B7."""
    return re.sub(r"\d+", "0", re.sub(r"[^\W\d_]", "a", name))
