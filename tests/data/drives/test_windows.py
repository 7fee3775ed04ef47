from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.drives.moving import BEAMS, drive, drives, hidden
from uniair.data.drives import passages, sensing, windows
from uniair.data.drives.drive import read_drives, write_drives
from uniair.data.drives.passages import Augmentation, Passages, mirrored
from uniair.data.drives.sensing import Sensing, range_angle_velocity
from uniair.data.drives.windows import cut, frames, segments
from uniair.data.import_report import ImportReport
from uniair.errors import InputError


def test_every_window_of_a_drive_holds_its_steps_in_order() -> None:
    one = drive(steps=12)
    found = cut([one], past=5, future=3)
    assert len(found) == 12 - 8 + 1
    steps = found.steps()
    assert steps["power"].shape == (5, 8, BEAMS)
    np.testing.assert_array_equal(steps["beam"][2], one.beam[2:10])
    np.testing.assert_allclose(steps["power"][4, 0], one.power[4], rtol=1e-6)


def test_short_drives_are_skipped_and_counted() -> None:
    report = ImportReport()
    found = cut([drive("scenario7/1", 3), drive("scenario7/2", 9)], report=report)
    assert set(found.drive) == {1}
    assert report.left_out[windows.SHORT] == 1
    with pytest.raises(InputError, match="no window of 5 past and 3 future steps in 1 drives"):
        cut([drive(steps=7)])


def test_no_window_spans_a_gap() -> None:
    time = np.arange(20.0)
    time[11:] += 1  # one step is missing
    gapped, report = replace(drive(steps=20), time=time), ImportReport()
    assert segments(gapped) == [(0, 11), (11, 20)]
    found = cut([gapped], report=report)
    assert found.start.tolist() == [0, 1, 2, 3, 11, 12]
    assert report.left_out[windows.GAPS] == 1


def test_unknown_future_is_skipped_and_lost_steps_are_counted() -> None:
    one = drive(steps=12)
    power, beam = one.power.copy(), one.beam.copy()
    power[9], beam[9] = np.nan, -1
    power[2, 3] = np.nan
    report = ImportReport()
    found = cut([replace(one, power=power, beam=beam)], report=report)
    assert found.start.tolist() == [0, 1]  # the others forecast step 9
    assert report.left_out[windows.UNKNOWN_FUTURE] == 3
    assert report.left_out[windows.LOST] == 1
    assert report.left_out[windows.PARTIAL] == 1


def test_an_unknown_position_hides_the_moves_from_and_to_it() -> None:
    one = drive(steps=8)
    ue = one.ue.copy()
    ue[3] = np.nan
    steps = cut([replace(one, ue=ue)]).steps()
    assert np.isnan(steps["position"][0, 3, :2]).all()
    np.testing.assert_array_equal(steps["position"][0, 3:5, 2:], 0)
    assert np.abs(steps["position"][0, 6, 2]) > 0.1


def test_the_frame_puts_the_traffic_ahead_and_beams_rise_to_the_left() -> None:
    some = drives(2)
    turned = frames(some)["scenario1"]
    np.testing.assert_allclose(turned @ turned.T, np.eye(2), atol=1e-12)
    position = some[0].position @ turned.T
    assert (position[:, 1] > 10).all()
    assert np.corrcoef(position[:, 0], some[0].beam)[0, 1] < -0.99


def test_codebooks_of_several_sizes_are_refused() -> None:
    with pytest.raises(InputError, match=r"16 beams in scenario1/00001, 32 beams in scenario2/00001"):
        cut([drive(), drive("scenario2/00001", beams=32)])


def test_passages_are_drawn_from_the_drives_and_padded_with_missing_steps() -> None:
    passages = Passages((drive(steps=4),), 11, Augmentation(reverse=0.0, retimed=0.0))
    batch = passages.draw(20, np.random.default_rng(0))
    assert batch["power"].shape == (20, 11, BEAMS)
    present = (batch["beam"] >= 0).sum(1)
    assert present.min() >= 2
    assert present.max() <= 4
    assert np.isnan(batch["power"][0, present[0] :]).all()
    again = passages.draw(20, np.random.default_rng(0))
    np.testing.assert_array_equal(batch["power"], again["power"])


def pace(batch: sensing.Steps) -> float:
    """Mean beams a step."""
    both = (batch["beam"][:, 1:] >= 0) & (batch["beam"][:, :-1] >= 0)
    return float(np.diff(batch["beam"], axis=1)[both].mean())


def test_reversal_turns_the_vehicle_round() -> None:
    as_driven = Passages((drive(steps=24),), 6, Augmentation(reverse=0.0, retimed=0.0)).draw(
        30, np.random.default_rng(0)
    )
    back = Passages((drive(steps=24),), 6, Augmentation(reverse=1.0, retimed=0.0)).draw(30, np.random.default_rng(0))
    assert pace(back) == pytest.approx(-pace(as_driven))
    moves = back["position"][..., 2][np.abs(back["position"][..., 2]) > 0]
    assert (moves > 0).all()  # the other way round, beams fall as it goes right


@pytest.mark.parametrize("share", [0.3, 2.0])
def test_retimed_passages_are_slower_or_faster_and_made_of_measured_steps(share: float) -> None:
    some = tuple(drive(f"s/{n}", seed=n) for n in range(4))
    batch = Passages(some, 6, Augmentation(0.0, 0.0, 1.0, (share, share))).draw(200, np.random.default_rng(0))
    known = np.concatenate([one.power for one in some]).astype(np.float32)
    heard = batch["power"][batch["beam"] >= 0]
    assert np.isin(heard[:, 0], known[:, 0]).all()
    usual = Passages(some, 6, Augmentation(0.0, 0.0, 0.0)).draw(200, np.random.default_rng(0))
    assert pace(batch) == pytest.approx(share * pace(usual), rel=0.2)
    faster = np.nanmean(batch["position"][:, 1:, 2]) / np.nanmean(usual["position"][:, 1:, 2])
    assert faster == pytest.approx(share, rel=0.2)


