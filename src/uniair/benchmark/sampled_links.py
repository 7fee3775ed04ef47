"""Links of test places, the same for every method, and places to learn from that share nothing with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from uniair.benchmark.benchmark import Setup
from uniair.benchmark.matching import some_areas
from uniair.data.links.links import Links
from uniair.data.links.store import Store
from uniair.radio import Radio
from uniair.training.pretraining import check_split


@dataclass(frozen=True)
class Sample:
    """How much is measured, and learned from.

    Attributes:
        areas, links: of the test; links of each area.
        train: channels of training places.
    """

    areas: int
    links: int
    train: int


@dataclass(frozen=True)
class SampledLinks:
    """The folders of a setup, sampled.

    Attributes:
        sample: how much of them.
        test, train: the folders.
    """

    sample: Sample
    test: Store
    train: Store

    @classmethod
    def of(cls, setup: Setup, sample: Sample) -> SampledLinks:
        """Of `--links` and `--train`; notes what the runs are made with.

        Raises:
            InputError: a folder is missing, or a place is in both.
        """
        train, test = setup.store("train"), setup.store("links")
        check_split(train.areas, test.areas)
        setup.note(data=test.manifest["recipe"], train=train.manifest["recipe"], areas=sample.areas, links=sample.links)
        return cls(sample, test, train)

    @cached_property
    def areas(self) -> list[tuple[str, Links]]:
        """Names and links of the test areas."""
        every = some_areas(self.test, self.sample.areas)
        return [(name, links.select(np.arange(len(links))[: self.sample.links])) for name, links in every]

    @property
    def count(self) -> int:
        """Test links of all areas."""
        return sum(len(links) for _, links in self.areas)

    def at_carrier(self, radio: Radio) -> Radio:
        """A radio at the carrier that the links were traced at."""
        return replace(radio, carrier=self.test.one_radio().carrier)
