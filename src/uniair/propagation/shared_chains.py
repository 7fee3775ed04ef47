"""Chains of walls and edges found for a few UEs, tried for all: what makes tracing many UEs affordable.

Sionna RT tests every bounce of every ray against every UE. That is where the time goes: 40,000 rays × 3 bounces × 30
UEs are 3.6 million visibility tests per BS, for a few thousand different chains. Here the rays look for a few UEs only,
spread over the area; equal chains are merged, and the image method then tries each chain for every UE exactly. A chain
seen from one UE thus serves its neighbours, so that fewer rays find more paths. Single edges need no rays at all: they
are few enough to be tried one by one.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NamedTuple

import drjit as dr
import mitsuba as mi
import numpy as np
from numpy.typing import NDArray
from sionna.rt.constants import INVALID_PRIMITIVE, INVALID_SHAPE, InteractionType
from sionna.rt.path_solvers.paths_buffer import PathsBuffer
from sionna.rt.path_solvers.sb_deterministic import SBDeterministicCandidateGenerator
from sionna.rt.utils.wedges import WedgeGeometry, wedge_geometry

NORMAL_STEP, OFFSET_STEP = 5e-3, 0.05  # planes and edges closer than this (unit vector, m) are one
FLAT = 0.99  # cosine between the faces of an edge that bends nothing, of either sign


class SharedChains(SBDeterministicCandidateGenerator):
    """Candidate generator for `sionna.rt.PathSolver`: searches from `probe_users` UEs, offers what it finds to all.

    Args:
        probe_users: UEs that rays are tested against, the farthest from each other; all others share what these see.
        every_edge: offer paths over one edge by trying all edges, and not those that rays met.
    """

    # of the rays that could, how many bend round an edge; the engine's 0.2 leaves most NLOS power unfound
    DIFFRACTION_SAMPLING_PROBABILITY = 0.5

    def __init__(self, probe_users: int, every_edge: bool = False) -> None:
        super().__init__()
        self.probe_users, self.every_edge = probe_users, every_edge

    def __call__(self, mi_scene: Any, src_positions: Any, tgt_positions: Any, **settings: Any) -> Any:
        """Line-of-sight paths of all UEs, and every chain × every UE on its side of the last wall."""
        ue = np.array(tgt_positions).T
        self._chosen = farthest(ue, self.probe_users)
        found = super().__call__(mi_scene, src_positions, tgt_positions, **settings)
        found.schedule()
        dr.eval()
        if not self.every_edge:
            return self._shared(mi_scene, src_positions, ue, found)
        bs = np.array(src_positions).T
        return _with_edges(self._shared(mi_scene, src_positions, ue, found), _edges(mi_scene), bs, ue)

    def _shared(self, mi_scene: Any, src_positions: Any, ue: NDArray[np.float32], found: Any) -> Any:
        """What rays found, offered to all UEs."""
        if np.array(found.paths_counter).max() == 0:
            return found
        found.shrink()
        rows = found.buffer_size
        kinds = np.array(found.interaction_types.array).reshape(rows, -1)
        planes = self._planes(mi_scene, found, kinds == InteractionType.SPECULAR)
        direct = np.flatnonzero(kinds[:, 0] == InteractionType.NONE)
        first, length = self._different(found, kinds, planes)
        if self.every_edge:
            single = (length == 1) & (kinds[first, 0] == InteractionType.DIFFRACTION)
            first, length = first[~single], length[~single]
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


class Edges(NamedTuple):
    """E convex edges of a scene's buildings.

    Attributes:
        wedge: the engine's own description of all.
        shape: uint32 [E] pointers to their meshes.
        start, along: [E, 3] m and unit vectors; length: [E] m.
        normals: [2, E, 3] outwards, of both faces.
    """

    wedge: Any
    shape: NDArray[np.uint32]
    start: NDArray[np.float32]
    along: NDArray[np.float32]
    length: NDArray[np.float32]
    normals: NDArray[np.float32]


def _edges(mi_scene: Any) -> Edges:
    pointers = np.array(dr.reinterpret_array(mi.UInt, mi_scene.shapes_dr()))
    shape, face, side = [], [], []
    for pointer, mesh in zip(pointers, mi_scene.shapes(), strict=True):
        count = mesh.face_count()
        shape.append(np.full(3 * count, pointer, dtype=np.uint32))
        face.append(np.repeat(np.arange(count, dtype=np.uint32), 3))
        side.append(np.tile(np.arange(3, dtype=np.uint32), count))
    of, first, local = np.concatenate(shape), np.concatenate(face), np.concatenate(side)
    meshes: Any = dr.reinterpret_array(mi.MeshPtr, mi.UInt(of))
    wedge = wedge_geometry(meshes, mi.UInt(first), mi.UInt(local))
    other = np.array(wedge.primn)
    normals = np.stack([np.array(wedge.n0).T, np.array(wedge.nn).T])
    # each edge once, and none within a plane; of closed bodies the engine's normals point outwards where it is convex.
    # Of two faces in one plane rounding may turn its normals back to back: then a ray has no side to pass on, it comes
    # out as NaN, and nothing is in its way
    outward = np.array(meshes.face_normal(mi.UInt(first))).T
    bent = np.abs((normals[0] * normals[1]).sum(1)) < FLAT
    kept = (other > first) & bent & ((outward * normals[0]).sum(1) > 0)
    index = mi.UInt(np.flatnonzero(kept).astype(np.uint32))
    wedge = dr.gather(WedgeGeometry, wedge, index)
    return Edges(
        wedge, of[kept], np.array(wedge.o).T, np.array(wedge.e_hat).T, np.array(wedge.length), normals[:, kept]
    )


def _with_edges(found: Any, edges: Edges, bs: NDArray[np.float32], ue: NDArray[np.float32]) -> Any:
    """The paths of a buffer, and for every BS and UE those over each edge that the BS sees."""
    source, target, edge = [], [], []
    for number, position in enumerate(bs):
        seen = ((position - edges.start) * edges.normals).sum(-1) > 0
        outline = np.flatnonzero(seen.any(0))
        place = _bend(position, ue, edges.start[outline], edges.along[outline])
        k, u = np.nonzero((place > 0) & (place < edges.length[outline, None]))
        source.append(np.full(len(k), number))
        target.append(u)
        edge.append(outline[k])
    of = np.concatenate(edge)
    wedge = dr.gather(WedgeGeometry, edges.wedge, mi.UInt(of.astype(np.uint32)))
    facing = ((bs[np.concatenate(source)] - edges.start[of]) * edges.normals[0, of]).sum(1) > 0
    wedge.swap_faces(mi.Bool(~facing))  # the wave meets the first face
    return _joined(found, wedge, edges.shape[of], np.concatenate(source), np.concatenate(target))


def _bend(
    bs: NDArray[np.float32], ue: NDArray[np.float32], start: NDArray[np.float32], along: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Where the shortest ways from a BS [3] to UEs [U, 3] over lines [E, 3] touch these: [E, U] m from their start."""
    before, after = bs - start, ue[None] - start[:, None]
    here, there = (before * along).sum(-1)[:, None], (after * along[:, None]).sum(-1)
    near = np.linalg.norm(before - here * along, axis=-1)[:, None]
    far = np.linalg.norm(after - there[..., None] * along[:, None], axis=-1)
    return np.asarray(here + (there - here) * near / np.maximum(near + far, np.float32(1e-6)))


