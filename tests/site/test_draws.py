"""Two draws of heights that a map does not give: what differs between their answers, said in a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uniair
from tests.area.towns import collection, degrees, feature, rectangle, write
from tests.site.make import synthetic_paths
from uniair.area.area import Area
from uniair.data.links.loader import batch_of
from uniair.site import draws, survey
from uniair.site.site import Site, Station
from uniair.site.survey import Survey


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """Eight houses of unknown height about a street; gains fall with their mean height, 1 dB a metre."""

    def trace(area: Area, bs: Any, ue: Any, config: Any) -> Any:
        paths = synthetic_paths(area, bs[0], ue)
        return replace(paths, gain=(paths.gain * 10 ** (-area.heights.mean() / 20)).astype(np.complex64))

    monkeypatch.setattr(survey, "build_scene", lambda area, config: area)
    monkeypatch.setattr(survey, "trace_scene", trace)
    houses = [feature(rectangle(30.0 * i, 40.0 * j, 18, 14), building="yes") for i in range(4) for j in range(2)]
    path = write(tmp_path, "town.geojson", collection(*houses))
    return Survey(str(path), (",".join(map(str, degrees(55, 25))),), side=110.0, ue=120)


def test_the_next_seed_draws_other_heights_of_the_same_houses(wanted: Survey) -> None:
    ground = survey.crop(wanted)
    other = draws.other_draw(ground, wanted)
    assert ground.area.drawn.all()
    assert [f.wkt for f in other.footprints] == [f.wkt for f in ground.area.footprints]
    assert not np.allclose(other.heights, ground.area.heights)


def site_of(ground: survey.Ground, station: Station) -> Site:
    return Site(Path("site"), ground.area, (station,), "small", "")


def test_what_hangs_on_the_draw_is_said(wanted: Survey) -> None:
    ground, model = survey.crop(wanted), uniair.load("small")
    (station,) = ground.sources
    links = survey.links_of(survey.scene_of(ground.area, wanted), ground, station, ground.users(120, 0), wanted)
    found = draws.compare(model, site_of(ground, station), ground, 0, links, wanted)
    other = draws.other_draw(ground, wanted)
    assert found["heights"] == [round(float(area.heights.mean()), 1) for area in (ground.area, other)]
    assert (found["users"], found["reached"], found["both"]) == (120, [120, 120], 120)
    apart = abs(float(ground.area.heights.mean() - other.heights.mean()))  # dB, by the tracer above
    (loss,) = (said for title, said in found["rows"].items() if " dB apart" in said)
    assert loss.startswith(f"{apart:.1f} dB apart in the middle")
    site = site_of(ground, station)
    again = survey.links_of(survey.scene_of(other, wanted), ground, station, ground.users(120, 0), wanted)
    again = replace(again, maps=site.picture(other)[None])
    answers = []
    for one in (links, again):
        batch = batch_of(one.select(np.lexsort(one.ue.T)))
        answers.append((uniair.zero_shot.los(model, batch.csi, batch.environment) > 0.5).numpy())
    share = float((answers[0] != answers[1]).mean())
    assert found["rows"]["LOS, zero-shot"] == f"another answer for {100 * share:.0f} %"
    assert 0 < share < 0.1  # of the users few are behind walls whose height decides, but some are
    (line,) = draws.sentences("bs0", found)
    assert line.startswith(f"bs0: drawn heights average {found['heights'][0]:g} m here")


def test_a_station_whose_roof_is_drawn(wanted: Survey) -> None:
    ground = survey.crop(wanted)
    other = draws.other_draw(ground, wanted)
    house = int(np.argmax(other.heights - ground.area.heights))
    x, y = ground.area.footprints[house].representative_point().coords[0]
    between = (ground.area.heights[house] + other.heights[house]) / 2
    station = replace(ground.sources[0], position=(x, y, float(between)))
    links = survey.links_of(survey.scene_of(ground.area, wanted), ground, station, ground.users(120, 0), wanted)
    found = draws.compare(uniair.load("small"), site_of(ground, station), ground, 0, links, wanted)
    assert found["inside"] == round(float(other.heights[house]), 1)
    assert "stands inside a building" in draws.sentences("bs0", found)[0]
