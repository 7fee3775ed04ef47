"""Chains of walls and edges found for a few UEs, tried for all: what makes tracing many UEs affordable.

Sionna RT tests every bounce of every ray against every UE. That is where the time goes: 40,000 rays × 3 bounces × 30
UEs are 3.6 million visibility tests per BS, for a few thousand different chains. Here the rays look for a few UEs only,
spread over the area; equal chains are merged, and the image method then tries each chain for every UE exactly. A chain
seen from one UE thus serves its neighbours, so that fewer rays find more paths.
"""

from __future__ import annotations

from typing import Any

import drjit as dr
import mitsuba as mi
import numpy as np
from numpy.typing import NDArray
from sionna.rt.constants import InteractionType
from sionna.rt.path_solvers.sb_deterministic import SBDeterministicCandidateGenerator

NORMAL_STEP, OFFSET_STEP = 5e-3, 0.05  # planes and edges closer than this (unit vector, m) are one


class SharedChains(SBDeterministicCandidateGenerator):
    """Candidate generator for `sionna.rt.PathSolver`: searches from `probe_users` UEs, offers what it finds to all.

    Args:
        probe_users: UEs that rays are tested against, the farthest from each other; all others share what these see.
    """

    # of the rays that could, how many bend round an edge; the engine's 0.2 leaves most NLOS power unfound
    DIFFRACTION_SAMPLING_PROBABILITY = 0.5

    def __init__(self, probe_users: int) -> None:
        super().__init__()
        self.probe_users = probe_users

    def __call__(self, mi_scene: Any, src_positions: Any, tgt_positions: Any, **settings: Any) -> Any:
        """Line-of-sight paths of all UEs, and every chain × every UE on its side of the last wall."""
        ue = np.array(tgt_positions).T
        self._chosen = farthest(ue, self.probe_users)
        found = super().__call__(mi_scene, src_positions, tgt_positions, **settings)
        found.schedule()
        dr.eval()
        if np.array(found.paths_counter).max() == 0:
            return found
        found.shrink()
        rows = found.buffer_size
        kinds = np.array(found.interaction_types.array).reshape(rows, -1)
        planes = self._planes(mi_scene, found, kinds == InteractionType.SPECULAR)
        direct = np.flatnonzero(kinds[:, 0] == InteractionType.NONE)
        first, length = self._different(found, kinds, planes)
        # a reflection's UE is on the side of the wall that the wave came from
        wall = planes[first, length - 1]
        touched = found.vertices_x, found.vertices_y, found.vertices_z
        vertices = np.stack([np.array(axis.array).reshape(rows, -1) for axis in touched], -1)
        bs = np.array(src_positions).T[np.array(found.source_indices)[first]]
        before = np.where((length == 1)[:, None], bs, vertices[first, length - 2])
        came_from = (wall[:, :3] * before).sum(1, keepdims=True) - wall[:, 3:]
        goes_to = wall[:, :3] @ ue.T - wall[:, 3:]
        edge = ~wall.any(1, keepdims=True)
        chain, target = np.nonzero((came_from * goes_to > 0) | edge)
        out = found.gather(mi.UInt(np.concatenate([direct, first[chain]]).astype(np.uint32)))
        targets = np.concatenate([np.array(found.target_indices)[direct], target])
        out._tgt_indices = mi.UInt(targets.astype(np.uint32))
        within = np.arange(kinds.shape[1]) < length[chain, None]
        cut = np.concatenate([kinds[direct], np.where(within, kinds[first[chain]], InteractionType.NONE)])
        out._interaction_types = type(found.interaction_types)(cut.astype(np.uint32).ravel(), shape=cut.shape)
        return out

    def _shoot_and_bounce(self, mi_scene: Any, src_positions: Any, tgt_positions: Any, *rest: Any) -> None:
        """The engine's own, towards the chosen UEs alone."""
        chosen = dr.gather(mi.Point3f, tgt_positions, mi.UInt(self._chosen.astype(np.uint32)))
        super()._shoot_and_bounce(mi_scene, src_positions, dr.copy(chosen), *rest)

    def _different(
        self, found: Any, kinds: NDArray[np.uint32], planes: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and length of every different chain: same BS, same kinds, same walls, same edge.

        The beginnings of a chain are chains too: a wall that only one UE sees is often found by way of a second wall.
        """
        wedge = found.diffracting_wedges
        edge = np.zeros((len(kinds), 3), dtype=np.float32)
        if wedge is not None:
            edge[:] = np.array(wedge.o).T + np.array(wedge.e_hat).T * np.array(wedge.length)[:, None] / 2
        source = np.array(found.source_indices)
        walls = planes / np.array([NORMAL_STEP] * 3 + [OFFSET_STEP], dtype=np.float32)
        keys, rows, lengths = [], [], []
        for length in range(1, kinds.shape[1] + 1):
            here = np.flatnonzero(kinds[:, length - 1] != InteractionType.NONE)
            inside = np.arange(kinds.shape[1]) < length
            kind = kinds[here] * inside
            bent = (kind == InteractionType.DIFFRACTION).any(1)[:, None]
            wall = (walls[here] * inside[:, None]).reshape(len(here), 4 * kinds.shape[1])
            keys.append(np.column_stack([source[here], kind, wall, edge[here] * bent / OFFSET_STEP]))
            rows.append(here)
            lengths.append(np.full(len(here), length))
        row, length_of = np.concatenate(rows), np.concatenate(lengths)
        _, first = np.unique(np.round(np.concatenate(keys)).astype(np.int32), axis=0, return_index=True)
        first.sort()
        return row[first], length_of[first]

    @staticmethod
    def _planes(mi_scene: Any, found: Any, specular: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Normal and offset of the wall at every reflection: float32 [rows, depth, 4], 0 elsewhere."""
        out = np.zeros((*specular.shape, 4), dtype=np.float32)
        shapes = np.array(found.shapes.array).reshape(specular.shape)
        triangles = np.array(found.primitives.array).reshape(specular.shape)
        pointers = np.array(dr.reinterpret_array(mi.UInt, mi_scene.shapes_dr()))
        for pointer, mesh in zip(pointers, mi_scene.shapes(), strict=True):
            here = specular & (shapes == pointer)
            if here.any():
                corner = np.array(mesh.face_indices(mi.UInt(triangles[here].astype(np.uint32))))
                a, b, c = (np.array(mesh.vertex_position(mi.UInt(corner[i]))).T for i in range(3))
                normal = np.cross(b - a, c - a)
                normal /= np.linalg.norm(normal, axis=1, keepdims=True)
                out[here] = np.column_stack([normal, (normal * a).sum(1)])
        return out


def farthest(points: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Indices of at most `count` points, each the farthest from those before it (farthest-point sampling)."""
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)
