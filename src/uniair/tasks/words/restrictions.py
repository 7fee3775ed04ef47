"""Words that turn round, forbid, sum up, join or date what is asked: honoured by a request, or refused by name.

None of them is passed over unless what stands around it says that it restricts nothing there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from uniair.tasks.words.clauses import Clause
from uniair.tasks.words.lexicon import longest
from uniair.tasks.words.marked import Marked
from uniair.tasks.words.requests import Request

LONGEST = 5  # words of a phrase
_ARRAY = ("beam", "precoding")  # tasks whose answer is the best one for a user
_NAMED = ("user", "station", "position")  # roles of whom and what is asked about
_FREE = ("", "candidates")  # roles of words that are looked at: "one beam" is a count too


@dataclass
class Restrictions:
    """Those in a clause.

    Attributes:
        region: its tokens, with what stands around them.
        request: what was understood; None: nothing.
        tasks: that the whole instruction asks for.
    """

    marked: Marked
    region: Clause
    request: Request | None
    tasks: Collection[str]

    def settle(self) -> None:
        """Refuses those that the request does not honour."""
        marked, known = self.marked, self.marked.words.restrictions
        at = self.region.start
        while at < self.region.end:
            pairs = zip(marked.tokens[: self.region.end], marked.roles, strict=False)
            free = [token.text if role in _FREE else "" for token, role in pairs]
            length = longest(known, free, at, LONGEST)
            if length and not self.kinds[known[tuple(free[at : at + length])]](at, at + length):
                self._refuse(at, at + length)
            at += length or 1

    @property
    def kinds(self) -> Mapping[str, Callable[[int, int], bool]]:
        """Kind of a phrase → whether one from a token up to another is honoured, or restricts nothing there."""
        return {
            "negation": self._negation, "but": self._but, "no": self._no, "forbidding": self._never,
            "worst": self._worst, "weaker": self._weaker, "least": self._least, "most": self._most, "mean": self._mean,
            "sum": self._sum, "count": self._count, "together": self._together, "one": self._one,
            "respectively": self._respectively, "reason": self._reason, "factor": self._factor, "tense": self._tense,
            "each for all": self._each_for_all, "bound": self._bound, "else": self._else, "before": self._before,
            "next": self._next, "last": self._last, "lost": self._lost,
        }  # fmt: skip

    def _never(self, at: int, end: int) -> bool:
        return False

    def _negation(self, at: int, end: int) -> bool:
        said, before, after = self._word(at), self._word(at - 1), self._word(end)
        if said == "not" and (before in ("or", "whether", "/") or (before == "why" and self._has("asking", end))):
            return True
        if said in ("neither", "nor", "none"):
            return False
        if said != "not" and after in ("you", "it", "he", "she"):  # can't you tell me, isn't it
            return not self._has("using", end + 1)
        if said != "not" and after in (".", ","):  # it is silent but its modem isn't.
            return True
        if at == self.region.start and self._corrected(end):
            return True
        while self._has("degrees", end):
            end += 1
        if self._has("unknowing", end) or (self._has("needing", end) and self._dispensable(end + 1)):
            return True
        if self._has("lacking", end) and {before, self._word(at - 2)} & {"i", "we", "you"}:
            return True
        return self._sight(at, end)

    def _but(self, at: int, end: int) -> bool:
        """As a conjunction: what it leaves out would follow it."""
        at = self._skip(end)
        return at >= self.region.end or not (self.marked.roles[at] in _NAMED or self._has("bests", at))

    def _no(self, at: int, end: int) -> bool:
        """None of those that can be asked about."""
        at = self._skip(end)
        return at >= self.region.end or self.marked.tags[at] not in "USBTV"

    def _worst(self, at: int, end: int) -> bool:
        return self.request is None or self.request.compare is not None

    def _weaker(self, at: int, end: int) -> bool:
        """How much weaker the signal gets is what path loss tells."""
        return self._worst(at, end) or (self.request is not None and self.request.task not in _ARRAY)

    def _least(self, at: int, end: int) -> bool:
        """Honoured in comparisons, and of beams where little is lost."""
        if self._worst(at, end):
            return True
        assert self.request is not None
        return self.request.task in _ARRAY and self._of_loss(at, end)

    def _most(self, at: int, end: int) -> bool:
        """Honoured in comparisons, of beams unless it is of what is lost, and of what is likely."""
        if self._worst(at, end) or self._has("likelihoods", end):
            return True
        assert self.request is not None
        return self.request.task in _ARRAY and not self._of_loss(at, end)

    def _mean(self, at: int, end: int) -> bool:
        """Of one link it is what is told: path loss is a mean over the antennas."""
        mine = self._word(at) == "mean" and self._word(at - 1) in ("i", "you", "we", "it", "that", "this")
        return mine or not self._several or (self.request is not None and self.request.compare is not None)

    def _sum(self, at: int, end: int) -> bool:
        array = self.request is not None and self.request.task in _ARRAY  # antennas are combined
        return self._word(end) == "up" or (array and self._word(at).startswith("combin"))

    def _count(self, at: int, end: int) -> bool:
        """Users or stations that are to be counted."""
        at = self._skip(end)
        return at >= self.region.end or self.marked.tags[at] not in "US"

    def _together(self, at: int, end: int) -> bool:
        """They are answered one by one."""
        return not self._several

    def _one(self, at: int, end: int) -> bool:
        """One beam or precoder for several users."""
        named = self._skip(end)
        if named < self.region.end and self._word(at - 1) not in ("which", "w", "this", "that"):
            of = self._word(end) == "of" and self.marked.roles[named] in ("user", "station")  # one of users 3 and 4
            if of or (self.marked.tags[named] == "S" and not self.marked.roles[named] and self._word(at) == "one"):
                return False
        request, words = self.request, self.marked.texts[self.region.start : self.region.end]
        if request is None or request.task not in _ARRAY or len(request.users) < 2 or {"each", "per"} & set(words):
            return True
        return not any(self.marked.is_cue(i) for i in range(end, min(end + 3, self.region.end)))

    def _each_for_all(self, at: int, end: int) -> bool:
        """A beam for both is one for them together."""
        return not {"both", "all"} & set(self.marked.texts[self.region.start : self.region.end]) or self._one(at, end)

    def _bound(self, at: int, end: int) -> bool:
        """Of how many there are to be."""
        return end >= self.region.end or self.marked.tokens[end].value is None

    def _else(self, at: int, end: int) -> bool:
        return at == self.region.start or self.marked.tags[at - 1] not in "vU"

    def _before(self, at: int, end: int) -> bool:
        return self._word(end) not in ("", ".", "?", ",")

    def _respectively(self, at: int, end: int) -> bool:
        return self.request is None or min(len(self.request.users), len(self.request.stations)) < 2

    def _reason(self, at: int, end: int) -> bool:
        told = self._word(at - 1) == "that" and self._word(at - 2) in ("", ",", ".", "and", "so")  # that's why I ask
        offered = self._word(end) == "don't" and self._word(end + 1) == "you"
        return told or offered or (self._word(end) == "not" and self._has("asking", end + 1))

    def _factor(self, at: int, end: int) -> bool:
        return self._word(end) in ("check", "checking")

    def _tense(self, at: int, end: int) -> bool:
        """Where a user was, has been or will be, or whether it was so, but for when it was measured."""
        said, task = self._word(at), "" if self.request is None else self.request.task
        after_user = at > self.region.start and self.marked.roles[at - 1] == "user"
        if after_user and (said == "had" or (said == "will" and task == "position")):
            return False
        if said in ("has", "have") and not any(self._has("gone", i) for i in range(end, self.region.end)):
            return True
        asks = self._word(at - 1) in ("where", "whereabouts", "")
        named = self._skip(end)
        about = self._word(named) in ("he", "she", "they") or (
            named < self.region.end and self.marked.roles[named] == "user"
        )
        return not (asks and about)

    def _next(self, at: int, end: int) -> bool:
        """The next of what is asked for."""
        if self._word(end) == "to":
            return True  # beside something: see `relations`
        if end < self.region.end and self.marked.is_cue(end):
            return False
        first = self._word(at - 1) in ("", ",", ";", "and", ".", "a", "the", "then", "this")
        return first and self._word(end) not in ("", ".", "?", "time", "times")

    def _last(self, at: int, end: int) -> bool:
        """The last of what is asked for, or what was measured last."""
        if self._word(at) not in ("last", "final", "latest", "previous"):
            return not (end < self.region.end and self.marked.is_cue(end))
        return self._has("lasting", end) or (self._word(end) == "known" and self._has("lasting", end + 1))

    def _lost(self, at: int, end: int) -> bool:
        """Sight that is lost is an event in time."""
        if self._word(end) == "sight" and self._word(self.region.start) in ("has", "have"):
            return True  # has he lost sight of it?
        near = range(max(self.region.start, at - 7), min(end + 3, self.region.end))
        asked = self.request is not None and self.request.task == "los" and "path_loss" not in self.tasks
        return not (asked and any(self._word(i) in ("los", "sight", "visibility") for i in near))

    # what the kinds share

    def _word(self, at: int) -> str:
        return self.marked.tokens[at].text if self.region.start <= at < self.region.end else ""

    def _has(self, name: str, at: int) -> bool:
        return self._word(at) in self.marked.words.sets[name]

    def _skip(self, at: int) -> int:
        """The next token that is no article or preposition."""
        while at < self.region.end and self.marked.tags[at] in "dpb>" and not self.marked.roles[at]:
            at += 1
        return at

    @property
    def _several(self) -> bool:
        """Whether there are several answers."""
        request = self.request
        return request is not None and max(map(len, (request.users, request.stations, request.positions))) > 1

    def _of_loss(self, at: int, end: int) -> bool:
        """Whether it is of what is lost on the way."""
        near = (*range(end, end + 3), at - 1, at - 2)
        return any(self._has("losing", i) for i in near)

    def _dispensable(self, at: int) -> bool:
        """Whether only that is not needed which nobody asks for."""
        stop = at
        while self._word(stop) not in ("", ",", "."):
            stop += 1
        asked = any(self.marked.is_cue(i) or self.marked.roles[i] in _NAMED for i in range(at, stop))
        return not asked and any(self._has("dispensable", i) for i in range(at, stop))

    def _corrected(self, at: int) -> bool:
        """Whether "but" follows with what is asked for, after something that nobody asks for: not the formula, but …"""
        while self._word(at) not in ("", "but", ".") and not self.marked.roles[at] and not self.marked.is_cue(at):
            at += 1
        return self._word(at) == "but"

    def _sight(self, at: int, end: int) -> bool:
        """Whether sight is what it negates, which the answer tells: but of several, some would be meant."""
        marked = self.marked
        if self.request is None or self.request.task != "los":
            return False
        named = self._skip(end)
        if self._word(at) == "not" and named < self.region.end and marked.roles[named] in _NAMED:
            return False
        back = at - 1
        while self._word(back) in ("are", "is", "that", "who", "which", "be"):
            back -= 1
        some = self._several and self.request.compare is None and back >= 0 and marked.roles[back] in _NAMED
        return not some

    def _refuse(self, at: int, end: int) -> None:
        """Refuses a phrase with the verb before it and what it is about."""
        marked, region = self.marked, self.region
        while at > region.start and self._has("auxiliaries", at - 1) and not marked.roles[at - 1]:
            at -= 1
        stop = self._skip(end)
        if stop < region.end and marked.tags[stop] not in ".,&|()":
            role, stop = marked.roles[stop], stop + 1
            while role and stop < region.end and marked.roles[stop] == role:
                stop += 1
            end = stop
        marked.refuse(at, end)
