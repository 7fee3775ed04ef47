"""Heights in the spellings and under the names that people use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniair.area.heights import from_neighbours, level_count, metres, normalised, read_height


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9", 9.0), (" 9.5 m ", 9.5), ("9,5", 9.5), ("7.", 7.0), (".75", 0.75), ("+21", 21.0), (18, 18.0), (18.5, 18.5),
        ("60'", 18.288), ("60 ft", 18.288), ("60feet", 18.288), ("6'3\"", 1.905), ("6 ft 3 in", 1.905),
        ("6’ 3”", 1.905), ("10 yd", 9.144), ("36 in", 0.9144),
        ("~8", 8.0), ("≈ 8 m", 8.0), ("ca. 8", 8.0), ("ca.8m", 8.0), ("circa 8", 8.0), ("approx. 8 m", 8.0),
        ("8?", 8.0),        ("8 m (est.)", 8.0), ("about 8", 8.0),
        ("14 metres", 14.0), ("14 meter", 14.0), ("14 METERS", 14.0), ("14M", 14.0), ("14 mètres", 14.0),
        ("14 metros", 14.0), ("14 м", 14.0), ("14 米", 14.0), ("１４ｍ", 14.0), ("٣ m", 3.0),
        ("0.03 km", 30.0), ("950 cm", 9.5),
        ("6;9", 9.0), ("9;6 m", 9.0), ("6 / 9", 9.0), ("6|9", 9.0), ("6, 9", 9.0), ("6 or 9", 9.0),
        ("6-9", 7.5), ("6 – 9 m", 7.5), ("6 to 9", 7.5), ("6 bis 9 m", 7.5), ("20-40 ft", 9.144),
        ("3 levels", 9.0), ("2 Stockwerke", 6.0), ("1,234.5 ft", 376.2756),
    ],
)  # fmt: skip
def test_lengths_that_can_be_read(text: Any, expected: float) -> None:
    assert metres(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    ["", "tall", "<4", ">9", "-3", "2,345", "12 parsecs", "3+1", "4 (+1)", "1e400", "9" * 5000, True, None, [12],
     "12345", "12 m high", "0x10", "12'6'9", math.nan, math.inf],
)  # fmt: skip
def test_lengths_that_cannot(text: Any) -> None:
    assert metres(text) is None or not math.isfinite(metres(text) or 0.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4", 4.0), ("2,5", 2.5), ("3;5", 5.0), ("3-4", 3.5), ("G+2", 3.0), ("R+1", 2.0), ("6 floors", 6.0), (7, 7.0),
     ("0", 0.0), ("<4", None), ("3+1", None), ("4 (+1)", None), ("many", None), ("5000", None), ("-1", None)],
)  # fmt: skip
def test_levels(text: Any, expected: float | None) -> None:
    assert level_count(text) == expected


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=st.text(max_size=40) | st.text("0123456789.,;-/ '\"mft~<+", max_size=30))
def test_any_text_is_a_length_or_none(text: str) -> None:
    for read in (metres, level_count):
        found = read(text)
        assert found is None or 0 <= found <= 1000


@pytest.mark.parametrize(
    ("tags", "top"),
    [
        ({"height": "11", "building:levels": "30"}, 11.0),
        ({"Height": 11.0}, 11.0),
        ({"HEIGHT": 11.0}, 11.0),
        ({"building:height": "11"}, 11.0),
        ({"building_height": "11"}, 11.0),
        ({"measuredHeight": 11.0}, 11.0),
        ({"est_height": "11"}, 11.0),
        ({"HAUTEUR": 11.0}, 11.0),
        ({"heightroof": 100.0}, 30.48),
        ({"height_ft": "100"}, 30.48),
        ({"num_floors": 4}, 12.0),
        ({"levels": 4}, 12.0),
        ({"building_levels": "4"}, 12.0),
        ({"building:l": "4"}, 12.0),
        ({"building_l": "4"}, 12.0),
        ({"NumFloors": 4.0}, 12.0),
        ({"storeysAboveGround": 4}, 12.0),
        ({"building:levels": "4", "roof:levels": "1"}, 15.0),
        ({"building:levels": "4", "roof:height": "2.5"}, 14.5),
        ({"height": "20", "roof:height": "5"}, 20.0),
        ({"height": None, "num_floors": 4}, 12.0),
        ({"height": -1.0}, None),
        ({"height": math.nan}, None),
        ({"height": "unknown"}, None),
        ({"building:levels": "0"}, None),
        ({"tags": {"height": "11"}}, 11.0),
        ({"tags": '{"height": "11"}'}, 11.0),
        ({"other_tags": '"height"=>"11","name"=>"a, \\"b\\""'}, 11.0),
    ],
)
def test_names_of_heights(tags: dict[str, Any], top: float | None) -> None:
    found = read_height(normalised(tags))
    assert found.top == (pytest.approx(top) if top is not None else None)
    assert found.unreadable is None


def test_what_cannot_be_read_is_told() -> None:
    assert read_height({"height": "tall", "building_levels": "3"}).unreadable == "height=tall"
    assert read_height({"height": "tall", "building_levels": "3"}).top == 9.0
    assert read_height({"height": "0"}).unreadable is None
    assert read_height({"height": "2", "building_levels": "20"}).doubt == "2 m with 20 levels"


def test_floors() -> None:
    assert read_height({"min_height": "6", "height": "10"}).base == 6.0
    assert read_height({"building_min_level": "2", "building_levels": "5"}).base == 6.0
    assert read_height({"min_floor": 1, "num_floors": 5}).base == 3.0
    assert read_height({"height": "10"}).base is None


def test_bare_numbers_of_a_file_in_feet() -> None:
    assert read_height({"bldg_ht": 100.0}, 0.3048).top == pytest.approx(30.48)
    assert read_height({"height": 100.0}, 0.3048).top == 100.0
    assert read_height({"bldg_ht": "100 m"}, 0.3048).top == 100.0


def test_neighbours_of_the_same_kind() -> None:
    points = np.column_stack([np.arange(20.0) * 30, np.zeros(20)])
    kinds = np.array(["house"] * 12 + ["barn"] * 8)
    heights = np.array([6.0] * 5 + [9.0] * 6 + [np.nan] + [20.0] * 2 + [np.nan] * 6)
    found = from_neighbours(points, kinds, heights)
    assert found[11] == 9.0
    assert np.isnan(found[12:]).all()  # two known barns are not enough
    assert np.isnan(found[:11]).all()


def test_a_few_known_heights_say_nothing_of_a_city() -> None:
    heights = np.array([9.0] * 6 + [np.nan] * 94)
    assert np.isnan(from_neighbours(np.random.default_rng(0).random((100, 2)), np.full(100, "yes"), heights)).all()
