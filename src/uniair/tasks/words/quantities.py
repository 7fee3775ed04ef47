"""Positions, carriers, arrays, how many candidates: what an instruction says in numbers with a unit or a count."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from uniair.environment import UE_HEIGHT
from uniair.radio import UPA
from uniair.tasks.scene import Scene
from uniair.tasks.words.marked import Marked

SAME = 0.01  # relative: how people round a carrier
EXAMPLE = "(120 m, 45 m)"
# bands of TS 38.101 by name, GHz, and what is said for ranges
_BANDS = {
    "n1": (1.92, 2.17), "n3": (1.71, 1.88), "n7": (2.5, 2.69), "n8": (0.88, 0.96), "n20": (0.791, 0.862),
    "n28": (0.703, 0.803), "n38": (2.57, 2.62), "n40": (2.3, 2.4), "n41": (2.496, 2.69), "n48": (3.55, 3.7),
    "n66": (1.71, 2.2), "n71": (0.617, 0.698), "n77": (3.3, 4.2), "n78": (3.3, 3.8), "n79": (4.4, 5.0),
    "n257": (26.5, 29.5), "n258": (24.25, 27.5), "n259": (39.5, 43.5), "n260": (37.0, 40.0), "n261": (27.5, 28.35),
    "mmwave": (24.25, 110.0), "fr1": (0.41, 7.125), "fr2": (24.25, 71.0), "sub6": (0.41, 7.125),
}  # fmt: skip
_NUMBER = "[NM]"
_PLACES = (
    f"x:*{_NUMBER}(?:,?&|[,|])?y:*{_NUMBER}(?:(?:,?&|[,|])?z:*{_NUMBER})?u?",  # x = 120 m, y = 45 m
    f"\\({_NUMBER}[,|.]{_NUMBER}(?:[,|.]{_NUMBER})?\\)u?",  # (120, 45) m
    f"{_NUMBER}(?:pd?)?[ER](?:,?&|[,|])?{_NUMBER}(?:pd?)?[ER]",  # 120 m east and 45 m north
    "M(?:[,|x]|p)M(?=[^M]|$)",  # 120 m / 45 m
)
_HEIGHT = "(?:,?&|,)?p?d?(?:Mhh?|h[p:]*M)"
_COUNTS = (
    "(?:tN|t1(?=B))(?:pd)?m?t?[BC]*",  # top 3 beams
    "(?<![UKS#])[N1](?:m?t)+[BCK]*",  # three best beams
    "(?<![UKS#])[N1][BC]+",  # 4 beams
    "C(?:pd?)?[N1][BC]*",  # shortlist of 3
    "Om?t[BC1]+",  # second best beam
    "ON(?=[),.]|$)",  # the first five
)
_ENOUGH = (["will", "do"], ["would", "do"], ["are", "enough"], ["is", "enough"], ["of", "them"])


@dataclass(frozen=True)
class Place:
    """A position that is named: x, y, z in m from the south-west corner, and its tokens; None: a doubt."""

    start: int
    end: int
    xyz: tuple[float, float, float] | None


@dataclass(frozen=True)
class Count:
    """How many candidates are asked for, and its tokens."""

    start: int
    end: int
    number: int


def positions(marked: Marked, scene: Scene) -> list[Place]:
    """Positions, in metres from the south-west corner; a doubt where the unit is not said, or one is missing."""
    found = []
    for pattern in _PLACES:
        for match in marked.find(pattern):
            start, end = match.span()
            height = next(marked.find(_HEIGHT, end), None)
            end = height.end() if height is not None and height.start() == end else end
            found.append(Place(start, end, _metres(marked, start, end, scene)))
            marked.take(start, end, "position")
    for match in marked.find(f"(?<![NM1])[xyz]:*{_NUMBER}|{_NUMBER}[ERW]|G[ ,]?[ ,]?G"):
        said = f"{marked.said(*match.span())!r} is not a whole position: give x and y in m from the south-west corner"
        marked.doubt(match.start(), "position", f"{said}, such as {EXAMPLE}")
        found.append(Place(*match.span(), None))
        marked.take(*match.span(), "position")
    return found


def _metres(marked: Marked, start: int, end: int, scene: Scene) -> tuple[float, float, float] | None:
    numbers = [token for token in marked.tokens[start:end] if token.value is not None]
    said, tags = marked.said(start, end), marked.tags[start:end]
    if not any(token.unit == "m" for token in numbers[:2]) and "u" not in tags:
        asked = "in which unit, and from where? Say it in m from the south-west corner"
        marked.doubt(start, "position", f"{said!r}: {asked}, such as {EXAMPLE}")
        return None
    values = [float(token.value or 0.0) for token in numbers]
    if "R" in tags and tags.find("R") < tags.find("E"):
        values[:2] = values[1::-1]
    x, y, z = (*values, UE_HEIGHT)[:3]
    if scene.size is not None and not (0 <= x <= scene.size and 0 <= y <= scene.size):
        marked.doubt(start, "position", f"{said!r} lies outside: x and y go from 0 to {scene.size:g} m")
        return None
    return x, y, z


def carriers(marked: Marked, scene: Scene) -> list[tuple[int, float]]:
    """Carriers that are named, Hz, with the token; other ones than the radio's are refused, as other bandwidths are."""
    found = []
    own, grid = scene.radio.carrier, scene.radio.grid
    here = f"the radio here is at {_hertz(own)}"
    for at in [match.start() for match in marked.find("F")]:
        token, near = marked.tokens[at], {other.text for other in marked.tokens[max(0, at - 3) : at + 3]}
        value = token.value or 0.0
        if near & {"spacing", "scs", "bandwidth", "bw", "wide"}:
            apart = bool(near & {"spacing", "scs"})
            known = getattr(grid, "spacing", math.nan) if apart else grid.bandwidth
            if math.isclose(value, known, rel_tol=SAME):
                marked.take(at, at + 1, "radio")
            else:
                what = f"subcarriers are {_hertz(known)} apart" if apart else f"band is {_hertz(known)} wide"
                marked.refuse(at, at + 1, f"the {what}")
        elif math.isclose(value, own, rel_tol=SAME):
            found.append((at, value))
            marked.take(at, at + 1, "carrier")
        else:
            marked.refuse(at, at + 1, here)
    for at, token in enumerate(marked.tokens):
        name = token.text
        if name == "sub" and at + 1 < len(marked.tokens) and marked.tokens[at + 1].text == "6":
            name = "sub6"
        if name not in _BANDS or marked.roles[at]:
            continue
        low, high = _BANDS[name]
        if low <= own / 1e9 <= high:
            found.append((at, own))
            marked.take(at, at + 1, "carrier")
        else:
            marked.refuse(at, at + 1, here)
    return found


