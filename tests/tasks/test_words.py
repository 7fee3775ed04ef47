"""Instructions in words: tokens, arguments, what is declined by name, what is asked back; without a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniair.errors import InputError
from uniair.models.router import OUT_OF_SCOPE, Route
from uniair.radio import OFDM, ULA, UPA, Radio
from uniair.tasks.answers import Declined, Question
from uniair.tasks.registry import TASKS
from uniair.tasks.scene import Scene
from uniair.tasks.words import foreign
from uniair.tasks.words.lexicon import lexicon
from uniair.tasks.words.reader import Understood, understand
from uniair.tasks.words.requests import Request, named
from uniair.tasks.words.tokens import plain, tokens

TOWN = Scene(("bs0", "bs1", "bs2"), 80, Radio(), 400.0, (0, 12))
MACRO = Scene(("A1", "A2", "A3"), 500, Radio(UPA(8, 8), OFDM(128, 240e3), 3.5e9), 1000.0, (0, 0))
ALONE = Scene(("bs0",), 64, Radio(), 400.0, (0, 0))
WORDS = lexicon(TASKS.values())


class ByCue:
    """Stands in for the router: all tasks alike, so that an instruction's own words decide; none without any."""

    def __init__(self, limits: float = 1.0) -> None:
        self.limiting, self.read = limits, list[str]()

    def route(self, instruction: str) -> Route:
        if not instruction.strip():
            raise InputError("instruction: empty")
        self.read.append(instruction)
        return Route(None, dict.fromkeys((*TASKS, OUT_OF_SCOPE), 1 / 6))

    def limits(self, instruction: str, words: Sequence[tuple[int, int]]) -> list[float]:
        return [self.limiting] * len(words)


def read(text: str, scene: Scene = TOWN, limits: float = 1.0) -> Understood | Declined | Question:
    return understand(text, scene, list(TASKS.values()), ByCue(limits))


def requests(text: str, scene: Scene = TOWN, limits: float = 0.0) -> tuple[Request, ...]:
    said = read(text, scene, limits)
    assert isinstance(said, Understood), f"{text}: {said}"
    return said.requests


def request(text: str, scene: Scene = TOWN) -> Request:
    [one] = requests(text, scene)
    return one


# tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UE-3, ue_3 and UE 3's", ["ue", 3, ",", "ue", 3, "and", "ue", 3]),
        ("users 3-7", ["users", 3, "-", 7]),
        ("user -1", ["user", -1]),
        ("top-3 of sixty-four", ["top", 3, "of", 64]),
        ("the twenty-first, 2nd and third", ["the", 21, ",", 2, "and", 3]),
        ("two point five", [2.5]),
        ("one hundred and five users", [105, "users"]),
        ("a hundred beams", [100, "beams"]),
        ("two hundred twenty-one and six", [221, "and", 6]),
        ("the hundred and fifth", ["the", "hundred", "and", 5]),
        ("1,200 m, 3,5 km", [(1200, "m"), ",", (3500, "m")]),
        ("3.5GHz or 28 GHz", [(3.5e9, "Hz"), "or", (28e9, "Hz")]),
        ("at 50 km/h by 17:30", ["at", (50 / 3.6, "m/s"), "by", (17.5 * 3600, "s")]),
        ("x=12.5", ["x", "=", 12.5]),
        ("line-of-sight", ["line", "of", "sight"]),
        ("PL of usr w.r.t. bs1", ["path", "loss", "of", "user", "regarding", "bs1"]),
        ("UE no. 4?", ["ue", "no", 4, "?"]),
        ("n78 and C4", ["n78", "and", "c4"]),
        ("“Where” — is", ["where", "-", "is"]),
    ],
)
def test_words_and_numbers_are_told_apart(text: str, expected: list[Any]) -> None:
    found = tokens(plain(text), {"bs1": ("station", 1)}, WORDS)
    said = [t.text if t.value is None else (t.value, t.unit) if t.unit else t.value for t in found]
    assert said == [
        pytest.approx(part) if isinstance(part, int | float) else (pytest.approx(part[0]), part[1])
        if isinstance(part, tuple) else part for part in expected
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("atenuation", "attenuation"), ("postion", "position"), ("sihgt", "sight"), ("baem", "beam"), ("usre", "user"),
        ("precodign", "precoding"), ("weigths", "weights"), ("whcih", "which"), ("teh", "the"), ("statoin", "station"),
        ("bean", "bean"), ("rain", "rain"), ("team", "team"),
    ],
)  # fmt: skip
def test_slips_of_the_pen_are_mended_in_words_that_decide(typed: str, meant: str) -> None:
    assert [token.text for token in tokens(typed, {}, WORDS)] == [meant]


