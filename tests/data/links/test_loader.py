"""Links become batches in the frame of the BS's array."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.data.synthetic import synthetic_links
from uniair.area import procedural
from uniair.area.raster import occupancy
from uniair.data.links.links import Links
from uniair.data.links.loader import along_array, batch_of, symmetric
from uniair.errors import InputError
from uniair.radio import ULA, Radio


def with_bearings(links: Links, *bearings: float) -> Links:
    return replace(links, bearing=np.resize(np.array(bearings, dtype=np.float32), len(links)))


def test_a_turned_frame_keeps_the_channel() -> None:
    links = with_bearings(synthetic_links(links=24), 0.4, -2.0, np.pi / 2)
    expected = links.paths.csi(bearing=links.bearing)
    turned = along_array(links).validate("turned")
    assert not turned.bearing.any()
    scale = expected.abs().amax(dim=(1, 2), keepdim=True)
    assert ((turned.paths.csi() - expected) / scale).abs().max() < 2e-4
    assert batch_of(links).csi.equal(turned.paths.csi())


def test_a_turned_frame_keeps_distances_and_directions() -> None:
    links = with_bearings(synthetic_links(links=24), 1.1, 0.0)
    turned = along_array(links)
    before, after = links.ue - links.bs, turned.ue - turned.bs
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), np.linalg.norm(before, axis=1), rtol=1e-4)
    angle = np.arctan2(before[:, 1], before[:, 0]) - np.arctan2(after[:, 1], after[:, 0])
    np.testing.assert_allclose(np.exp(1j * angle), np.exp(1j * links.bearing), atol=1e-3)


@pytest.mark.parametrize("bearing", [np.pi / 2, 0.7, -2.6])
def test_the_map_turns_with_the_positions(bearing: float) -> None:
    area = procedural.city(3, 400.0).crop(40.0, 60.0, 200.0)
    rng = np.random.default_rng(1)
    one = synthetic_links(areas=1, links=200, pixels=256)
    ue = area.drop(200, 1.5, rng, clearance=2.0).astype(np.float32)
    links = replace(one, maps=occupancy(area, 256)[None], sizes=np.array([200.0], dtype=np.float32), bs=ue[::-1], ue=ue)
    turned = along_array(with_bearings(links, bearing))
    assert turned.sizes[0] == pytest.approx(200 * (abs(np.cos(bearing)) + abs(np.sin(bearing))), rel=1e-4)
    pixel = (turned.ue[:, :2] / turned.sizes[0] * 256).astype(int)
    assert not turned.maps[0][pixel[:, 1], pixel[:, 0]].any()  # outdoors stays outdoors
    ground = links.maps[0].mean() * 200.0**2
    assert turned.maps[0].mean() * float(turned.sizes[0]) ** 2 == pytest.approx(ground, rel=0.02)
    inside = np.argwhere(links.maps[0] == 1)[::97]
    centre = ((inside[:, ::-1] + 0.5) / 256 - 0.5) * 200.0
    c, s = np.cos(bearing), np.sin(bearing)
    there = np.column_stack([c * centre[:, 0] + s * centre[:, 1], c * centre[:, 1] - s * centre[:, 0]])
    there = ((there / float(turned.sizes[0]) + 0.5) * 256).astype(int)
    assert turned.maps[0][there[:, 1], there[:, 0]].mean() > 0.95


def test_a_quarter_turn_is_exact() -> None:
    links = with_bearings(synthetic_links(areas=1, links=5), np.pi / 2)
    turned = along_array(links)
    assert turned.sizes.tolist() == pytest.approx(links.sizes.tolist())
    np.testing.assert_array_equal(turned.maps[0], np.rot90(links.maps[0], 1))


def test_areas_without_a_map_have_none_in_the_batch() -> None:
    links = synthetic_links(links=12)
    none = replace(links, mapped=np.zeros(3, dtype=bool))
    batch = batch_of(none)
    assert batch.environment.map is None
    assert batch.environment.tensors().ue is not None
    assert torch.isfinite(batch.csi.abs()).all()
    with pytest.raises(InputError, match="with and without a map"):
        batch_of(replace(links, mapped=np.array([True, False, True])))


def test_a_mirror_turns_horizontal_polarisation_round() -> None:
    """φ̂ runs the other way in a mirror: gains across polarisations change their sign, others and the power stay."""
    links = synthetic_links(areas=8, links=40)
    rng = np.random.default_rng(0)
    cross = (rng.normal(size=(len(links.paths.gain), 3)) * 1e-4).astype(np.complex64)
    links = replace(links, paths=replace(links.paths, cross=cross))
    turned = symmetric(links, np.arange(8))  # every symmetry once
    odd = np.array([bin(symmetry).count("1") % 2 for symmetry in range(8)])[links.area[links.paths.link_of_path]]
    sign = np.where(odd[:, None], [-1, -1, 1], 1)
    assert turned.paths.cross is not None
    np.testing.assert_array_equal(turned.paths.cross, sign * cross)
    mirrored = symmetric(links, np.full(8, 2))  # y: the array along x sees the same directions
    radio = Radio(array=ULA(4, polarisation="dual"))
    upright, across = links.paths.csi(radio).split(4, 1)
    again, turned_round = mirrored.paths.csi(radio).split(4, 1)
    torch.testing.assert_close(again, upright, rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(turned_round, -across, rtol=1e-3, atol=1e-8)
