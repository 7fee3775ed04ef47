"""The sample contract: what is refused, and that selecting and joining keep links whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.synthetic import assert_same, synthetic_links
from uniair.data.links.links import Links
from uniair.errors import InputError


def spoiled(name: str, index: Any, value: float) -> Links:
    links = synthetic_links()
    owner = links.paths if hasattr(links.paths, name) and not hasattr(links, name) else links
    values = getattr(owner, name).copy()
    values[index] = value
    if owner is links:
        return replace(links, **{name: values})
    return replace(links, paths=replace(links.paths, **{name: values}))


def test_valid_links_pass_through() -> None:
    links = synthetic_links()
    assert links.validate("here") is links
    assert len(links) == 8
    assert links.places.tolist() == ["town"] * 3


def test_an_empty_data_set_is_valid() -> None:
    links = synthetic_links().select(np.zeros(8, dtype=bool))
    assert len(links.validate("here")) == 0
    assert links.areas == ()


@pytest.mark.parametrize(
    ("name", "index", "value", "words"),
    [
        ("sizes", 0, np.nan, "sizes holds NaN"),
        ("sizes", 0, 0.0, "size is not above 0"),
        ("sizes", 0, -5.0, "size is not above 0"),
        ("bs", (0, 0), np.nan, "bs holds NaN"),
        ("ue", (0, 2), np.inf, "ue holds NaN or infinite"),
        ("ue", (0, 0), 999.0, "a UE lies outside its area; positions are metres"),
        ("bs", (0, 1), -2.0, "a BS lies outside its area"),
        ("bearing", 0, np.nan, "bearing holds NaN"),
        ("area", 0, 3, "names area 3 of 3"),
        ("area", 0, -1, "names area"),
        ("gain", 0, np.nan, r"paths\.gain holds NaN"),
        ("delay", 0, np.inf, r"paths\.delay holds NaN or infinite"),
        ("aod_azimuth", 0, np.nan, r"paths\.aod_azimuth"),
        ("aod_zenith", 0, np.nan, r"paths\.aod_zenith"),
        ("aoa_azimuth", 0, np.nan, r"paths\.aoa_azimuth"),
        ("aoa_zenith", 0, np.nan, r"paths\.aoa_zenith"),
    ],
)
def test_broken_values_are_named(name: str, index: Any, value: float, words: str) -> None:
    with pytest.raises(InputError, match=f"^here: .*{words}"):
        spoiled(name, index, value).validate("here")


@pytest.mark.parametrize("name", ["maps", "mapped", "sizes", "area", "bs", "ue", "bearing", "los"])
@pytest.mark.parametrize("change", ["shorter", "scalar", "deeper"])
def test_wrong_shapes_are_named(name: str, change: str) -> None:
    links = synthetic_links()
    value = getattr(links, name)
    wrong = {"shorter": value[:-1], "scalar": value.reshape(-1)[0], "deeper": value[..., None]}[change]
    with pytest.raises(InputError, match=r"^here: \w+ has shape .* expected"):
        replace(links, **{name: np.asarray(wrong)}).validate("here")


def test_paths_of_another_number_of_links() -> None:
    links = synthetic_links()
    with pytest.raises(InputError, match=r"here: paths has shape \(7,\), expected \(8,\)"):
        replace(links, paths=links.paths.select(np.arange(7))).validate("here")


def test_a_link_without_a_path() -> None:
    links = synthetic_links()
    offsets = links.paths.offsets.copy()
    offsets[1] = 0
    with pytest.raises(InputError, match="here: a link has no path"):
        replace(links, paths=replace(links.paths, offsets=offsets)).validate("here")


@settings(max_examples=30, deadline=None, derandomize=True)
@given(index=st.lists(st.integers(-8, 7), max_size=10), seed=st.integers(0, 5))
def test_selected_links_keep_their_area_and_paths(index: list[int], seed: int) -> None:
    links = synthetic_links(seed)
    picked = links.select(np.array(index, dtype=np.int64)).validate("here")
    assert len(picked) == len(index)
    assert set(picked.area.tolist()) == set(range(len(picked.areas)))
    for i, k in enumerate(index):
        a, b = picked.area[i], links.area[k]
        assert picked.areas[a] == links.areas[b]
        assert picked.sizes[a] == links.sizes[b]
        np.testing.assert_array_equal(picked.maps[a], links.maps[b])
        np.testing.assert_array_equal(picked.ue[i], links.ue[k])
        np.testing.assert_array_equal(picked.bs[i], links.bs[k])
        assert picked.los[i] == links.los[k]
        one, other = picked.paths.select(np.array([i])), links.paths.select(np.array([k]))
        np.testing.assert_array_equal(one.gain, other.gain)


def test_a_mask_selects_like_indices() -> None:
    links = synthetic_links()
    mask = np.arange(8) % 3 == 1
    assert_same(links.select(mask), links.select(np.flatnonzero(mask)))


def test_joined_parts_come_apart_again() -> None:
    parts = [synthetic_links(seed, areas=3 - seed, place=f"p{seed}") for seed in range(3)]
    joined = Links.concatenate(parts).validate("here")
    assert joined.areas == ("p0/00000", "p0/00001", "p0/00002", "p1/00000", "p1/00001", "p2/00000")
    assert len(joined) == 24
    assert_same(joined.select(np.arange(8)), parts[0].select(np.arange(8)))
    assert_same(joined.select(np.arange(16, 24)), parts[2])