def candidates(marked: Marked, scene: Scene) -> list[Count]:
    """How many of the likeliest are asked for; a given beam is refused, as it is not what answers are about."""
    found = []
    for match in marked.find("(?<!t)B[#:]*N(?!pd?B)"):
        marked.refuse(*match.span(), "I tell the best beams, not about a given one")
    for at, token in enumerate(marked.tokens):
        after = [other.text for other in marked.tokens[at + 1 : at + 3]]
        enough = after in _ENOUGH or after[:1] in (["suffice"], ["suffices"])
        second = token.text == "runner" and after[:1] == ["up"]
        if not any(marked.roles[at : at + 1 + second]) and (second or (enough and token.value is not None)):
            found.append(Count(at, at + 1 + second, 2 if second else round(token.value or 0)))
            marked.take(at, at + 1 + second, "candidates")
    among = marked.words.sets["dispensable"] | marked.words.sets["among"]  # out of all beams, sweeping all beams
    for match in marked.find("a(?:pd|d)?B"):
        before = marked.texts[max(0, match.start() - 1) : match.start()]
        if marked.tokens[match.start()].text == "all" and not among.intersection(before):
            most = scene.radio.array.ports
            marked.doubt(match.start(), "candidates", f"{marked.said(*match.span())!r}: how many? Ask for 1 to {most}")
    for match in marked.find("|".join(_COUNTS)):
        front = marked.tokens[max(0, match.start() - 2) : match.start()]
        if front and front[-1].text == "the":
            front = front[:-1]
        if "t" not in match[0] and front and front[-1].text in marked.words.sets["among"]:
            continue  # of so many
        found.append(_count(marked, match, scene.radio.array.ports))
    return found


def _count(marked: Marked, match: re.Match[str], most: int) -> Count:
    values = [token.value for token in marked.tokens[match.start() : match.end()] if token.value is not None]
    number = max(values)  # not the 1 of "the first five", or of "the second best one"
    if number != round(number) or not 1 <= number <= most:
        said = f"{marked.said(*match.span())!r}: how many? There are {most} beams; ask for 1 to {most}"
        marked.doubt(match.start(), "candidates", said)
        number = 1
    marked.take(*match.span(), "candidates")
    return Count(*match.span(), int(number))


def decimals(marked: Marked) -> None:
    """How exactly answers are told is their own."""
    for match in marked.find("[N1]f"):
        marked.refuse(*match.span(), "answers have digits of their own")


def ports(marked: Marked, scene: Scene) -> None:
    """Antennas, array and size of the codebook: those of the radio are taken, others are refused."""
    array = scene.radio.array
    for match in marked.find("[N1]x[N1][ ]?[AP ]?"):
        sides = {marked.tokens[at].value for at in (match.start(), match.start() + 2)}
        own = (array.rows, array.columns) if isinstance(array, UPA) else (1, array.ports)
        _own(marked, *match.span(), sides == set(own), f"the array here is a {array}")
    for match in marked.find("[N1]t?[AP]"):
        same = marked.tokens[match.start()].value == array.ports
        _own(marked, *match.span(), same, f"the array here has {array.ports}")
    for match in marked.find("wA"):
        stop = match.end()
        if stop >= len(marked.tags) or marked.tags[stop] == "p" or marked.has("auxiliaries", stop, stop + 1):
            marked.refuse(*match.span(), "that is not among the answers")
    for match in marked.find("[ ](?:A|P)(?!U)"):
        if marked.tokens[match.start()].text == "single":
            _own(marked, *match.span(), array.ports == 1, f"the array here has {array.ports}")
    for match in marked.find("pd?(?P<size>N) ?[BC]|1pd?(?P<more>N) ?[BC]|(?P<book>N)B(?= )"):
        name = next(name for name in ("size", "more", "book") if match[name] is not None)
        first, after = marked.tokens[match.start()].text, marked.texts[match.end() : match.end() + 1]
        named = after in (["codebook"], ["grid"])
        if not (named if name == "book" else first == "one" or first in marked.words.sets["among"]):
            continue
        at = match.start(name)
        same = marked.tokens[at].value == array.ports
        _own(marked, at, match.end(), same, f"there are {array.ports} beams here")


def _own(marked: Marked, start: int, end: int, same: bool, why: str) -> None:
    if same:
        marked.take(start, end, "radio")
    else:
        marked.refuse(start, end, why)


def _hertz(value: float) -> str:
    scale, unit = next(pair for pair in ((1e9, "GHz"), (1e6, "MHz"), (1e3, "kHz"), (0.0, "Hz")) if value >= pair[0])
    return f"{value / (scale or 1.0):g} {unit}"