def test_names_are_found_however_they_are_spaced() -> None:
    names = {"North mast": ("station", 0), "bs-1": ("station", 1), "3": ("station", 2)}
    for text, number in (("north  mast", 0), ("NORTH-MAST", 0), ("BS1", 1), ("bs 1", 1)):
        [token] = tokens(plain(text), names, WORDS)
        assert token.name == ("station", number)
    assert tokens("bs12", names, WORDS)[0].name is None
    assert tokens("3", names, WORDS)[0].name is None  # a number counts


# arguments


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("user 3", [3]), ("UE#42", [42]), ("ue=7", [7]), ("terminal number five", [5]), ("the second user", [1]),
        ("the twenty-first user", [20]), ("link 31", [31]), ("the last user", [79]), ("users 3, 4 and 7", [3, 4, 7]),
        ("UEs 10-13", [10, 11, 12, 13]), ("users 1 to 3", [1, 2, 3]), ("user 8 & user 9", [8, 9]),
        ("the first three users", [0, 1, 2]), ("the first and the third user", [0, 2]), ("all users", list(range(80))),
        ("everyone", list(range(80))), ("the user with index 20", [20]), ("this user", []), ("users 3/4/5", [3, 4, 5]),
        ("users 10 to 7", [10, 9, 8, 7]), ("users 1 to 5 except user 2", [1, 3, 4, 5]), ("user 4, not user 3", [4]),
        ("all users but users 2 to 79", [0, 1]), ("every user between 2 and 4", [2, 3, 4]), ("no. 7", [7]),
        ("mobile station 5", [5]),
    ],
)  # fmt: skip
def test_users_are_named_by_number_order_and_list(words: str, numbers: list[int]) -> None:
    assert request(f"Path loss of {words}?").users == tuple(numbers)
    assert request(f"For {words}: LOS, please.").users == tuple(numbers)


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("bs1", [1]), ("BS 1", [1]), ("base station 2", [2]), ("gNB-2", [2]), ("sector 2", [2]), ("cell 0", [0]),
        ("the third station", [2]), ("the base station", []), ("both bs0 and bs2", [0, 2]), ("all stations", [0, 1, 2]),
        ("stations 0 and 1", [0, 1]), ("bs 0, 1 and 2", [0, 1, 2]), ("station bs1", [1]), ("any station", [0, 1, 2]),
    ],
)  # fmt: skip
def test_stations_are_named_by_number_name_and_order(words: str, numbers: list[int]) -> None:
    assert request(f"Path loss from {words} to user 3").stations == tuple(numbers)


def test_the_other_of_two_stations_is_meant_and_the_nearest_of_one() -> None:
    two = Scene(("west", "east"), 9, here=(1, 0))
    assert request("line of sight to the neighbour site", two).stations == (0,)
    assert request("path loss from the other base station to user 3", two).stations == (0,)
    assert request("path loss from the nearest station to user 3", ALONE).stations == (0,)


