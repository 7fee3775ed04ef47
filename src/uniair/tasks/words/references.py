"""Which users and stations an instruction names: by number, count, name, or as all, others or the nearest."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from uniair.tasks.scene import Scene
from uniair.tasks.words.marked import ONE_WAY, Marked

_NUMBER = "[N1]"
_NO_COUNT = "(?!m?t?[BCA])"  # "user 3, 4 beams" names one user
_JOINED = "(?:,?[&|~]|,|-|>)"
_STATION = "(?:b?S)"  # "base station" is one
_SERVING = ("serving", "suited", "possible", "available")  # between "best" and "station"


@dataclass(frozen=True)
class Mention:
    """Users or stations that are named together.

    Attributes:
        start, end: tokens.
        numbers: in the order in which they were named; empty: a doubt.
        asked: "which station": it is the question itself; `best`: "the best station".
        either: they are joined by "or" or "versus".
    """

    start: int
    end: int
    numbers: tuple[int, ...]
    asked: bool = False
    either: bool = False
    best: bool = False


def users(marked: Marked, scene: Scene) -> list[Mention]:
    """The users that are named, and taken."""
    one = f"[UK](?:p?[#:]+)*d?{_NUMBER}"
    found = _counted(marked, f"(?:{one}|V)(?:{_JOINED}p?d?(?:{one}|V|{_NUMBER}{_NO_COUNT}))*", "user", scene.user)
    found += _counted(marked, f"(?<!J)#+{_NUMBER}(?:{_JOINED}d?{_NUMBER}{_NO_COUNT})*", "user", scene.user)
    found += _in_order(marked, "[UK]", "user", scene.users)
    for match in marked.find("aUpN[&>-]N"):  # every user between 3 and 7
        low, high = (scene.user(marked.tokens[at].value or 0) for at in (match.end() - 3, match.end() - 1))
        if isinstance(low, int) and isinstance(high, int):
            found.append(_taken(marked, match, "user", range(low, high + 1)))
    for match in marked.find("a(?:pd|d)?N?U|v"):
        found.append(_all(marked, match, "user", scene.users))
    for match in marked.find("w(?:1?pd)?U(?![xyz]*[#:]*[N1])"):  # which user has …, 3 or 5?
        bare = f"{_NUMBER}(?:{_JOINED}{_NUMBER})+"
        if not any(mention.numbers for mention in found):
            if any(True for _ in marked.find(bare, match.end())):
                found += _counted(marked, bare, "user", scene.user)
            else:
                found.append(Mention(*match.span(), tuple(range(scene.users)), asked=True))
        marked.take(*match.span(), "user")
    for match in marked.find("(?:d?o|e)d?U|U[xyz](?![:NM])"):
        said = marked.said(*match.span())
        marked.doubt(match.start(), "user", f"{said!r}: which one? I know {scene.said_users}")
        found.append(_taken(marked, match, "user"))
    return sorted(found, key=lambda mention: mention.start)


def stations(marked: Marked, scene: Scene) -> list[Mention]:
    """The stations that are named, and taken."""
    every = range(len(scene.stations))
    one, named = f"{_STATION}(?:p?[#:]+)*d?{_NUMBER}", f"(?:{_STATION}(?:p?[#:]+)*)?T"
    several = f"(?:{one}|{named})(?:{_JOINED}p?d?(?:{one}|{named}|{_NUMBER}{_NO_COUNT}))*"
    found = _counted(marked, several, "station", scene.station, scene.stations)
    found += _in_order(marked, _STATION, "station", len(every))
    for match in marked.find(f"a(?:pd|d)?N?{_STATION}"):
        found.append(_all(marked, match, "station", len(every)))
    for match in marked.find(f"w(?:1?pd)?N?{_STATION}|t(?:r| ?{_STATION})"):
        if " " in match[0] and marked.tokens[match.end() - 2].text not in _SERVING:
            continue
        if len(every) < 2:
            said = f"{marked.said(*match.span())!r}: there are no several to choose from; I know {scene.said_stations}"
            marked.doubt(match.start(), "station", said)
        marked.take(*match.span(), "station")
        found.append(Mention(*match.span(), tuple(every), asked=True, best="t" in match[0]))
    for match in marked.find(f"d?[ERWe]{_STATION}"):
        _which(marked, match, scene)
        found.append(_taken(marked, match, "station"))
    for match in marked.find(f"d?od?{_STATION}|d?c{_STATION}"):
        others = [number for number in every if number != scene.here[0]]
        meant = [0] if "c" in match[0] and len(every) == 1 else others if "o" in match[0] and len(others) == 1 else []
        if not meant:
            _which(marked, match, scene)
        found.append(_taken(marked, match, "station", meant))
    return sorted(found, key=lambda mention: mention.start)


def _taken(marked: Marked, match: re.Match[str], kind: str, numbers: range | list[int] | None = None) -> Mention:
    marked.take(*match.span(), kind)
    return Mention(*match.span(), tuple(numbers or ()))


def _which(marked: Marked, match: re.Match[str], scene: Scene) -> None:
    """Asks back which station is meant."""
    said = f"{marked.said(*match.span())!r}: which one? I know {scene.said_stations}"
    marked.doubt(match.start(), "station", said, scene.stations)


def _counted(
    marked: Marked, pattern: str, kind: str, resolve: Callable[[float], int | str], choices: Sequence[str] = ()
) -> list[Mention]:
    """Lists of numbers and names."""
    found = []
    for match in marked.find(pattern):
        numbers: list[int] = []
        front = marked.tokens[match.start() - 1].text if match.start() else ""
        for at in range(*match.span()):
            token, before = marked.tokens[at], marked.tags[match.start() : at]
            if token.name is not None:
                if before.endswith(">"):
                    marked.refuse(*match.span(), ONE_WAY, take=False)
                numbers.append(token.name[1])
            elif token.value is not None:
                number = resolve(token.value)
                noun = before.rstrip("UKSbdp#:")
                if noun != before and noun.endswith(">") and front in ("from", "between"):
                    marked.refuse(*match.span(), ONE_WAY, take=False)
                if isinstance(number, str):
                    marked.doubt(at, kind, number, choices)
                    continue
                if numbers and before[-1] in "->" and number > numbers[-1]:
                    numbers.extend(range(numbers[-1] + 1, number))
                numbers.append(number)
        alone = not set(marked.tags) & set("TS" if kind == "user" else "UVK")
        if front == "between" and len(numbers) == 2 and alone and not marked.has("choices"):
            marked.refuse(*match.span(), ONE_WAY, take=False)
        either = any(token.text in ("or", "vs", "versus") for token in marked.tokens[match.start() : match.end()])
        found.append(Mention(*match.span(), tuple(dict.fromkeys(numbers)), either=either))
        marked.take(*match.span(), kind)
    return found


def _in_order(marked: Marked, noun: str, kind: str, count: int) -> list[Mention]:
    """The first, second, … and last, counted from 1, and the first or last so many."""
    found = []
    for match in marked.find(f"[OL]N{noun}"):
        many = min(round(marked.tokens[match.start() + 1].value or 0), count)
        first = 0 if match[0][0] == "O" else count - many
        found.append(_taken(marked, match, kind, range(first, first + many)))
    for match in marked.find(f"[OL](?:(?:,?[&|]|,)d?[OL])*{noun}"):
        numbers = []
        for at in range(*match.span()):
            if marked.tags[at] not in "OL":
                continue
            value = marked.tokens[at].value
            number = count - 1 if value is None else round(value) - 1
            if 0 <= number < count:
                numbers.append(number)
            else:
                marked.doubt(at, kind, f"{marked.said(*match.span())!r}: there are {count} {kind}s")
        either = any(token.text == "or" for token in marked.tokens[match.start() : match.end()])
        found.append(Mention(*match.span(), tuple(numbers), either=either))
        marked.take(*match.span(), kind)
    return found


def _all(marked: Marked, match: re.Match[str], kind: str, count: int) -> Mention:
    """All, or both where there are two."""
    if marked.tokens[match.start()].text == "both" and count != 2:
        marked.doubt(match.start(), kind, f"{marked.said(*match.span())!r}: there are {count} {kind}s; name the two")
    return _taken(marked, match, kind, range(count))
