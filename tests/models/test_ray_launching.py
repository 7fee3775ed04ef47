"""Candidate paths against the geometry that they stand for."""

import math

import pytest
import torch

from uniair.angle_delay import TYPICAL
from uniair.environment import Environment
from uniair.models import ray_launching
from uniair.models.ray_launching import FEATURES, KINDS, Candidates, candidates

SIZE = 128.0  # m, half a metre a pixel
BS, UE = (40.0, 60.0, 6.0), (90.0, 70.0, 1.5)


def ask(
    occupancy: torch.Tensor,
    bs: tuple[float, ...] = BS,
    ue: tuple[float, ...] = UE,
    size: float = SIZE,
    usable: bool = True,
) -> Candidates:
    environment = Environment(map=occupancy[None], bs=torch.tensor([bs]), ue=torch.tensor([ue]),
                              size=torch.tensor([size])).tensors()  # fmt: skip
    return candidates(environment, torch.tensor([usable]))


def found(paths: Candidates, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    mine = paths.kind == KINDS.index(kind)
    return paths.length[mine], paths.cosine[mine]


def open_ground() -> torch.Tensor:
    return torch.zeros(256, 256, dtype=torch.uint8)


def wall_north(y: float) -> torch.Tensor:
    out = open_ground()
    out[int(2 * y) :] = 1
    return out


def test_open_ground_has_the_straight_line_alone() -> None:
    paths = ask(open_ground())
    assert set(paths.kind.tolist()) == {KINDS.index("")}
    length, cosine = found(paths, "")
    assert length == pytest.approx(math.dist(BS, UE), abs=0.3)
    assert cosine == pytest.approx((UE[0] - BS[0]) / math.dist(BS, UE), abs=0.02)


def test_a_wall_mirrors_the_user() -> None:
    image = (UE[0], 2 * 100.0 - UE[1], UE[2])
    length, cosine = found(ask(wall_north(100.0)), "R")
    assert len(length) >= 1
    assert length == pytest.approx(math.dist(BS, image), abs=1.5)
    assert cosine == pytest.approx((image[0] - BS[0]) / math.dist(BS, image), abs=0.03)


def test_two_walls_give_the_double_reflection() -> None:
    canyon = wall_north(100.0)
    canyon[: (2 * 30)] = 1
    # mirrored in the northern wall, that image in the southern one
    image = (UE[0], 2 * 30.0 - (2 * 100.0 - UE[1]), UE[2])
    length, _ = found(ask(canyon), "RR")
    assert (length - math.dist(BS, image)).abs().min() < 3.0


def test_behind_a_building_the_corner_sends() -> None:
    blocked = open_ground()
    blocked[2 * 50 : 2 * 80, 2 * 60 : 2 * 70] = 1  # x 60 to 70 m, y 50 to 80 m, between BS and UE
    user, corner = (85.0, 95.0, 1.5), (60.0, 80.0)
    paths = ask(blocked, ue=user)
    assert not len(found(paths, "")[0])
    length, cosine = found(paths, "D")
    flat = math.dist(BS[:2], corner) + math.dist(corner, user[:2])
    assert len(length) >= 1
    assert length == pytest.approx(math.hypot(flat, BS[2] - user[2]), abs=1.5)
    assert cosine == pytest.approx(math.cos(math.pi / 4), abs=0.05)
    bend = math.pi / 4 - math.atan2(user[1] - corner[1], user[0] - corner[0])
    assert paths.turn[paths.kind == KINDS.index("D")] == pytest.approx(bend, abs=0.22)  # rays stand 0.18 apart


def test_rays_of_a_mast_fall_over_near_roofs_and_are_stopped_by_far_ones() -> None:
    station, user = (40.0, 60.0, 25.0), (110.0, 80.0, 1.5)

    def kinds(near: float, far: float) -> set[str]:
        heights = torch.zeros(256, 256)
        heights[2 * 50 : 2 * 75, 2 * 35 : 2 * 50] = near  # below the mast
        heights[2 * 60 : 2 * 90, 2 * 95 : 2 * 105] = far  # before the user
        place = Environment(map=heights[None], bs=torch.tensor([station]), ue=torch.tensor([user]),
                            size=torch.tensor([SIZE]))  # fmt: skip
        return {(*KINDS, "over")[kind] for kind in candidates(place.tensors(), torch.tensor([True]), solid=True).kind}

    assert "" in kinds(near=18.0, far=0.0)
    assert "" not in kinds(near=18.0, far=12.0)
    assert "over" in kinds(near=0.0, far=12.0)
    assert "" not in kinds(near=24.9, far=0.0)


def test_lengths_scale_with_the_map_and_sines_mirror() -> None:
    blocked = wall_north(100.0)
    paths, twice = ask(blocked), ask(blocked, tuple(2 * v for v in BS), tuple(2 * v for v in UE), 2 * SIZE)
    assert torch.equal(paths.kind, twice.kind)
    assert torch.allclose(2 * paths.length, twice.length, rtol=1e-4)
    mirrored = ask(blocked.flip(1), (SIZE - BS[0], *BS[1:]), (SIZE - UE[0], *UE[1:]))
    assert mirrored.cosine.mean() == pytest.approx(-float(paths.cosine.mean()), abs=0.02)


def test_hypotheses_that_differ_in_los_share_their_paths() -> None:
    environment = Environment(map=wall_north(100.0)[None], bs=torch.tensor([BS] * 3), ue=torch.tensor([UE, UE, BS]),
                              los=torch.tensor([0.0, 1.0, 1.0]), size=torch.full((3,), SIZE)).tensors()  # fmt: skip
    paths = candidates(environment, torch.tensor([True, True, False]))
    assert paths.distinct == 1
    assert paths.of.tolist() == [0, 0, 1]  # the last has none: index 1 of 1
    assert paths.features().shape == (len(paths.owner), FEATURES)
    assert torch.isfinite(paths.features()).all()


def test_a_clock_at_the_first_path_puts_every_first_path_at_one_place() -> None:
    near, far = UE, (120.0, 75.0, 1.5)
    environment = Environment(map=wall_north(100.0)[None], bs=torch.tensor([BS] * 3), ue=torch.tensor([near, far, far]),
                              size=torch.full((3,), SIZE), first_path=[1, 1, 0]).tensors()  # fmt: skip
    paths = candidates(environment, torch.ones(3, dtype=torch.bool), solid=True)
    counted = paths.length - paths.clock[paths.owner]
    for i in paths.of[:2]:
        assert counted[paths.owner == i].min() == pytest.approx(TYPICAL)
    assert not candidates(environment, torch.ones(3, dtype=torch.bool)).clock.any()  # of weights that know one clock
    assert paths.clock[paths.of[2]] == 0
    assert paths.clock[paths.of[1]] == pytest.approx(math.dist(BS, far) - TYPICAL, abs=0.3)


def test_a_user_inside_a_wall_or_at_the_base_station_gives_finite_numbers() -> None:
    for ue in ((60.0, 120.0, 1.5), (BS[0], BS[1], 6.0)):
        assert torch.isfinite(ask(wall_north(100.0), ue=ue).features()).all()


def test_users_in_chunks_have_the_same_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(0)
    ue = torch.cat([torch.rand(20, 2, generator=rng) * 90 + 5, torch.full((20, 1), 1.5)], dim=1)
    environment = Environment(
        map=wall_north(100.0)[None], bs=torch.tensor([BS] * 20), ue=ue, size=torch.full((20,), SIZE)
    )
    whole = candidates(environment.tensors(), torch.ones(20, dtype=torch.bool))
    monkeypatch.setattr(ray_launching, "CHUNK", 7)
    parts = candidates(environment.tensors(), torch.ones(20, dtype=torch.bool))
    for name in ("owner", "kind", "length", "cosine", "closeness"):
        assert torch.equal(getattr(parts, name), getattr(whole, name))


def test_rays_are_launched_once_a_place_and_anew_for_another_map(monkeypatch: pytest.MonkeyPatch) -> None:
    launched = []
    original = ray_launching.launch

    def launch(maps: torch.Tensor, area: torch.Tensor, bs: torch.Tensor) -> ray_launching.Segments:
        launched.append(len(bs))
        return original(maps, area, bs)

    monkeypatch.setattr(ray_launching, "launch", launch)
    ray_launching._of_bytes.cache_clear()
    first, again = ask(wall_north(100.0)), ask(wall_north(100.0))
    elsewhere, other_user = ask(wall_north(80.0)), ask(wall_north(100.0), ue=(80.0, 50.0, 1.5))
    assert launched == [1, 1]
    monkeypatch.setattr(ray_launching, "KEPT_STATIONS", 0)
    fresh, moved, user = (
        ask(wall_north(100.0)), ask(wall_north(80.0)), ask(wall_north(100.0), ue=(80.0, 50.0, 1.5))
    )  # fmt: skip
    assert launched == [1] * 5
    for kept, new in ((first, fresh), (again, fresh), (elsewhere, moved), (other_user, user)):
        assert all(
            torch.equal(getattr(kept, name), getattr(new, name)) for name in ("length", "cosine", "kind", "turn")
        )
    assert not torch.equal(first.length, elsewhere.length)


def test_the_first_path_that_a_receiver_notices_is_not_always_the_shortest() -> None:
    """Behind a corner the diffracted path is the shortest, and a wall's reflection much stronger."""
    length, none = torch.tensor([50.0, 60.0, 45.0]), torch.zeros(3)
    kind = torch.tensor([KINDS.index("D"), KINDS.index("R"), KINDS.index("DR")])
    owner = torch.tensor([0, 0, 1])
    loss = ray_launching._loss(length, kind)
    paths = Candidates(length, none, kind, none, none, owner, owner, 3, none, none, none, loss, *[none] * 4)
    assert paths.least(length).tolist() == [50.0, 45.0, math.inf]
    assert paths.first().tolist() == [60.0, 45.0, math.inf]
    assert loss[1] == pytest.approx(20 * math.log10(60) + ray_launching.WALL_LOSS)
