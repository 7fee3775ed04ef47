"""Laws of paths: masses add up, are read as they were written, and are counted from what is seen."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from uniair.errors import InputError
from uniair.tasks.path_laws import KNOTS, WHOLE, Law, PathLaws, packaged_laws, shared


def test_mass_below_is_the_share_of_what_was_seen() -> None:
    law = Law.counted(np.repeat(np.array([5, 15, 25]), [100, 600, 300]), [0, 10, 20, 40])
    assert law.up_to(np.array([-9, 0, 10, 20, 40, 99])) == pytest.approx(
        np.array([0, 0, 0.1, 0.7, 1, 1]) * WHOLE, abs=0.002 * WHOLE
    )
    assert law.up_to(np.array([15])) == pytest.approx(0.4 * WHOLE, abs=0.002 * WHOLE)  # evenly in between
    assert (np.diff(law.up_to(np.arange(-5, 50))) >= 0).all()


def test_what_was_never_seen_has_a_mass_too() -> None:
    below = shared(np.array([[7, 7, WHOLE, WHOLE]]))
    assert below[0, 0] == 0
    assert (np.diff(below[0]) > WHOLE // 256).all()


def test_packaged_laws_are_read_as_written_and_broken_ones_refused() -> None:
    laws = packaged_laws()
    told = laws.to_json()
    assert PathLaws.from_json(told).digest == laws.digest
    for wrong in ({}, told | {"format": "uniair-path-laws/0"}, told | {"knots": {}}):
        with pytest.raises(InputError, match="laws of paths: expected"):
            PathLaws.from_json(wrong)
    other = copy.deepcopy(told)
    other["up"][-1] += 1
    with pytest.raises(InputError, match="masses of up"):
        PathLaws.from_json(other)
    del other["up"]
    with pytest.raises(InputError, match="laws of paths"):
        PathLaws.from_json(other)


def test_packaged_laws_say_what_is_known_of_paths() -> None:
    """The first path is mostly the strongest; later ones come later, and from near its direction rather than far."""
    laws = packaged_laws()
    first = laws.of_amplitude(0, 0)
    assert first.up_to(np.array([1500]))[0] > 0.8 * WHOLE
    assert laws.of_amplitude(0, 3).up_to(np.array([1500]))[0] < 0.2 * WHOLE
    assert laws.of_amplitude(0, 99) is laws.of_amplitude(0, 5)
    assert laws.later.up_to(np.array([0]))[0] < 0.3 * WHOLE
    near, far = np.diff(laws.apart.up_to(np.array([[-200_000, 200_000], [800_000, 1_200_000]])))[:, 0]
    assert near > 2 * far
    assert len(KNOTS["delay"]) == len(laws.delay["absolute"].knots)