def _joined(
    found: Any, wedge: Any, shape: NDArray[np.uint32], source: NDArray[np.int64], target: NDArray[np.int64]
) -> Any:
    """A buffer's paths and single diffractions, not yet known to be clear."""
    count = len(source)
    more = PathsBuffer(count, found.max_depth, True)
    depth = more.depth_dim_size

    def first(values: NDArray[np.uint32], rest: int) -> Any:
        out = np.full((count, depth), rest, dtype=np.uint32)
        out[:, 0] = values
        tensor: Any = mi.TensorXu
        return tensor(out)

    more._src_indices, more._tgt_indices = (mi.UInt(index.astype(np.uint32)) for index in (source, target))
    more._interaction_types = first(np.full(count, InteractionType.DIFFRACTION, np.uint32), InteractionType.NONE)
    more._shapes, more._primitives = first(shape, INVALID_SHAPE), first(np.array(wedge.prim0), INVALID_PRIMITIVE)
    more._probs = mi.TensorXf(np.ones((count, depth), dtype=np.float32))
    more._diffracting_wedges = wedge
    more._paths_counter = mi.UInt(count)
    if not found.buffer_size:
        return more if count else found
    out = PathsBuffer(found.buffer_size + count, found.max_depth, True)
    for name in ("valid", "src_indices", "tgt_indices", *(f"k_{e}_{axis}" for e in ("tx", "rx") for axis in "xyz")):
        setattr(out, f"_{name}", dr.concat([getattr(found, f"_{name}"), getattr(more, f"_{name}")]))
    for name in ("interaction_types", "vertices_x", "vertices_y", "vertices_z", "shapes", "primitives", "probs"):
        one, two = getattr(found, f"_{name}"), getattr(more, f"_{name}")
        tensor: Any = type(one)
        setattr(out, f"_{name}", tensor(dr.concat([one.array, two.array]), shape=(out.buffer_size, depth)))
    out._diffracting_wedges = WedgeGeometry(
        *(
            _side_by_side(getattr(found.diffracting_wedges, f.name), getattr(wedge, f.name))
            for f in fields(WedgeGeometry)
        )
    )
    out._paths_counter = mi.UInt(out.buffer_size)
    return out


def _side_by_side(one: Any, two: Any) -> Any:
    """Numbers, or vectors component by component."""
    if dr.size_v(type(one)) <= 0 or dr.depth_v(type(one)) == 1:
        return dr.concat([one, two])
    kind: Any = type(one)
    return kind(*(dr.concat([a, b]) for a, b in zip(one, two, strict=True)))


def farthest(points: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Indices of at most `count` points, each the farthest from those before it (farthest-point sampling)."""
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)
