"""Plans that several tests look at, without a drive test and with one."""

from __future__ import annotations

import pytest

from tests.site.make_plan import make_plan
from uniair.site.site import Site


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_plan(tmp_path_factory.mktemp("planned") / "plan")


@pytest.fixture(scope="session")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_plan(tmp_path_factory.mktemp("driven") / "plan", drive=True)
