"""Sizes of the universal model."""

from __future__ import annotations

from dataclasses import dataclass

from uniair.errors import InputError


@dataclass(frozen=True)
class Preset:
    """Everything that fixes the model's shape; written beside the weights as `config.json`.

    Attributes:
        name: of the preset.
        width, heads, blocks: of each tower.
        shared: the last blocks of the towers that EPNN and CFENN share (MSNN).
        crnn_blocks: blocks of CRNN.
        embedding: size of the common space.
        beams, delays: cells of the grid that any radio's CSI is brought to, see `angle_delay`.
        csi_domain: `frequency` feeds real and imaginary parts as they are (paper 1); `angle_delay` transforms to beams
            and delays, compresses the amplitude and adds it as a third channel.
        csi_patch: beams × delays (antennas × subcarriers in the frequency domain) a patch of CFENN.
        crnn_patch: as csi_patch, of CRNN.
        raster: pixels a side of the map; map_patch: pixels a side of a patch.
        positions: `vector` feeds paper 1's 8 numbers; `features` adds Fourier features of the coordinates and the delay
            and direction of the straight line from BS to UE.
        line_window: points along and across a window on the line from BS to UE, whose occupancy joins the
            features; (0, 0): none.
        rays: numbers that the candidate paths of rays launched over the map join the features with; 0: none.
        position_tokens: tokens that positions and that window become.
        pool: what becomes the representation: the `class` token (paper 1), or of all tokens but the map's the `mean`,
            which leaves the start of training several times sooner, or a linear layer of them side by side, `flat`,
            which also keeps which token said what: the code then fills four to five times as many dimensions.
        radios: `one`, or `any`: the towers are told what the radio resolves and where its carrier is, read elevation,
            polarisation and building heights, and candidate paths pass over roofs.
        attention: `joint` lets all tokens of EPNN see each other (paper 1); `prefix` hides the positions from the map,
            so that a map is encoded once for any number of positions.
    """

    name: str
    width: int = 256
    heads: int = 4
    blocks: int = 9
    shared: int = 3
    crnn_blocks: int = 6
    embedding: int = 128
    beams: int = 32
    delays: int = 64
    csi_domain: str = "frequency"
    csi_patch: tuple[int, int] = (4, 4)
    crnn_patch: tuple[int, int] = (4, 8)
    raster: int = 256
    map_patch: int = 32
    positions: str = "vector"
    line_window: tuple[int, int] = (0, 0)
    rays: int = 0
    position_tokens: int = 64
    pool: str = "class"
    attention: str = "joint"
    radios: str = "one"

    def __post_init__(self) -> None:
        choices = {
            "csi_domain": ("frequency", "angle_delay"),
            "positions": ("vector", "features"),
            "pool": ("class", "mean", "flat"),
            "attention": ("joint", "prefix"),
            "radios": ("one", "any"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"preset {self.name}: {name} {getattr(self, name)!r} is none of {', '.join(allowed)}")
        if self.width % (4 * self.heads) or not 0 <= self.shared <= self.blocks:
            raise InputError(f"preset {self.name}: width must divide by 4·heads, and shared lie within blocks")
        for patch in (self.csi_patch, self.crnn_patch):
            if self.beams % patch[0] or self.delays % patch[1]:
                raise InputError(f"preset {self.name}: patch {patch} does not divide {self.beams} × {self.delays}")
        if self.raster % self.map_patch:
            raise InputError(f"preset {self.name}: map_patch {self.map_patch} does not divide raster {self.raster}")


PRESETS = {
    # paper 1's sizes
    "base": Preset("base"),
    # trains on two CPU cores in an hour or two
    "small": Preset(
        "small", width=128, heads=4, blocks=4, shared=2, crnn_blocks=3, csi_domain="angle_delay", csi_patch=(8, 8),
        crnn_patch=(8, 16), raster=96, map_patch=12, positions="features", line_window=(32, 16), rays=256,
        position_tokens=4, pool="flat", attention="prefix", radios="any",
    ),
    # for tests
    "tiny": Preset(
        "tiny", width=32, heads=2, blocks=2, shared=1, crnn_blocks=1, embedding=32, csi_domain="angle_delay",
        csi_patch=(8, 8), crnn_patch=(8, 8), raster=32, map_patch=8, positions="features", line_window=(16, 8),
        rays=64, position_tokens=2, pool="flat", attention="prefix", radios="any",
    ),
}  # fmt: skip


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        InputError: no such preset.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