def test_a_name_that_ends_in_a_number_decides_or_is_asked_about() -> None:
    assert request("beam for sector A2", MACRO).stations == (1,)
    assert request("beam for the second sector", MACRO).stations == (1,)
    said = read("beam for sector 2", MACRO)  # number 2 is A3
    assert isinstance(said, Question)
    assert (said.about, said.choices) == ("station", ("A1", "A2", "A3"))
    assert request("beam for station 1", Scene(("bs0", "bs1"), 5)).stations == (1,)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("top 3 beams", 3), ("the five best beams", 5), ("Top-5 beam candidates", 5), ("the two most likely beams", 2),
        ("a shortlist of 3 beams", 3), ("the second best beam", 2), ("the runner-up beam", 2), ("4 candidate beams", 4),
        ("the best beam", None), ("the single best beam", None), ("the 10 strongest beams", 10),
    ],
)  # fmt: skip
def test_candidates_are_counted(words: str, count: int | None) -> None:
    for text in (f"{words} for user 3", f"For UE 3, give {words}."):
        found = request(text)
        assert (found.candidates or 1, found.users) == (count or 1, (3,))


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("at x = 120 m, y = 45 m", (120, 45, 1.5)), ("at (120 m, 45 m)", (120, 45, 1.5)),
        ("at (120, 45) m", (120, 45, 1.5)),
        ("120 m east and 45 m north of the corner", (120, 45, 1.5)), ("at 45 m N, 120 m E", (120, 45, 1.5)),
        ("at 120 m / 45 m", (120, 45, 1.5)), ("at (0.1 km, 0.2 km)", (100, 200, 1.5)),
        ("at (120 m, 45 m), 2 m above ground", (120, 45, 2)), ("at x=75m y=40m z=3m", (75, 40, 3)),
        ("at (100 ft, 200 ft)", (30.48, 60.96, 1.5)),
    ],
)  # fmt: skip
def test_positions_have_units(words: str, place: tuple[float, float, float]) -> None:
    [found] = request(f"Path loss from bs1 {words}").positions
    assert found == pytest.approx(place)


def test_a_case_that_only_places_a_user_is_no_condition() -> None:
    found = request("If a phone is at x = 50 m and y = 60 m, which beam is best?")
    assert found.positions == ((50, 60, 1.5),)
    assert request("Suppose we transmit to user 6: which weights?").users == (6,)


def test_the_radio_that_there_is_may_be_named() -> None:
    assert request("Path loss to user 3 at 28 GHz").carrier == 28e9
    assert request("PL @3500 MHz, UE 41, sector A1", MACRO).carrier == 3.5e9
    assert request("UE 3, n78: beam?", MACRO).carrier == 3.5e9
    assert request("mmWave beam of UE 3").carrier == 28e9
    for text, scene in (
        ("precoder of the 32 antennas for UE 3", TOWN), ("which of the 32 beams suits user 3", TOWN),
        ("precoder of the 8x8 panel for UE 3", MACRO), ("64-port precoder of UE 3", MACRO),
    ):  # fmt: skip
        found = request(text, scene)
        assert (found.users, found.candidates) == ((3,), None)


@pytest.mark.parametrize(
    ("text", "users", "stations", "compare"),
    [
        ("Is user 3 better served by bs0 or bs1?", [3], [0, 1], "stations"),
        ("Which base station serves user 12 best?", [12], [0, 1, 2], "stations"),
        ("path loss user 4: bs0 vs bs1", [4], [0, 1], "stations"),
        ("is the attenuation towards UE 10 lower from bs1 than from bs2?", [10], [1, 2], "stations"),
        ("Who has the smaller path loss, user 3 or user 8?", [3, 8], [], "users"),
        ("Which user has the least path loss, 5, 6 or 7?", [5, 6, 7], [], "users"),
        ("path losses of users 3 and 4", [3, 4], [], None),
        ("Which user has the least path loss?", list(range(80)), [], "users"),
    ],
)
def test_comparisons(text: str, users: list[int], stations: list[int], compare: str | None) -> None:
    found = request(text)
    assert found == Request("path_loss", tuple(users), tuple(stations), compare=compare)


