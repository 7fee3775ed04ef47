"""The report's section on why and how sure: computed of the site's own channels, drawn, and said in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import uniair
from tests.explanation.calibration import calibration_of
from tests.site.make import make_site
from uniair.explanation.doubted import NONE
from uniair.site import reasons
from uniair.site.learning import Samples, samples
from uniair.site.site import Site
from uniair.tasks import zero_shot

COUNT = 12


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("reasons") / "site", stations=2)


@pytest.fixture(scope="module")
def channels(site: Site) -> Samples:
    """Of the second station, whose array lies at 30°."""
    return samples(uniair.load("small"), site, 1, site.links[1], None)["position", "channel"]


def test_what_is_kept_is_what_the_channels_say(site: Site, channels: Samples) -> None:
    found = json.loads(json.dumps(reasons.reasons(site, 1, channels, None, COUNT)))
    assert len(found["links"]) == len(found["los"]) == len(found["fit"]) == COUNT
    assert found["links"] == sorted(set(found["links"]))
    assert found["wrong"] is None
    asked = channels.batch.select(np.array(found["links"]))
    los = zero_shot.los(channels.model, asked.csi, asked.environment.without("los"))
    np.testing.assert_allclose(found["los"], los, atol=2e-3)
    assert found["audit"]["channels"] == COUNT
    truth = {"los": site.links[1].los.astype(int).tolist()}
    words, content = reasons.section(site, 1, channels, found, None, truth)
    assert words.startswith(f"Doubt is {NONE}")
    assert "% of them are wrong here" in words
    assert content.count("<img") == 2 + len(reasons.examples(found))
    for link in reasons.examples(found):
        assert f'alt="user {link}: ' in content


def test_a_calibration_puts_doubt_into_numbers(site: Site, channels: Samples, tmp_path: Path) -> None:
    calibration = calibration_of(site.weights)
    found = reasons.reasons(site, 1, channels, calibration, COUNT)
    los = np.array(found["los"])
    np.testing.assert_allclose(found["wrong"], np.minimum(los, 1 - los), atol=1e-3)
    picked = reasons.examples(found)
    assert found["links"][int(np.argmax(found["wrong"]))] in picked
    assert len(picked) <= 3
    words, content = reasons.section(site, 1, channels, found, calibration, None)
    assert words.startswith("Doubt says that ")
    assert "assumed" not in words
    for one in found["audit"]["suspicions"][:5]:
        assert one["sentence"].split(":")[0] in content