def test_the_centre_of_a_lobe_is_finer_than_a_beam() -> None:
    wanted = np.array([5.0, 5.3, 9.75])
    power = 0.1 + np.exp(-0.5 * ((np.arange(BEAMS) - wanted[:, None]) / 1.5) ** 2)
    np.testing.assert_allclose(passages.lobe_centre(power), wanted, atol=0.1)
    assert np.isnan(passages.lobe_centre(np.full((1, BEAMS), np.nan)))


def test_impossible_augmentations_are_refused() -> None:
    with pytest.raises(InputError, match="give shares from 0 to 1"):
        Augmentation(reverse=1.5)


def test_mirroring_twice_is_the_identity() -> None:
    steps = cut(drives(2)).steps()
    twice = mirrored(mirrored(steps))
    for name in steps:
        np.testing.assert_array_equal(twice[name], steps[name])
    assert (mirrored(steps)["power"].argmax(-1) == mirrored(steps)["beam"]).all()


def test_cameras_are_read_and_a_missing_picture_is_nan(tmp_path: Path) -> None:
    Image.fromarray(np.full((48, 64, 3), 51, np.uint8)).save(tmp_path / "a.png")
    one = replace(drive(steps=8), files={"camera": ("a.png", "", *["a.png"] * 6)}, root=tmp_path)
    steps = cut([one]).steps(sensing=Sensing(("camera",), (32, 32)))
    assert steps["camera"].shape == (1, 8, 3, 32, 32)
    np.testing.assert_allclose(steps["camera"][0, 0], 0.2, atol=1e-6)
    assert np.isnan(steps["camera"][0, 1]).all()


def test_csi_is_read_checked_and_missing_where_there_is_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    csi = (rng.standard_normal((32, 64)) + 1j * rng.standard_normal((32, 64))).astype(np.complex64)
    np.save(tmp_path / "a.npy", csi)
    one = replace(drive(steps=8), files={"csi": ("a.npy", "", *["a.npy"] * 6)}, root=tmp_path).validate("here")
    steps = cut([one]).steps(sensing=Sensing(("csi",)))
    assert steps["csi"].shape == (1, 8, 32, 64)
    np.testing.assert_array_equal(steps["csi"][0, 0], csi)
    assert np.isnan(steps["csi"][0, 1]).all()
    np.testing.assert_array_equal(mirrored(steps)["csi"][0, 0], csi[::-1])
    drawn = Passages((one,), 6, sensing=Sensing(("csi",))).draw(3, rng)
    assert drawn["csi"].shape == (3, 6, 32, 64)
    for broken, says in ((csi[:16], "16 × 64; the towers read 32 × 64"), (csi.real, "expected finite complex CSI"),
                         (csi * np.nan, "expected finite complex CSI")):  # fmt: skip
        np.save(tmp_path / "b.npy", broken)
        with pytest.raises(InputError, match=says):
            cut([replace(one, files={"csi": ("b.npy",) * 8})]).steps(sensing=Sensing(("csi",)))
        (tmp_path / "b.npy").unlink()


def test_a_target_shows_at_its_range_angle_and_velocity() -> None:
    antenna, sample, chirp = np.ogrid[:4, :256, :250]
    phase = 2 * np.pi * (0.25 * antenna + 20 / 256 * sample + 5 / 250 * chirp)
    cube = range_angle_velocity(np.exp(1j * phase).astype(np.complex64), (16, 64, 32))
    assert np.unravel_index(cube.argmax(), cube.shape) == (8 + 4, 20, 16 + 5)
    assert abs(np.median(cube)) < 1e-3


def test_what_follows_step_by_step_is_unknown_where_the_order_is_made_up() -> None:
    some = [hidden(one) for one in drives(4)]
    as_driven = Passages(tuple(some), 9, Augmentation(0.0, 0.0, 0.0)).draw(8, np.random.default_rng(0))
    np.testing.assert_array_equal(as_driven["sight"], as_driven["los"])
    np.testing.assert_allclose(as_driven["place"], as_driven["position"][..., :2], atol=1e-4)
    retimed = Passages(tuple(some), 9, Augmentation(0.0, 0.0, 1.0)).draw(8, np.random.default_rng(0))
    assert np.isnan(retimed["sight"]).all()
    assert np.isnan(retimed["place"]).all()
    assert np.isfinite(retimed["los"]).any()


def test_the_true_place_is_in_the_frame_of_the_position_and_survives_the_disk(tmp_path: Path) -> None:
    some = [replace(one, true=one.ue + np.array([3 / 111_195, 0])) for one in drives(2)]
    write_drives(tmp_path / "drives.safetensors", some)
    read = read_drives(tmp_path / "drives.safetensors")
    steps = cut(read).steps()
    away = np.linalg.norm(steps["place"] - steps["position"][..., :2], axis=-1)
    np.testing.assert_allclose(away, 3, atol=0.05)
    write_drives(tmp_path / "plain.safetensors", drives(1))
    assert read_drives(tmp_path / "plain.safetensors")[0].true is None
    with pytest.raises(InputError, match="all with true positions or none"):
        write_drives(tmp_path / "both.safetensors", [some[0], drives(2)[1]])


def test_no_drive_left_to_draw_from_is_said() -> None:
    with pytest.raises(InputError, match="no drive is left to draw passages from; hold fewer out"):
        Passages((), 8)