@pytest.mark.parametrize(
    ("text", "worst_first"),
    [
        ("Which of users 3 and 4 has the most path loss?", True), ("Which of users 3 and 4 loses least?", False),
        ("Which of users 3 and 4 is weaker in path loss?", True), ("Which of users 3 and 4 is not in LOS?", True),
        ("Which of users 3 and 4 is in NLOS?", True), ("Which of users 3 and 4 is not blocked?", False),
        ("Which of users 3 and 4 is least likely in LOS?", True), ("Is user 3 or user 4 in LOS?", False),
    ],
)  # fmt: skip
def test_comparisons_are_turned_round_as_they_are_asked(text: str, worst_first: bool) -> None:
    found = request(text)
    assert (found.users, found.compare, found.worst_first) == ((3, 4), "users", worst_first)


def test_pairs_of_a_user_and_a_station_are_answered_pair_by_pair() -> None:
    found = requests("path loss of user 3 from bs1 and user 4 from bs2, and their beams")
    pairs = [(one.users, one.stations) for one in found if one.task == "path_loss"]
    assert pairs == [((3,), (1,)), ((4,), (2,))]


def test_chains_share_what_one_of_them_names() -> None:
    tasks = ["beam", "path_loss"]
    for text in (
        "Which beam for user 3, and what loss does it leave?",
        "beam + PL of ue 3",
        "LOS? Beam? Loss? User 3.",
    ):
        found = requests(text)
        assert [one.task for one in found if one.task != "los"] == tasks
        assert {one.users for one in found} == {(3,)}
    beam, loss = requests("the top 3 beams of UE 3; for UE 4: path loss")
    assert (beam.users, beam.candidates, loss.users, loss.candidates) == ((3,), 3, (4,), None)
    assert requests("beam of user 3 from bs1, and its path loss")[1] == Request("path_loss", (3,), (1,))


def test_what_a_sentence_before_says_is_not_lost() -> None:
    class Apart(ByCue):
        def route(self, instruction: str) -> Route:
            return Route(None, {OUT_OF_SCOPE: 1.0}) if "guard" in instruction else super().route(instruction)

    said = understand("Our guard lost user 62. Where is he?", TOWN, list(TASKS.values()), Apart(0.0))
    assert isinstance(said, Understood)
    assert said.requests == (Request("position", (62,)),)
    assert request("UE 12, BS 1: path loss?") == Request("path_loss", (12,), (1,))


# what can't be honoured


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Path loss of UE 3 in heavy rain", "in heavy rain"),
        ("Where will user 3 stand next week?", "next week"),
        ("Which beam for a moving train?", "for a moving train"),
        ("Path loss to user 5 at 3.5 GHz", "3.5 GHz"),
        ("Best of 64 beams for user 3", "64 beams"),
        ("Precoder for user 3 with 64 antennas", "64 antennas"),
        ("precoder of a 16x16 array for user 3", "16x16 array"),
        ("path loss to user 3 without the building", "without the building"),
        ("Is user 3 in line of sight at night?", "at night"),
        ("beam for user 3 if bs1 is switched off", "if bs1 is switched off"),
        ("It is snowing. Path loss of UE 3?", "snowing"),
        ("RSRP and path loss of user 3", "RSRP"),
        ("beam and power of UE 8", "power"),
        ("top 3 positions of user 5", "top 3 positions"),
        ("Path loss from bs0 to bs1", "bs0 to bs1"),
        ("LOS between user 4 and user 5", "user 4 and user 5"),
        ("path loss to user 3, NLOS case", "NLOS case"),
        ("path loss of user 3 in metres", "in metres"),
        ("beam 5 for user 3", "beam 5"),
        ("Which of bs0 and bs1 has the better beam for user 3?", "better beam"),
        ("path loss to user 3 with a new antenna", "with a new antenna"),
        ("Path loss of user 3 in London", "in London"),
        ("beam for user 3 at 50 km/h", "at 50 km/h"),
        ("path loss of user 3 with 100 MHz bandwidth", "100 MHz"),
    ],
)
def test_what_nothing_here_can_honour_is_declined_by_name(text: str, phrase: str) -> None:
    said = read(text)
    assert isinstance(said, Declined)
    assert said.reason == "not_honoured"
    assert any(phrase in found for found in said.refused)
    assert phrase in said.message


