"""What words do in an instruction; the words themselves are data, `instructions/lexicon.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any

from uniair.tasks.task import Task

Phrase = tuple[str, ...]
# of a task: name, keywords, title, what it is told and asked by, and what alone asks for it where it was added
Own = tuple[str, str, str, tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Words by what they do; a phrase is a tuple of them.

    Attributes:
        plain: that restrict nothing: grammar, politeness, asking.
        purposes: what answers are for; what stands before such a noun says more about it.
        radio: the channel, the place and the radio as they are.
        users, stations: nouns for them; `numbered` ones stand for a user where a number follows.
        idioms: several words that restrict nothing together, whatever each does alone.
        cues: phrase → the task that it asks for.
        conditions: phrase → what kind of condition it names, which nothing here can honour.
        quantities: phrase → what it asks for, written out, that no task tells.
        restrictions: phrase → how it restricts what is asked (`Restrictions.kinds`).
        excluding: phrases that leave out what they stand before.
        orders: word → the end of an order that it asks for: `better`, `worse`, `more` or `less`.
        sets: small sets of words that the grammar asks for by name.
        aliases: what people type → the word or words that it stands for.
        numbers: word → its number; `ordinals` the same of those that count from 1.
        marks: word → its tag in the grammar (`Marked`).
        added: tasks that ask by whole phrases alone, whose words mean in other places what they meant before.
    """

    plain: frozenset[str]
    purposes: frozenset[str]
    radio: frozenset[str]
    users: frozenset[str]
    numbered: frozenset[str]
    stations: frozenset[str]
    idioms: Mapping[Phrase, str]
    cues: Mapping[Phrase, str]
    conditions: Mapping[Phrase, str]
    quantities: Mapping[Phrase, str]
    restrictions: Mapping[Phrase, str]
    excluding: Mapping[Phrase, str]
    orders: Mapping[str, str]
    sets: Mapping[str, frozenset[str]]
    aliases: Mapping[str, str]
    numbers: Mapping[str, int]
    ordinals: Mapping[str, int]
    marks: Mapping[str, str]
    added: frozenset[str] = frozenset()

    @cached_property
    def allowed(self) -> frozenset[str]:
        """Words that need no further account."""
        asking = {word for cue in self._learned for word in cue}
        settled = {word for phrases in (self.restrictions, self.excluding) for phrase in phrases for word in phrase}
        settled |= self.sets["fractions"]
        nouns = self.users | self.numbered | self.stations
        return self.plain | self.purposes | self.radio | nouns | asking | settled

    @cached_property
    def longest_cue(self) -> int:
        """Words in it."""
        return max(map(len, self.cues))

    @property
    def _learned(self) -> list[Phrase]:
        """Phrases that ask for a task which was not added."""
        return [phrase for phrase, task in self.cues.items() if task not in self.added]

    @cached_property
    def known(self) -> frozenset[str]:
        """Words that are spelt right."""
        all_phrases = (self.conditions, self.quantities, self.cues)
        more = (word for phrases in all_phrases for phrase in phrases for word in phrase)
        return frozenset().union(self.allowed, self.marks, self.numbers, self.ordinals, *self.sets.values(), more)

    @cached_property
    def mended(self) -> frozenset[str]:
        """What a misspelt word may have been meant to be: words that decide what is asked."""
        asking = {"what", "which", "where", "from", "with", "between", "please", "building"}
        long = {word for word in self.radio if len(word) > 6}
        return self.users | self.stations | asking | long | {word for phrase in self._learned for word in phrase}


def lexicon(tasks: Iterable[Task]) -> Lexicon:
    """The packaged words, and those of tasks that have none there: what they are called, tell and are asked by."""
    return _lexicon(tuple((t.name, t.keywords, t.title, (t.tells, t.about, *t.phrases), t.asked_by) for t in tasks))


def longest(phrases: Mapping[Phrase, Any], words: Sequence[str], at: int, most: int = 4) -> int:
    """How many words from a place on are one of the phrases, at most: 0 where none is."""
    for length in range(min(most, len(words) - at), 0, -1):
        if tuple(words[at : at + length]) in phrases:
            return length
    return 0


@lru_cache(maxsize=8)
def _lexicon(tasks: tuple[Own, ...]) -> Lexicon:
    text = resources.files("uniair").joinpath("instructions", "lexicon.json").read_text(encoding="utf-8")
    entries: dict[str, Any] = json.loads(text)
    cues = {phrase: task for task, lines in entries["cues"].items() for phrase in _phrases(lines)}
    own: set[str] = set()
    for name, keywords, title, said, asked_by in tasks:
        if asked_by:
            cues |= dict.fromkeys(map(_phrase, asked_by), name)
        elif name not in entries["cues"]:
            cues |= dict.fromkeys(_phrases([keywords.lower(), title.lower()]), name)
            own |= {word.strip("?.,()").lower() for part in (keywords, title, *said) for word in part.split()}
    conditions = {phrase: kind for kind, lines in entries["conditions"].items() for phrase in _phrases(lines)}
    restrictions = {phrase: kind for kind, lines in entries["restrictions"].items() for phrase in _phrases(lines)}
    quantities = {_phrase(key): about for key, about in entries["quantities"].items()}
    ones, tens, ordinals = (" ".join(entries["numbers"][name]).split() for name in ("ones", "tens", "ordinals"))
    plain, purposes, radio, users, numbered, stations = (
        frozenset(" ".join(entries[name]).split())
        for name in ("plain", "purposes", "radio", "users", "numbered", "stations")
    )
    return Lexicon(
        plain | own, purposes, radio, users, numbered, stations,
        dict.fromkeys(_phrases(entries["idioms"]), ""), cues,
        {phrase: kind for phrase, kind in conditions.items() if not own.issuperset(phrase)},
        {phrase: about for phrase, about in quantities.items() if not own.issuperset(phrase)},
        {phrase: kind for phrase, kind in restrictions.items() if not own.issuperset(phrase)},
        dict.fromkeys(_phrases(entries["excluding"]), ""),
        {word: end for end, line in entries["orders"].items() for word in line.split()},
        {name: frozenset(" ".join(lines).split()) for name, lines in entries["sets"].items()},
        entries["aliases"],
        {word: i for i, word in enumerate(ones)} | {word: 20 + 10 * i for i, word in enumerate(tens)},
        {word: 1 + i for i, word in enumerate(ordinals)} | {"hundredth": 100}
        | {f"{word[:-1]}ieth": 20 + 10 * i for i, word in enumerate(tens)},
        {word: tag for tag, words in entries["marks"].items() for word in words.split()},
        frozenset(name for name, *_, asked_by in tasks if asked_by),
    )  # fmt: skip


def _phrases(lines: Iterable[str]) -> list[Phrase]:
    return [_phrase(phrase) for line in lines for phrase in line.split(", ")]


def _phrase(text: str) -> Phrase:
    return tuple(text.replace("-", " ").split())
