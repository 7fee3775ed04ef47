"""The tracer against closed forms: free space, two rays, reciprocity, geometry; and its determinism and errors."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from shapely import affinity
from shapely.geometry import LineString, Polygon, box

from tests.tracer import needs_tracer
from uniair.area import procedural
from uniair.area.area import Area
from uniair.errors import InputError
from uniair.propagation import ray_tracing
from uniair.propagation.paths import DIFFRACTION, REFLECTION, Paths, free_space_gain
from uniair.propagation.ray_tracing import RayTracing, extrude, trace
from uniair.radio import SPEED_OF_LIGHT

BS = np.array([[50.0, 150.0, 6.0]])
UE = np.array([[150.0, 150.0, 1.5], [200.0, 210.0, 1.5], [62.0, 155.0, 1.5]])
# Sionna RT computes in float32: a position is exact to 1e-5 m, and so is a length
LENGTH, PHASE = 5e-5, 2 * np.pi * 5e-5 / (SPEED_OF_LIGHT / 28e9)


def area_of(*footprints: Polygon, side: float = 300.0, height: float = 20.0) -> Area:
    return Area("test", footprints, np.full(len(footprints), height), (0.0, 0.0, side, side))


def open_ground() -> Area:
    """One low shed in a far corner: the least that counts as an area with buildings."""
    return area_of(box(1, 1, 4, 4), height=2.0)


def street() -> Area:
    """A street canyon along x, with a side street."""
    return area_of(box(40, 160, 120, 180), box(135, 160, 220, 180), box(40, 110, 220, 138))


def angle(difference: NDArray[np.floating]) -> NDArray[np.floating]:
    """Size of an angle, whole turns left out."""
    return np.abs((difference + np.pi) % (2 * np.pi) - np.pi)


def columns(paths: Paths, link: int) -> dict[str, NDArray[np.generic]]:
    part = slice(paths.offsets[link], paths.offsets[link + 1])
    return {name: getattr(paths, name)[part] for name in Paths.PER_PATH}


def fresnel_tm(cosine: float, frequency: float) -> complex:
    """Reflection of vertical polarisation at thick concrete (ITU-R P.2040-3, table 3)."""
    ghz = frequency / 1e9
    eta = 5.24 - 1j * 0.0462 * ghz**0.7822 / (2 * math.pi * frequency * 8.8541878128e-12)
    root = np.sqrt(eta - (1 - cosine**2))
    return complex((eta * cosine - root) / (eta * cosine + root))


@needs_tracer
def test_free_space_is_friis_with_the_carriers_phase_and_the_time_of_flight() -> None:
    config = RayTracing(depth=0, reflection=False, diffraction=False, samples=1000)
    paths = trace(open_ground(), BS, UE, config)
    assert paths.counts.tolist() == [1, 1, 1]
    assert paths.los().all()
    for i, ue in enumerate(UE):
        distance = float(np.linalg.norm(ue - BS[0]))
        friis = free_space_gain(distance, config.frequency)
        assert abs(paths.gain[i]) == pytest.approx(abs(friis), rel=1e-5)
        assert angle(np.angle(paths.gain[i] / friis)) < PHASE
        assert paths.delay[i] * SPEED_OF_LIGHT == pytest.approx(distance, abs=LENGTH)
        # the stored delay and the phase belong together, to the rounding of float32
        carrier = np.exp(-2j * np.pi * config.frequency * float(paths.delay[i]))
        assert angle(np.angle(paths.gain[i] / carrier)) < 1e-3


@needs_tracer
def test_directions_of_the_direct_path() -> None:
    paths = trace(open_ground(), BS, UE, RayTracing(depth=0, reflection=False, diffraction=False, samples=1000))
    there = UE - BS
    distance = np.linalg.norm(there, axis=1)
    assert angle(paths.aod_azimuth - np.arctan2(there[:, 1], there[:, 0])).max() < 1e-5
    assert angle(paths.aod_zenith - np.arccos(there[:, 2] / distance)).max() < 1e-5
    assert angle(paths.aoa_azimuth - np.arctan2(-there[:, 1], -there[:, 0])).max() < 1e-5
    assert angle(paths.aoa_zenith - np.arccos(-there[:, 2] / distance)).max() < 1e-5


@needs_tracer
@pytest.mark.parametrize("frequency", [3.5e9, 28e9])
def test_two_rays_over_concrete_ground(frequency: float) -> None:
    paths = trace(open_ground(), BS, UE, RayTracing(frequency=frequency, depth=1, diffraction=False, samples=5000))
    for i, ue in enumerate(UE):
        link = columns(paths, i)
        assert link["interactions"].tolist() == [0, REFLECTION]
        plan = float(np.linalg.norm((ue - BS[0])[:2]))
        drop = BS[0, 2] + ue[2]  # to the UE's image below the ground
        length = math.hypot(plan, drop)
        assert link["delay"][1] * SPEED_OF_LIGHT == pytest.approx(length, abs=LENGTH)
        assert link["aod_zenith"][1] == pytest.approx(math.pi - math.atan2(plan, drop), abs=1e-4)
        assert link["aoa_zenith"][1] == pytest.approx(math.pi - math.atan2(plan, drop), abs=1e-4)
        expected = free_space_gain(length, frequency) * fresnel_tm(drop / length, frequency)
        assert abs(link["gain"][1] - expected) < (PHASE + 1e-3) * abs(expected)


@needs_tracer
def test_two_ray_power_fades_as_the_closed_form_says() -> None:
    # at a single frequency, the sum of both rays along a line: crests and troughs where theory puts them
    frequency = 3.5e9
    x = np.linspace(70.0, 250.0, 40)
    ue = np.column_stack([x, np.full_like(x, 150.0), np.full_like(x, 1.5)])
    paths = trace(open_ground(), BS, ue, RayTracing(frequency=frequency, depth=1, diffraction=False, samples=5000))
    total = paths.csi().numpy()[:, 0, 0]
    plan = x - BS[0, 0]
    direct, bounced = np.hypot(plan, 4.5), np.hypot(plan, 7.5)
    expected = [
        free_space_gain(a, frequency) + free_space_gain(b, frequency) * fresnel_tm(7.5 / b, frequency)
        for a, b in zip(direct, bounced, strict=True)
    ]
    np.testing.assert_allclose(np.abs(total) * direct, np.abs(expected) * direct, rtol=0, atol=2e-5)
    fading = np.abs(total) * direct
    assert fading.max() > 2 * fading.min()


@needs_tracer
def test_a_wall_reflects_at_the_image() -> None:
    area = area_of(box(20, 160, 220, 180))
    paths = trace(area, BS, UE[:1], RayTracing(depth=1, diffraction=False, samples=20_000))
    image = UE[0] * [1, -1, 1] + [0, 2 * 160, 0]
    expected = np.linalg.norm(image - BS[0])
    link = columns(paths, 0)
    wall = np.flatnonzero(np.abs(link["delay"] * SPEED_OF_LIGHT - expected) < LENGTH)
    assert len(wall) == 1
    assert link["interactions"][wall] == REFLECTION
    assert link["aod_azimuth"][wall[0]] == pytest.approx(math.atan2(20, 100), abs=1e-5)


@needs_tracer
def test_diffraction_reaches_round_a_corner() -> None:
    area = area_of(box(60, 100, 140, 149))
    bs, ue = np.array([[50.0, 140.0, 6.0]]), np.array([[100.0, 160.0, 1.5], [120.0, 90.0, 1.5]])
    dark = trace(area, bs, ue, RayTracing(reflection=False, diffraction=False, samples=2000))
    bent = trace(area, bs, ue, RayTracing(depth=1, reflection=False, samples=20_000))
    assert dark.los().tolist() == [False, False]
    assert dark.counts.tolist() == [0, 0]
    assert (dark.csi() == 0).all()
    assert bent.counts[0] > 0
    assert (bent.interactions == DIFFRACTION).all()


@needs_tracer
@pytest.mark.parametrize(("depth", "diffraction"), [(3, False), (1, True)])
def test_swapping_bs_and_ue_changes_the_directions_alone(depth: int, diffraction: bool) -> None:
    # not both: of diffractions with further reflections, the ray launcher finds a different sample from either end;
    # and Sionna RT's diffraction coefficients (not its delays and directions) are not reciprocal
    bs, ue = np.array([[50.0, 150.0, 6.0]]), np.array([[190.0, 143.0, 1.5], [128.0, 190.0, 1.5], [90.0, 155.0, 1.5]])
    config = RayTracing(depth=depth, diffraction=diffraction, samples=50_000, paths=10_000)
    down, up = trace(street(), bs, ue, config), trace(street(), ue, bs, config)
    for i in range(len(ue)):
        there, back = columns(down, i), columns(up, i)
        a, b = (np.argsort(link["delay"], kind="stable") for link in (there, back))
        assert len(a) == len(b)
        if not diffraction and i == 1:  # round the corner no reflection reaches
            assert len(a) == 0
            continue
        assert len(a) > 1
        length = there["delay"][a] * SPEED_OF_LIGHT
        np.testing.assert_allclose(length, back["delay"][b] * SPEED_OF_LIGHT, atol=LENGTH)
        same = there["interactions"][a] != DIFFRACTION
        error = np.abs(there["gain"][a] - back["gain"][b])[same]
        assert (error < 2 * PHASE * np.abs(there["gain"][a][same])).all()
        for departure, arrival in (("aod_azimuth", "aoa_azimuth"), ("aod_zenith", "aoa_zenith")):
            assert angle(there[departure][a] - back[arrival][b]).max() < 1e-3
            assert angle(there[arrival][a] - back[departure][b]).max() < 1e-3
        turned = [int(str(digits)[::-1]) for digits in back["interactions"][b]]
        assert there["interactions"][a].tolist() == turned


@needs_tracer
@pytest.mark.parametrize("seed", [3, 8])
def test_los_is_what_the_plan_says_when_all_buildings_are_higher(seed: int) -> None:
    area = procedural.city(seed, 400.0).crop(40.0, 60.0, 200.0, rotation=0.4)
    assert area.heights.min() > 6.0
    rng = np.random.default_rng(seed)
    bs, ue = area.drop(2, 6.0, rng), area.drop(50, 1.5, rng)
    paths = trace(area, bs, ue, RayTracing(depth=1, diffraction=False, samples=1000))
    union = shapely.union_all(np.asarray(area.footprints))
    sure, expected = [], []
    for b in bs:
        for u in ue:
            sight = LineString([b[:2], u[:2]])
            within = sight.intersection(union).length
            sure.append(within > 0.01 or sight.distance(union) > 0.01)  # grazing a corner is left to rounding
            expected.append(within == 0)
    assert np.mean(sure) > 0.95
    assert 0.1 < np.mean(expected) < 0.9
    np.testing.assert_array_equal(paths.los()[sure], np.array(expected)[sure])


@needs_tracer
def test_links_are_bs_major_and_the_same_bytes_come_twice() -> None:
    bs = np.array([[50.0, 150.0, 6.0], [128.0, 170.0, 6.0]])
    ue = np.array([[190.0, 143.0, 1.5], [128.0, 190.0, 1.5], [90.0, 155.0, 1.5]])
    config = RayTracing(samples=10_000, paths=7)
    one, two = trace(street(), bs, ue, config), trace(street(), bs, ue, config)
    assert len(one) == 6
    assert one.counts.max() <= 7
    for name in ("offsets", *Paths.PER_PATH):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    direct = one.interactions == 0
    assert direct.any()
    distance = np.linalg.norm(ue[None] - bs[:, None], axis=2).ravel()[one.link_of_path]
    np.testing.assert_allclose(one.delay[direct] * SPEED_OF_LIGHT, distance[direct], atol=LENGTH)
    assert (one.delay * SPEED_OF_LIGHT > distance - LENGTH).all()


@needs_tracer
def test_a_link_does_not_depend_on_its_company() -> None:
    config = RayTracing(
        samples=10_000, probe_users=0
    )  # with probe_users, what a UE sees is tried for its neighbours too
    ue = np.array([[190.0, 143.0, 1.5], [128.0, 190.0, 1.5]])
    both = trace(street(), BS, ue, config)
    for i in range(2):
        alone = trace(street(), BS, ue[i : i + 1], config)
        for name in Paths.PER_PATH:
            assert getattr(alone, name).tobytes() == columns(both, i)[name].tobytes()


@needs_tracer
def test_shared_chains_find_the_engines_paths_and_more() -> None:
    rng = np.random.default_rng(5)
    area = procedural.city(8, 400.0).crop(40.0, 60.0, 200.0, rotation=0.4)
    bs, ue = area.drop(2, 6.0, rng), area.drop(40, 1.5, rng)
    own = trace(area, bs, ue, RayTracing(samples=20_000, probe_users=0, paths=1000))
    shared = trace(area, bs, ue, RayTracing(samples=80_000, probe_users=6, paths=1000))
    np.testing.assert_array_equal(own.los(), shared.los())
    assert len(shared.gain) > 1.3 * len(own.gain)
    lost, same = [], 0
    for i in range(len(own)):
        a, b = columns(own, i), columns(shared, i)
        for k in range(len(a["delay"])):
            twin = np.flatnonzero(
                (np.abs(a["delay"][k] - b["delay"]) * SPEED_OF_LIGHT < LENGTH)
                & (a["interactions"][k] == b["interactions"])
            )
            near = twin[np.abs(a["gain"][k] - b["gain"][twin]) < 2 * PHASE * np.abs(a["gain"][k])]
            same += len(near) > 0
            if not len(near):
                lost.append(np.abs(a["gain"][k]) ** 2)
    assert same > 0.9 * len(own.gain)
    assert np.sum(lost) < 1e-3 * own.power().sum()
    # no path is shorter than the straight line: each chain was solved for the UE that it was given to
    straight = np.linalg.norm(ue[None] - bs[:, None], axis=2).ravel()[shared.link_of_path]
    assert (shared.delay * SPEED_OF_LIGHT > straight - LENGTH).all()


@needs_tracer
def test_every_edge_is_tried_for_every_user() -> None:
    """A mast over a block: each user behind it hears what bends over the far edge, though no ray looked there."""
    block, mast = area_of(box(100, 50, 130, 250), height=15.0), np.array([[50.0, 150.0, 40.0]])
    users = np.column_stack([np.linspace(138, 150, 9), np.linspace(100, 200, 9), np.full(9, 1.5)])
    config = RayTracing(depth=1, reflection=False, samples=100, probe_users=1, frequency=3.5e9)
    paths = trace(block, mast, users, replace(config, every_edge=True))
    assert not paths.los().any()
    for link, user in enumerate(users):
        found = columns(paths, link)
        assert set(found["interactions"]) == {DIFFRACTION}
        # over an edge that lies along y, 15 m high: the shortest way, unfolded
        down = [math.hypot(x - 130.0, z - 15.0) for x, z in ((mast[0, 0], mast[0, 2]), (user[0], user[2]))]
        length = math.hypot(sum(down), user[1] - mast[0, 1])
        assert found["delay"].min() * SPEED_OF_LIGHT == pytest.approx(length, abs=2e-3)
    rays = trace(block, mast, users, replace(config, samples=400_000, probe_users=9))
    assert np.array_equal(rays.counts > 0, paths.counts > 0)
    assert 10 * np.log10(paths.power() / rays.power()) == pytest.approx(0, abs=0.2)
    none = trace(block, mast, users, replace(config, every_edge=True, diffraction=False))
    assert not none.counts.any()
    # rays find nothing but what all edges find
    alone = trace(block, mast, users[4:5], replace(config, every_edge=True, samples=100_000))
    assert alone.delay == pytest.approx(columns(paths, 4)["delay"], abs=1e-12)
    low = np.array([[118.0, 20.0, 1.5]])  # in sight of no edge that would bend anything to the other end
    assert not trace(block, low, np.array([[118.0, 270.0, 1.5]]), replace(config, every_edge=True)).counts.any()


@needs_tracer
def test_edges_within_a_plane_or_a_corner_bend_nothing() -> None:
    """An L of one outline has an inner corner, and two triangles of a roof an edge between them."""
    ell = Polygon([(100, 100), (160, 100), (160, 120), (120, 120), (120, 160), (100, 160)])
    scene = ray_tracing.build_scene(area_of(ell), RayTracing())
    from uniair.propagation.shared_chains import _edges

    edges = _edges(scene.mi_scene)
    upright = np.abs(edges.along[:, 2]) > 0.99
    assert upright.sum() == 5  # of six corners one is inside
    level = ~upright & (edges.start[:, 2] > 19)
    assert level.sum() == 6
    assert np.abs(edges.normals[:, upright, 2]).max() < 1e-5


@needs_tracer
def test_rounding_makes_no_edge_of_a_plane() -> None:
    """Turned boxes have eight edges each, four upright and four of the roof, and no diagonal of a wall is one."""
    rng = np.random.default_rng(0)
    plans = [affinity.rotate(box(40 * i, 40 * j, 40 * i + w, 40 * j + d), turn)
             for i in range(5) for j in range(10) for w, d, turn in [rng.uniform((5, 5, 0), (25, 25, 90))]]  # fmt: skip
    scene = ray_tracing.build_scene(area_of(*plans), RayTracing())
    from uniair.propagation.shared_chains import _edges

    edges = _edges(scene.mi_scene)
    assert len(edges.start) == 8 * len(plans)
    assert np.abs((edges.normals[0] * edges.normals[1]).sum(1)).max() < 1e-4  # each at a right angle


@needs_tracer
def test_a_dense_drop_is_traced_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    bs = np.array([[50.0, 150.0, 6.0], [128.0, 170.0, 6.0]])
    ue = np.array([[190.0, 143.0, 1.5], [128.0, 190.0, 1.5], [90.0, 155.0, 1.5]])
    whole = trace(street(), bs, ue, RayTracing(samples=5000, probe_users=0))
    for limit, value in (("UE_CHUNK", 2), ("MOST_TESTS", 2 * 5000 * 3)):  # two UEs at once, then one
        monkeypatch.setattr(f"uniair.propagation.ray_tracing.{limit}", value)
        parts = trace(street(), bs, ue, RayTracing(samples=5000, probe_users=0))
        for name in ("offsets", *Paths.PER_PATH):
            assert getattr(whole, name).tobytes() == getattr(parts, name).tobytes()


def prism(footprint: Polygon, height: float = 12.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    vertices, faces = extrude((footprint,), np.array([height]))
    assert vertices.dtype == np.float32
    assert faces.dtype == np.uint32
    return vertices.astype(np.float64), faces.astype(np.int64)


COURTYARD = Polygon(box(0, 0, 30, 20).exterior, [box(5, 5, 12, 12).exterior.coords, box(15, 5, 25, 15).exterior.coords])
SHAPES = {
    "box": box(0, 0, 10, 5),
    "clockwise": Polygon([(0, 0), (0, 5), (10, 5), (10, 0)]),
    "L": Polygon([(0, 0), (20, 0), (20, 8), (9, 8), (9, 15), (0, 15)]),
    "two courtyards": COURTYARD,
    "corner on a straight wall": Polygon([(0, 0), (4, 0), (10, 0), (10, 5), (0, 5)]),
    "three dimensions": Polygon([(0, 0, 7), (10, 0, 7), (10, 5, 7)]),
}


@pytest.mark.parametrize("footprint", SHAPES.values(), ids=SHAPES.keys())
def test_extrusion_is_a_prism_closed_but_for_the_floor(footprint: Polygon) -> None:
    vertices, faces = prism(footprint)
    rings = [footprint.exterior, *footprint.interiors]
    corners = sum(len(r.coords) - 1 for r in rings)
    assert len(vertices) == 2 * corners
    assert len(faces) == 2 * corners + corners + 2 * len(footprint.interiors) - 2
    assert set(np.unique(vertices[:, 2])) == {0.0, 12.0}
    edges = Counter((int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3))
    assert set(edges.values()) == {1}
    rim = {(a, b) for a, b in edges if (b, a) not in edges}
    assert len(rim) == corners
    assert all(vertices[a, 2] == vertices[b, 2] == 0 for a, b in rim)


@pytest.mark.parametrize("footprint", SHAPES.values(), ids=SHAPES.keys())
def test_extrusion_has_the_volume_of_the_prism_and_normals_that_point_outward(footprint: Polygon) -> None:
    vertices, faces = prism(footprint)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    # divergence theorem; the floor at z = 0 adds nothing
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 == pytest.approx(footprint.area * 12.0, rel=1e-6)
    normals = np.cross(b - a, c - a)
    sizes = np.linalg.norm(normals, axis=1)
    assert (sizes > 0).all()
    roof = np.abs(normals[:, 2]) > 0.5 * sizes
    assert sizes[roof].sum() / 2 == pytest.approx(footprint.area, rel=1e-6)
    assert sizes[~roof].sum() / 2 == pytest.approx(footprint.length * 12.0, rel=1e-6)
    assert (normals[roof, 2] > 0).all()
    outside = ((a + b + c) / 3 + 0.01 * normals / sizes[:, None])[~roof]
    assert not shapely.contains_xy(footprint, outside[:, 0], outside[:, 1]).any()


def test_many_prisms_share_one_mesh() -> None:
    area = procedural.city(2, 300.0)
    vertices, faces = extrude(area.footprints, area.heights)
    a, b, c = (vertices.astype(np.float64)[faces.astype(np.int64)[:, i]] for i in range(3))
    volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6
    assert volume == pytest.approx(
        sum(f.area * h for f, h in zip(area.footprints, area.heights, strict=True)), rel=1e-4
    )
    assert faces.max() == len(vertices) - 1


@pytest.mark.parametrize(
    ("bs", "ue", "words"),
    [
        ((50.0, 170.0, 6.0), (150.0, 150.0, 1.5), r"BS 0 at \(50\.0, 170\.0\) m is inside a building"),
        ((50.0, 150.0, 6.0), (60.0, 120.0, 1.5), "UE 0 at .* is inside a building"),
        ((50.0, 301.0, 6.0), (150.0, 150.0, 1.5), "BS 0 at .* is outside the area"),
        ((50.0, 150.0, 6.0), (math.nan, 150.0, 1.5), "UE position 0 is NaN"),
    ],
)
def test_positions_that_cannot_be(bs: tuple[float, ...], ue: tuple[float, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        trace(street(), np.array([bs]), np.array([ue]))


def test_an_area_without_buildings_is_refused() -> None:
    with pytest.raises(InputError, match="area test has no buildings"):
        trace(area_of(), BS, UE)


def test_missing_llvm_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_tracing, "find_llvm", lambda: None)
    with pytest.raises(InputError, match="LLVM 19 or later: apt-get install libllvm19"):
        trace(street(), BS, UE)


def test_the_named_llvm_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "libLLVM.so"
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(library))
    assert ray_tracing.find_llvm() is None
    library.write_bytes(b"")
    assert ray_tracing.find_llvm() == str(library)


@pytest.mark.parametrize("footprint", SHAPES.values(), ids=SHAPES.keys())
def test_a_body_in_the_air_has_a_floor(footprint: Polygon) -> None:
    vertices, faces = extrude((footprint,), np.array([12.0]), np.array([5.0]))
    a, b, c = (vertices.astype(np.float64)[faces.astype(np.int64)[:, i]] for i in range(3))
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 == pytest.approx(footprint.area * 7.0, rel=1e-6)
    edges = Counter((int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3))
    assert set(edges.values()) == {1}
    assert all((there, here) in edges for here, there in edges)  # closed
    assert set(np.unique(vertices[:, 2])) == {5.0, 12.0}


def test_bodies_on_others_go_down_to_the_ground() -> None:
    podium, tower, bridge = box(0, 0, 60, 60), box(20, 20, 40, 40), box(50, 20, 90, 30)
    area = Area(
        "t", (tower, podium, bridge, box(20, 20, 40, 40)), np.array([40.0, 8.0, 14.0, 60.0]), (0.0, 0.0, 99.0, 99.0),
        bases=np.array([8.0, 0.0, 8.0, 40.0]),
    )  # fmt: skip
    assert ray_tracing.standing(area).tolist() == [0.0, 0.0, 8.0, 0.0]


def bridged(base: float) -> Area:
    """A straight street with a block over it from wall to wall, 20 m high."""
    walls = box(40, 160, 220, 180), box(40, 120, 220, 140), box(120, 140, 140, 160)
    return Area("test", walls, np.full(3, 20.0), (0.0, 0.0, 300.0, 300.0), bases=np.array([0.0, 0.0, base]))


@needs_tracer
def test_the_street_under_a_bridge_is_open() -> None:
    bs, ue = np.array([[60.0, 150.0, 4.0]]), np.array([[200.0, 150.0, 1.5]])
    config = RayTracing(samples=5000, diffraction=False)
    assert trace(bridged(6.0), bs, ue, config).los().tolist() == [True]
    assert trace(bridged(0.0), bs, ue, config).los().tolist() == [False]


@needs_tracer
def test_the_floor_of_a_roof_reflects() -> None:
    roof = Area("t", (box(100, 100, 200, 200),), np.array([7.0]), (0.0, 0.0, 300.0, 300.0), bases=np.array([6.0]))
    bs, ue = np.array([[120.0, 150.0, 2.0]]), np.array([[180.0, 150.0, 1.5]])
    found = columns(trace(roof, bs, ue, RayTracing(samples=20_000, depth=1, diffraction=False)), 0)
    lengths = sorted((found["delay"].astype(float) * SPEED_OF_LIGHT).tolist())
    direct, ground, above = (math.hypot(60, dz) for dz in (0.5, 3.5, 4.0 + 4.5))
    assert lengths == pytest.approx([direct, ground, above], abs=1e-3)
