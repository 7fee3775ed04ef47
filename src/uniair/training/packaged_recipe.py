"""How the packaged `small` was trained: recipes/pretrain-small.yaml, but for its start and the number of steps."""

from __future__ import annotations

from uniair.tasks.alignment import Alignment
from uniair.training.loop import Optimisation
from uniair.training.pretraining import Batches

TASK = Alignment(reconstruction_weight=2.0, profile_weight=0.5, place_profile_weight=0.3)
OPTIMISATION = Optimisation(learning_rate=5e-4, matrix_rate=1.5e-3, warmup=0.03)
BATCHES = Batches(areas=6, links_per_area=32)