def test_a_word_that_is_not_known_is_weighed_by_the_language_model() -> None:
    text = "Kindly relay the path loss of user 3"
    assert request(text.replace("relay", "fetch")).users == (3,)
    for limits, kind in ((0.01, Understood), (0.9, Declined)):
        assert isinstance(read("Quokka, the path loss of user 3", limits=limits), kind)
        assert isinstance(read("Path loss of user 3 behind the quokka", limits=limits), kind)


def test_what_the_router_takes_for_none_of_the_tasks_names_what_is_known_for_that() -> None:
    said = read("What's the SNR of user 3?")
    assert isinstance(said, Declined)
    assert (said.reason, said.refused) == ("out_of_scope", ("the SNR",))
    assert "signal-to-noise ratio" in said.message
    assert all(task.tells in said.message for task in TASKS.values())


# what is asked back


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("Where is user 300?", "user"), ("beam for UE -1", "user"), ("path loss to user 3.5", "user"),
        ("Where is the other user?", "user"), ("Where is user X?", "user"), ("Where is Peter?", "user"),
        ("For user 3, what is the beam of user 5?", "user"), ("path loss to the phone behind the church", "user"),
        ("user 3 at (120 m, 45 m): which beam?", "user"), ("which beam for user 3 or user 5?", "user"),
        ("Beam from bs7 to user 3", "station"), ("beam for sector 9", "station"),
        ("path loss from the neighbour site to user 3", "station"),
        ("path loss of user 3 from bs0 with bs1", "station"),
        ("path loss from the north station to user 3", "station"), ("both stations' path loss to user 3", "station"),
        ("Path loss at (120, 45)", "position"), ("path loss at x = 120 m", "position"),
        ("path loss at (900 m, 20 m)", "position"), ("path loss at 50 m", "position"),
        ("path loss to user 3 at 28", "number"), ("top 0 beams for user 3", "candidates"),
        ("top 40 beams for user 3", "candidates"), ("top 2.5 beams for user 3", "candidates"),
        ("top three, or rather the five best beams of user 3", "candidates"),
        ("compare the path loss of user 3", "comparison"),
    ],
)  # fmt: skip
def test_what_is_open_is_asked_back(text: str, about: str) -> None:
    said = read(text)
    assert isinstance(said, Question), said
    assert said.about == about


def test_a_name_that_looks_like_a_stations_is_asked_about() -> None:
    said = read("path loss from B4 to user 3", MACRO)
    assert isinstance(said, Question)
    assert (said.about, said.choices) == ("station", MACRO.stations)


def test_one_station_is_not_compared_with_others() -> None:
    for text in ("Is user 3 better served by bs0 or bs1?", "Which station serves user 3 best?"):
        said = read(text, ALONE)
        assert isinstance(said, Question)
        assert said.about == "station"


# the router's part


def test_the_router_reads_what_it_knows() -> None:
    router = ByCue()
    understand("Is UE 3 in LoS of bs1 at 28 GHz?", TOWN, list(TASKS.values()), router)
    understand("Where is this user?", TOWN, list(TASKS.values()), router)
    assert router.read == ["Is the user in LoS of the base station?", "Where is this user?"]


def test_the_router_decides_between_tasks_and_against_all() -> None:
    class Sure(ByCue):
        def route(self, instruction: str) -> Route:
            return Route("beam", {"beam": 0.98, "path_loss": 0.01, OUT_OF_SCOPE: 0.01})

    class Against(ByCue):
        def route(self, instruction: str) -> Route:
            return Route(None, {OUT_OF_SCOPE: 0.99, "beam": 0.01})

    said = understand("how should it be served?", TOWN, list(TASKS.values()), Sure())
    assert isinstance(said, Understood)
    assert said.requests == (Request("beam"),)
    said = understand("Write a poem about a beam of user 3", TOWN, list(TASKS.values()), Against())
    assert isinstance(said, Declined)


