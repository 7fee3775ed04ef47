"""A task and its arguments, from what an instruction or an agent's tool call names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from uniair.errors import InputError
from uniair.tasks.answers import Declined, Question
from uniair.tasks.scene import Scene
from uniair.tasks.task import Task
from uniair.tasks.words import exclusions, parts, quantities, references, relations
from uniair.tasks.words.clauses import Clause
from uniair.tasks.words.marked import ONE_WAY, Marked
from uniair.tasks.words.references import Mention

XYZ = tuple[float, float, float]


@dataclass(frozen=True)
class Request:
    """A task and its arguments.

    Attributes:
        task: its name.
        users, stations: numbers; empty: the one in front.
        positions: x, y, z in m from the south-west corner, in the place of users.
        carrier: Hz, where it was said.
        candidates: how many of the likeliest; None: not said.
        compare: `users` or `stations`: which of them is better; None: nothing is compared.
        worst_first: it is asked which of them is worse.
    """

    task: str
    users: tuple[int, ...] = ()
    stations: tuple[int, ...] = ()
    positions: tuple[XYZ, ...] = ()
    carrier: float | None = None
    candidates: int | None = None
    compare: str | None = None
    worst_first: bool = False


class Arguments:
    """The arguments that an instruction names, taken out of it."""

    def __init__(self, marked: Marked, scene: Scene) -> None:
        self.marked, self.every = marked, scene.stations
        relations.directions(marked)
        parts.refuse(marked, scene)
        quantities.decimals(marked)
        self.places = quantities.positions(marked, scene)
        self.carriers = quantities.carriers(marked, scene)
        self.stations = exclusions.applied(marked, references.stations(marked, scene), "station")
        self.users = exclusions.applied(marked, references.users(marked, scene), "user")
        self.counts = quantities.candidates(marked, scene)
        quantities.ports(marked, scene)
        relations.neighbours(marked, scene, [*self.stations, *self.users])
        self.described = relations.descriptions(marked, scene)
        parts.doubt_plurals(marked, scene)

    def each(self, region: Clause, task: Task) -> list[Request]:
        """The requests of a task in a stretch of tokens: several where it names pairs of a user and a station."""
        starts = self._pairs(region)
        ends = [*starts[1:], region.end]
        return [self.of(Clause(start, end, region.cues), task) for start, end in zip(starts, ends, strict=True)]

    def _pairs(self, region: Clause) -> list[int]:
        """Where pairs start, as in "user 3 from bs1 and user 4 from bs2"; else the region's start alone."""
        named = [("user", mention) for mention in within(self.users, region)]
        named += [("station", mention) for mention in within(self.stations, region)]
        named.sort(key=lambda one: one[1].start)
        kinds = [kind for kind, _ in named]
        paired = len(kinds) > 3 and kinds[0] != kinds[1] and kinds == kinds[:2] * (len(kinds) // 2)
        single = all(len(mention.numbers) == 1 for _, mention in named)
        joined = all("&" in self.marked.tags[one.end : other.start]
                     for (_, one), (_, other) in zip(named[1::2], named[2::2], strict=False))  # fmt: skip
        if not (paired and single and joined):
            return [region.start]
        return [region.start, *(mention.start for _, mention in named[2::2])]

    def of(self, region: Clause, task: Task) -> Request:
        """The request of a task with what a stretch of tokens names; what is wrong with it is marked."""
        marked = self.marked
        users, users_apart = self._merged(within(self.users, region), "user")
        stations, stations_apart = self._merged(within(self.stations, region), "station")
        places = [place for place in self.places if region.start <= place.start < region.end]
        if places and users:
            said = marked.said(places[0].start, places[0].end)
            marked.doubt(region.start, "user", f"a user and a position, {said!r}: which of them is meant?")
        if len(places) > 1 and self.marked.texts[places[0].start - 1] == "between":
            marked.refuse(places[0].start, places[-1].end, ONE_WAY, take=False)
        counts = [count for count in self.counts if region.start <= count.start < region.end]
        if len({count.number for count in counts}) > 1:
            said = " and ".join(repr(marked.said(count.start, count.end)) for count in counts)
            marked.doubt(counts[0].start, "candidates", f"{said}: how many?")
        if counts and not task.candidates:
            end = min(counts[0].end + 1, len(marked.tags))
            marked.refuse(counts[0].start, end, "there is one answer, not several")
        serving = any(text == "who" and marked.is_cue(at + 1) for at, text in enumerate(marked.texts[:-1]))
        if serving and len(users) == 1 and not stations and len(self.every) > 1:  # who sees user 3?
            marked.doubt(region.start, "station", f"which of the stations {', '.join(self.every)}?", self.every)
        carriers = [hertz for at, hertz in self.carriers if region.start <= at < region.end]
        compare = self._compare(
            region, task, {"stations": (stations, stations_apart), "users": (users, users_apart)}
        )  # fmt: skip
        return Request(
            task.name, users, stations, tuple(place.xyz for place in places if place.xyz is not None),
            carriers[0] if carriers else None, counts[0].number if counts and task.candidates else None,
            compare, compare is not None and self._worst_first(region, task),
        )  # fmt: skip

    def check_all_are_used(self, requests: Sequence[Request]) -> None:
        """Doubts what was named and is in none of the requests."""
        for kind, mentions in (("users", self.users), ("stations", self.stations)):
            used = {number for request in requests for number in getattr(request, kind)}
            for mention in mentions:
                if not mention.asked and not used.issuperset(mention.numbers):
                    said = self.marked.said(mention.start, mention.end)
                    self.marked.doubt(mention.start, kind[:-1], f"{said!r}: what about it?")
        places = {position for request in requests for position in request.positions}
        for place in self.places:
            if place.xyz is not None and place.xyz not in places:
                said = self.marked.said(place.start, place.end)
                self.marked.doubt(place.start, "position", f"{said!r}: what about it?")

    def ask_which_serves(self, clause: Clause) -> bool:
        """Whether a clause asks which of several stations serves better, without saying by what."""
        sets, mentions = self.marked.words.sets, within(self.stations, clause)
        several = len({number for mention in mentions for number in mention.numbers}) > 1
        doubted = any(doubt.about == "station" for _, doubt in self.marked.doubts)
        asked = doubted or any(mention.asked or mention.either for mention in mentions)
        if clause.cues or not mentions or not (asked or several):
            return False
        texts = {self.marked.tokens[at].text for at in self._open(clause)}
        apart = any(mention.either or mention.best for mention in mentions)
        if apart or texts & (sets["comparing"] | sets["comparatives"]):
            return True
        return bool(texts & sets["serving"]) and (asked or len(mentions) > 1 or bool(texts & {"which", "who"}))

    def _open(self, region: Clause) -> list[int]:
        """Tokens that were taken for nothing."""
        return [at for at in range(region.start, region.end) if not self.marked.roles[at]]

    def _merged(self, mentions: Sequence[Mention], kind: str) -> tuple[tuple[int, ...], bool]:
        """What several mentions name together, and whether they are set against each other."""
        marked, sets = self.marked, self.marked.words.sets
        numbers = list(mentions[0].numbers) if mentions else []
        apart = any(mention.asked or mention.either for mention in mentions)
        texts = set(marked.texts)
        for before, mention in pairwise(mentions):
            between = {token.text for token in marked.tokens[before.end : mention.start]}
            better = "to" in between and texts & (sets["comparatives"] | {"preferable", "prefer", "preferred"})
            if set(mention.numbers) <= set(numbers) or before.asked:
                numbers = list(mention.numbers) if before.asked and mention.numbers else numbers
            elif better or between & sets["joining"]:
                numbers, apart = [*numbers, *mention.numbers], True
            elif between & {"and", "&", "plus"} or (between & {"with", "to"} and texts & sets["comparing"]):
                numbers += mention.numbers
            elif mention.numbers and numbers:
                one, other = (marked.said(m.start, m.end) for m in (before, mention))
                marked.doubt(before.start, kind, f"{one!r} and {other!r}: which of them?")
            else:
                numbers += mention.numbers
        return tuple(dict.fromkeys(numbers)), apart

    def _compare(self, region: Clause, task: Task, named: Mapping[str, tuple[tuple[int, ...], bool]]) -> str | None:
        """What is compared, if anything is."""
        marked, sets = self.marked, self.marked.words.sets
        at = self._open(region)
        texts = {marked.tokens[i].text for i in at}
        decisive = sets["comparatives"] | (sets["bests"] if task.better is not None else frozenset())
        chosen = any(
            marked.tokens[i].text in ("which", "who") and marked.has("choosing", i + 1, i + 2) for i in at
        )  # fmt: skip
        for kind, (numbers, apart) in named.items():
            if len(numbers) < 2 or not (apart or chosen or texts & (sets["comparing"] | decisive)):
                continue
            if task.better is not None:
                return kind
            words = [i for i in at if marked.tokens[i].text in sets["comparatives"] | sets["comparing"]]
            if words or chosen:
                first = words[0] if words else region.start
                why = f"{task.tells} can't be compared; path loss and line of sight can"
                marked.refuse(first, min(first + 2, region.end), why)
            else:
                one, other = (f"{kind[:-1]} {number}" for number in numbers[:2])
                marked.doubt(region.start, kind[:-1], f"{one} or {other}: for which of them?")
            return None
        alone = all(len(numbers) < 2 for numbers, _ in named.values())
        if "compare" in texts and alone and "to compare" not in marked.text.lower():
            marked.doubt(region.start, "comparison", "what with what? Name two users or two stations")
        return None

    def _worst_first(self, region: Clause, task: Task) -> bool:
        """Whether a comparison asks which is worse: who loses most, who is not in sight."""
        marked, words = self.marked, self.marked.words
        at = [i for i in self._open(region) if marked.tokens[i].text not in ("or",)]
        texts = [marked.tokens[i].text for i in at]
        asks = bool({"which", "who", "what", "name", "find", "whose"} & set(marked.texts)) or any(
            text in words.sets["bests"] for text in texts
        )
        signs = [words.orders[text] for text in texts if text in words.orders]
        if len(set(signs)) > 1 or not asks:
            return False
        turned = bool(signs) and (signs[0] in ("worse", "less" if task.name == "los" else "more"))
        if task.name == "los":
            blocked, free = (bool(set(texts) & words.sets[name]) for name in ("blocked", "free"))
            denied = any(words.restrictions.get((text,)) == "negation" for text in texts)
            turned ^= (blocked and not free) ^ denied
        return turned


def within(mentions: Sequence[Mention], clause: Clause) -> list[Mention]:
    """The mentions in a clause."""
    return [mention for mention in mentions if clause.start <= mention.start < clause.end]


def inherited(requests: Sequence[Request]) -> list[Request]:
    """Requests with the arguments of their neighbours where they name none: of those before, or else after them."""
    out = list(requests)
    for order in (range(1, len(out)), range(len(out) - 2, -1, -1)):
        for place in order:
            other, mine = out[place - order.step], out[place]
            if not mine.users and not mine.positions:
                mine = replace(mine, users=other.users, positions=other.positions)
            if not mine.stations:
                mine = replace(mine, stations=other.stations)
            out[place] = replace(mine, carrier=other.carrier if mine.carrier is None else mine.carrier)
    return list(dict.fromkeys(out))


def named(task: Task, arguments: Mapping[str, Any], scene: Scene) -> Request | Declined | Question:
    """The request of a tool call that names its arguments, checked as those of an instruction are.

    Args:
        arguments: of `user`, `station`, `carrier` and `candidates`, those that are given.

    Raises:
        InputError: one of another type than the tool's schema says.
    """
    for name, kinds in (("user", int), ("station", (int, str)), ("carrier", (int, float)), ("candidates", int)):
        if name in arguments and (not isinstance(arguments[name], kinds) or isinstance(arguments[name], bool)):
            raise InputError(f"{name}: {arguments[name]!r:.40} is not of the form that the tool's schema asks for")
    found: dict[str, tuple[int, ...]] = {"user": (), "station": ()}
    for name, resolve in (("user", scene.user), ("station", scene.station)):
        value = arguments.get(name)
        if value is None:
            continue
        if value in scene.stations:
            value = scene.stations.index(value)
        number = (
            resolve(value) if isinstance(value, int) else f"station {value!r}: which one? I know {scene.said_stations}"
        )
        if isinstance(number, str):
            return Question(name, number, scene.stations if name == "station" else ())
        found[name] = (number,)
    carrier, own = arguments.get("carrier"), scene.radio.carrier
    if carrier is not None and not math.isclose(carrier, own, rel_tol=quantities.SAME):
        said = f"carrier {carrier / 1e9:g} GHz"
        return Declined(
            "not_honoured", f"{said}: the radio here is at {own / 1e9:g} GHz", task.name, refused=(said,)
        )  # fmt: skip
    candidates, most = arguments.get("candidates"), scene.radio.array.ports
    if candidates is not None and not 1 <= candidates <= most:
        return Question("candidates", f"candidates {candidates}: there are {most} beams; ask for 1 to {most}")
    return Request(task.name, found["user"], found["station"], (), carrier, candidates)
