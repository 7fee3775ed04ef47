"""An instruction whose tokens carry tags, so that a grammar of regular expressions takes arguments out of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from uniair.tasks.words.lexicon import Lexicon, longest
from uniair.tasks.words.tokens import Token

# tags of what has none among the lexicon's marks: a user, what is one where a number follows, a station, what an answer
# is for, any other word; what was taken already
USER, NUMBERED, STATION, PURPOSE, OTHER, TAKEN = "U", "K", "S", "J", " ", "_"
_NUMBERS = {"": "N", "Hz": "F", "m": "M", "°": "G"}  # by unit; O counts from 1, 1 is the word "one", Q any other unit
_NAMES = {"station": "T", "user": "V"}
ADDED = "added"  # the role of words that ask for a task that was added
IDIOM = "idiom"  # the role of words that restrict nothing together
ONE_WAY = "links go from a station to a user"


@dataclass(frozen=True)
class Doubt:
    """What has to be asked back: see `Question`."""

    about: str
    message: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """What can't be honoured.

    Attributes:
        phrase: as it was said.
        why: in a few words, for people; may be empty.
    """

    phrase: str
    why: str = ""


@dataclass
class Marked:
    """Tokens, what each was taken for, and what is wrong with them.

    Attributes:
        text: whole.
        tokens: of it.
        words: the lexicon.
        tags: a letter a token.
        roles: what each token was taken for; empty: nothing yet.
        doubts, refusals: with the token at which each stands.
    """

    text: str
    tokens: Sequence[Token]
    words: Lexicon
    tags: str
    roles: list[str]
    doubts: list[tuple[int, Doubt]] = field(default_factory=list)
    refusals: list[tuple[int, Refusal]] = field(default_factory=list)

    @classmethod
    def of(cls, text: str, tokens: Sequence[Token], words: Lexicon) -> Marked:
        """Tagged, nothing taken."""
        tags = [_tag(token, words) for token in tokens]
        texts = [token.text for token in tokens]
        for i, text_of in enumerate(texts[1:], 1):
            if text_of in ("station", "stations", "equipment") and texts[i - 1] in ("mobile", "user"):
                tags[i - 1], tags[i] = OTHER, USER
            if text_of in ("e", "n") and tags[i - 1] in "MN":  # 20 m E
                tags[i] = "E" if text_of == "e" else "R"
        roles = [""] * len(tokens)
        for i in range(len(tokens)):
            if length := longest(words.idioms, texts, i, 6):
                roles[i : i + length] = [IDIOM] * length
            length = longest(words.cues, texts, i, words.longest_cue)
            if length and words.cues[tuple(texts[i : i + length])] in words.added:
                roles[i : i + length] = [ADDED] * length
        return cls(text, tokens, words, "".join(tags), roles)

    @property
    def texts(self) -> list[str]:
        """Of the tokens."""
        return [token.text for token in self.tokens]

    def has(self, name: str, start: int = 0, end: int | None = None) -> bool:
        """Whether any of some tokens is in a set of the lexicon."""
        return any(token.text in self.words.sets[name] for token in self.tokens[start:end])

    def find(self, pattern: str, start: int = 0) -> Iterator[re.Match[str]]:
        """Where tags match, of tokens that were taken for nothing yet."""
        free = "".join(TAKEN if role else tag for tag, role in zip(self.tags, self.roles, strict=True))
        for match in re.compile(pattern).finditer(free, start):
            if match.end() > match.start() and not any(self.roles[match.start() : match.end()]):
                yield match

    def take(self, start: int, end: int, role: str) -> None:
        """Tokens are used up."""
        self.roles[start:end] = [role] * (end - start)

    def said(self, start: int, end: int) -> str:
        """The words of some tokens as they were typed."""
        return self.text[self.tokens[start].start : self.tokens[end - 1].end]

    def doubt(self, at: int, about: str, message: str, choices: Sequence[str] = ()) -> None:
        """Something has to be asked back."""
        self.doubts.append((at, Doubt(about, message, tuple(choices))))

    def refuse(self, start: int, end: int, why: str = "", take: bool = True) -> None:
        """The words of some tokens can't be honoured."""
        self.refusals.append((start, Refusal(self.said(start, end), why)))
        if take:
            self.take(start, end, "refused")

    def is_cue(self, at: int) -> bool:
        """Whether words that ask for a task start at a token."""
        return bool(longest(self.words.cues, self.texts, at))

    def ends_cue(self, at: int) -> bool:
        """Whether words that ask for a task end with a token."""
        return at >= 0 and any(tuple(self.texts[max(0, at + 1 - n) : at + 1]) in self.words.cues for n in (1, 2, 3))


def _tag(token: Token, words: Lexicon) -> str:
    if token.name is not None:
        return _NAMES[token.name[0]]
    if token.value is not None:
        one = token.as_word and token.value == 1
        return "O" if token.ordinal else "1" if one else _NUMBERS.get(token.unit, "Q")
    if token.text in words.marks:
        return words.marks[token.text]
    for tag, nouns in ((PURPOSE, words.purposes), (USER, words.users), (NUMBERED, words.numbered),
                       (STATION, words.stations)):  # fmt: skip
        if token.text in nouns:
            return tag
    return OTHER
