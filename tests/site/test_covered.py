"""What a folder keeps of a site's coverage comes back whole, and what is broken is said."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.site.make_plan import STRONGER, make_plan
from uniair.errors import InputError
from uniair.site import drive_summary, map_layers
from uniair.site.covered import COVERAGE, Covered
from uniair.site.map_layers import QUALITATIVE
from uniair.site.site import Site


def test_coverage_comes_back(planned: Site, tmp_path: Path) -> None:
    kept = Covered.read(planned.folder)
    assert kept is not None
    kept.write(tmp_path)
    again = Covered.read(tmp_path)
    assert again is not None
    assert (again.sectors, again.sources, again.planning) == (kept.sectors, kept.sources, kept.planning)
    assert again.names == ["North-1", "North-2", "North-3", "West-1", "West-2"]
    assert again.sources == ("North", "North", "North", "West", "West")
    for name in ("points", "spots", "floor"):
        assert np.array_equal(getattr(again.users, name), getattr(kept.users, name))
    for field in fields(kept.users.served):
        assert np.array_equal(getattr(again.users.served, field.name), getattr(kept.users.served, field.name), True)
    assert set(again.users.layers) == {"rsrp", "mean_rsrp", "beam", "beam_gain", "path_loss", "los", "delay_spread",
                                       "departure_spread", "arrival_spread", "first_delay"}  # fmt: skip
    assert again.maps is not None
    assert kept.maps is not None
    assert again.maps.cells == kept.maps.cells
    assert np.array_equal(again.maps.rsrp, kept.maps.rsrp, equal_nan=True)
    x, y = planned.stations[3].position[:2]
    assert (again.sectors[3]["x_m"], again.sectors[3]["y_m"]) == pytest.approx((x, y), abs=1e-3)
    assert [street.name for street in Site.read(planned.folder).streets] == ["Main Street", "Mill Lane", ""]
    assert Covered.read(tmp_path / "elsewhere") is None


def test_a_drive_test_comes_back_with_what_it_calibrates(driven: Site, planned: Site) -> None:
    kept, plain = Covered.read(driven.folder), Covered.read(planned.folder)
    assert plain is not None
    assert (plain.drive_test, plain.calibrated) == (None, None)
    assert kept is not None
    assert kept.drive_test is not None
    assert kept.calibrated is not None
    # as planned it is what it is without a drive test
    assert kept.sectors == plain.sectors
    for name, values in plain.users.layers.items():
        assert np.array_equal(kept.users.layers[name], values, equal_nan=values.dtype.kind == "f"), name
    test, again = kept.drive_test, kept.calibrated
    assert drive_summary.summary(test) == {k: v for k, v in driven.about["drive_test"].items() if k != "coverage"}
    assert test.offsets == pytest.approx([STRONGER, STRONGER, STRONGER, 0, np.nan], abs=0.1, nan_ok=True)
    assert [sector["offset_db"] for sector in again.sectors] == pytest.approx([*test.offsets[:4].round(2), None])
    stronger = np.nan_to_num(test.offsets)[:, None]
    assert np.allclose(again.users.layers["rsrp"], kept.users.layers["rsrp"] + stronger, atol=1e-3, equal_nan=True)
    assert again.maps is not None
    assert kept.maps is not None
    assert np.allclose(again.maps.rsrp, kept.maps.rsrp + stronger[..., None], atol=1e-3, equal_nan=True)
    assert (again.drive_test, again.calibrated) == (None, None)


def test_a_run_without_a_log_leaves_nothing_of_an_earlier_one(driven: Site, tmp_path: Path) -> None:
    shutil.copytree(driven.folder, tmp_path / "plan")
    site = make_plan(tmp_path / "plan")
    kept = Covered.read(site.folder)
    assert kept is not None
    assert (kept.drive_test, kept.calibrated) == (None, None)
    assert "drive_test" not in Site.read(site.folder).about
    for name in ("report.html", "card.md"):
        assert "Drive test" in (driven.folder / name).read_text(encoding="utf-8")
        assert "Drive test" not in (site.folder / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda arrays, note: note.update(format="uniair-coverage/9"), "of format 'uniair-coverage/9'"),
        (lambda arrays, note: arrays.pop("users.best"), "KeyError"),
        (lambda arrays, note: arrays.update({"users.best": arrays["users.best"] + 9}), "a sector that is not there"),
        (lambda arrays, note: arrays.update({"spots": arrays["spots"][:-1]}), "spots of shape"),
        (lambda arrays, note: note["sources"].pop(), "4 sources of 5 sectors"),
        (lambda arrays, note: note["cells"].pop("rows"), "TypeError"),
        (lambda arrays, note: arrays.update({"drive.rows": arrays["drive.rows"][1:]}), "drive.rows of shape"),
        (lambda arrays, note: arrays.update({"drive.half": arrays["drive.half"] + 9}), "drive.half names none of"),
        (lambda arrays, note: arrays.pop("calibrated.points"), "KeyError"),
    ],
)
def test_what_is_broken_is_one_line(driven: Site, tmp_path: Path, change: object, says: str) -> None:
    with safe_open(driven.folder / COVERAGE, framework="numpy") as file:
        note = json.loads(file.metadata()["uniair"])
        arrays = {name: file.get_tensor(name) for name in list(file.keys())}
    assert callable(change)
    change(arrays, note)
    save_file(arrays, tmp_path / COVERAGE, {"uniair": json.dumps(note)})
    with pytest.raises(InputError, match="give the same uniair site command again") as error:
        Covered.read(tmp_path)
    assert says in str(error.value)
    (tmp_path / COVERAGE).write_bytes((driven.folder / COVERAGE).read_bytes()[:300])
    with pytest.raises(InputError, match="not a site's coverage"):
        Covered.read(tmp_path)


def test_sectors_side_by_side_have_other_colours(planned: Site) -> None:
    kept = Covered.read(planned.folder)
    assert kept is not None
    assert len(set(map_layers.sector_colours(kept))) == 5
    # more sectors than colours: those of a mast still differ
    many = replace(
        kept, maps=None,
        sectors=tuple({**kept.sectors[0], "x_m": 20.0 * (i // 3), "azimuth_deg": 120.0 * (i % 3)} for i in range(30)),
    )  # fmt: skip
    colours = map_layers.sector_colours(many)
    assert set(colours) == set(QUALITATIVE)
    assert all(len(set(colours[i : i + 3])) == 3 for i in range(0, 30, 3))


def test_scales_are_told_apart_by_brightness_alone(planned: Site) -> None:
    kept = Covered.read(planned.folder)
    assert kept is not None
    for scale in map_layers.scales(kept):
        channels = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in scale.colours])
        luminance = channels @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(luminance) > 8).all(), scale.name
        assert len(scale.colours) == len(scale.edges) + 1 == len(scale.texts())
    apart = map_layers.residuals()
    assert apart.classes(np.array([-20.0, -2.9, 2.9, 20.0])).tolist() == [0, 3, 3, 6]
    assert len(set(apart.colours)) == len(apart.texts()) == 7
    rsrp, _, rate = map_layers.scales(kept)
    assert rsrp.classes(np.array([-120.1, -120.0, -75.0, -60.0, np.nan])).tolist() == [0, 1, 5, 7, -1]
    assert rsrp.texts()[0] == "below −120"
    most = kept.users.served.throughput.max() / 1e6
    assert rate.edges[-1] * 7 / 8 < most * 1.5  # the classes are about what there is
    assert rate.edges[-1] + rate.edges[0] >= most