def test_an_empty_instruction_is_the_routers_to_refuse() -> None:
    with pytest.raises(InputError, match="empty"):
        read("  ")


PIECES = lexicon(TASKS.values()).marks.keys() | {
    "user",
    "bs0",
    "bs9",
    "station",
    "path",
    "loss",
    "los",
    "28",
    "GHz",
    "3",
}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(sorted(PIECES)),
            st.text(max_size=6),
        ),
        max_size=12,
    )
)
def test_nothing_that_is_typed_breaks_it(words: list[str]) -> None:
    text = " ".join(words)
    try:
        said = read(text)
    except InputError:
        return
    assert isinstance(said, Understood | Declined | Question)
    if isinstance(said, Understood):
        for one in said.requests:
            assert all(0 <= user < TOWN.users for user in one.users)
            assert all(0 <= station < 3 for station in one.stations)


# other languages


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Wo ist der Nutzer?", "German"), ("Welcher Beam ist der beste für UE 5?", "German"),
        ("Où se trouve l'utilisateur ?", "French"), ("Position de l'utilisateur 7, s'il te plaît", "French"),
        ("¿Dónde está el usuario?", "Spanish"), ("Pérdida de propagación de bs1 al UE 4", "Spanish"),
        ("用户在哪里？", "Chinese"), ("bs1到UE 4的路径损耗？", "Chinese"), ("Где пользователь?", ""),
        ("Where is user 3?", None), ("los y/n, UE 3", None), ("x = 12 m, y = 7 m: path loss", None),
        ("user 38's beam", None),
        ("path loss from Étoile to user 3", None), ("SNR", None), ("", None),
    ],
)  # fmt: skip
def test_other_languages_are_told(text: str, language: str | None) -> None:
    assert foreign.language(text) == language


def test_they_are_declined_in_their_own_words() -> None:
    said = read("Wo ist Nutzer 3?")
    assert isinstance(said, Declined)
    assert (said.reason, said.task) == ("language", None)
    assert "nur Englisch" in said.message
    assert foreign.language("beam of 北站 for user 3", ["北站"]) is None
    assert isinstance(read("beam of 北站 for user 3", Scene(("北站", "南站"), 5)), Understood)


# tool calls


def test_a_tool_call_is_checked_as_words_are() -> None:
    beam = TASKS["beam"]
    assert named(beam, {"user": 3, "station": "bs1", "candidates": 2}, TOWN) == Request(
        "beam", (3,), (1,), candidates=2
    )
    assert named(beam, {"station": 2, "carrier": 28e9}, TOWN) == Request("beam", (), (2,), carrier=28e9)
    for wrong, about in (({"user": 80}, "user"), ({"station": "bs9"}, "station"), ({"candidates": 33}, "candidates")):
        said = named(beam, wrong, TOWN)
        assert isinstance(said, Question)
        assert said.about == about
    refused = named(beam, {"carrier": 3.5e9}, TOWN)
    assert isinstance(refused, Declined)
    assert refused.refused == ("carrier 3.5 GHz",)
    odd: list[dict[str, Any]] = [{"user": "3"}, {"candidates": 1.5}, {"carrier": True}, {"station": [1]}]
    for arguments in odd:
        with pytest.raises(InputError, match="not of the form"):
            named(beam, arguments, TOWN)


def test_candidates_are_of_the_radios_beams() -> None:
    assert request("top 60 beams of UE 3", MACRO).candidates == 60
    small = Scene(("bs0",), 3, Radio(ULA(4)))
    assert isinstance(read("top 5 beams of UE 2", small), Question)
