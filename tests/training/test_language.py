"""Retraining: unseen text is foreseen better, a killed run goes on, and the folder appears whole or not at all."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from torch.nn.functional import cross_entropy

from uniair.commands import instruct_retrain as command
from uniair.errors import InputError
from uniair.models.backbone import Backbone, load_backbone
from uniair.training import language
from uniair.training.corpus import Document, encode, pack, read_corpus, split
from uniair.training.distributed import ALONE
from uniair.training.language import Retraining, perplexity, trainable
from uniair.training.loop import Optimisation

ROOT = Path(__file__).parents[2]
QUICK = Retraining(
    mode="full", held_out="README.md", block=64, batch=8,
    optimisation=replace(Retraining.optimisation, steps=6, learning_rate=1e-2, save_every=2),
)  # fmt: skip


def plan(config: Retraining, **changes: Any) -> Retraining:
    return replace(config, optimisation=replace(config.optimisation, **changes))


def retrain(folder: Path, out: Path, backbone: str, config: Retraining) -> dict[str, Any]:
    return language.retrain(folder, out, backbone, config, ALONE)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return load_backbone("tiny")


@pytest.mark.parametrize(("mode", "steps", "share"), [("lora", 40, 0.95), ("full", 60, 0.3)])
def test_unseen_text_is_foreseen_better(corpus: Path, tmp_path: Path, mode: str, steps: int, share: float) -> None:
    out = tmp_path / "out"
    report = retrain(corpus, out, "tiny", plan(replace(QUICK, mode=mode), steps=steps, save_every=steps))
    assert report["held_out"] == ["README.md"]
    assert "README.md" not in report["train"]
    before, after = report["before"]["all"], report["after"]["all"]
    assert after["perplexity"] < share * before["perplexity"]
    assert after["bits_per_byte"] < before["bits_per_byte"]
    assert json.loads((out / "retraining.json").read_text(encoding="utf-8")) == report
    saved = load_backbone(str(out))
    assert perplexity(saved, [d for d in read_corpus(corpus) if d.name == "README.md"], 64, 8) == report["after"]
    assert not list(tmp_path.glob("*.part"))


class Spy:
    """A function that counts its calls, and may be interrupted at one of them."""

    def __init__(self, function: Callable[..., Any], stop_at: int | None = None) -> None:
        self.function, self.stop_at, self.calls = function, stop_at, 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return self.function(*arguments)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_killed_run_goes_on_bit_for_bit(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    config = plan(replace(QUICK, mode=mode), accumulate=2, log_every=1)
    whole, out, work = (tmp_path / name for name in ("whole", "out", "out.part"))
    retrain(corpus, whole, "tiny", config)
    clip = Spy(torch.nn.utils.clip_grad_norm_, stop_at=6)  # in the sixth step; the last state is the fourth's
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", clip)
        with pytest.raises(KeyboardInterrupt):
            retrain(corpus, out, "tiny", config)
    assert not out.exists()
    with pytest.raises(InputError, match=r"no config\.json"):
        load_backbone(str(work))
    with pytest.raises(InputError, match=r"other settings \(optimisation.learning_rate\)"):
        retrain(corpus, out, "tiny", plan(config, learning_rate=1e-3))
    measured, stepped = Spy(perplexity), Spy(torch.nn.utils.clip_grad_norm_)
    monkeypatch.setattr(language, "perplexity", measured)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", stepped)
    retrain(corpus, out, "tiny", config)
    assert (measured.calls, stepped.calls) == (1, 2), "what was done was done again"
    for name in ("model.safetensors", "retraining.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    one, other = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        for folder in (out, whole)
    )
    assert [(line["step"], line["total"]) for line in one] == [(line["step"], line["total"]) for line in other]
    assert len(one) == config.optimisation.steps
    assert not work.exists()


def test_a_folder_that_could_not_be_written_is_no_checkpoint(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def full_disk(self: Any, folder: Path, **options: Any) -> None:
        raise OSError(28, "No space left on device", str(folder))

    with monkeypatch.context() as patch:
        patch.setattr("transformers.PreTrainedTokenizerBase.save_pretrained", full_disk)
        with pytest.raises(OSError, match="No space"):
            retrain(corpus, out, "tiny", QUICK)
    assert not out.exists()
    retrain(corpus, out, "tiny", QUICK)
    assert load_backbone(str(out)).width == 48


def test_accumulated_passes_are_one_large_batch(corpus: Path, tmp_path: Path) -> None:
    weights = []
    for accumulate in (1, 4):
        out = tmp_path / str(accumulate)
        retrain(corpus, out, "tiny", plan(replace(QUICK, batch=8 // accumulate), accumulate=accumulate, steps=2))
        weights.append(load_backbone(str(out)).model.state_dict())
    for name, values in weights[0].items():
        torch.testing.assert_close(values, weights[1][name], atol=2e-4, rtol=1e-3)


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=256, n_embd=48, n_layer=2, n_head=4, n_positions=64)).eval()


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_updates_start_at_zero_and_merge_without_a_trace(shape: str) -> None:
    torch.manual_seed(0)
    base = load_backbone("tiny").model if shape == "llama" else gpt2()
    tokens = torch.randint(256, (2, 20))
    with torch.no_grad():
        plain = base(tokens).logits
        model = trainable(base, Retraining(rank=4))
        torch.testing.assert_close(model(tokens).logits, plain)
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert trained == {name for name, _ in model.named_parameters() if "lora_" in name}
        linear = 7 if shape == "llama" else 4  # q, k, v, o, gate, up, down; c_attn, c_proj, c_fc, c_proj
        assert len(trained) == 2 * 2 * linear
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.1)
        unmerged = model(tokens).logits
        assert (unmerged - plain).abs().max() > 1e-3
        merged = model.merge_and_unload()
        assert not any("lora" in name for name in merged.state_dict())
        torch.testing.assert_close(merged(tokens).logits, unmerged, atol=1e-5, rtol=1e-4)


def test_knowing_nothing_is_eight_bits_a_byte() -> None:
    ignorant = load_backbone("tiny")
    with torch.no_grad():
        ignorant.model.get_input_embeddings().weight.zero_()  # the head shares it: every byte is as likely
    documents = [Document("long", "beam " * 100), Document("short", "5G"), Document("bytes", "µ" * 10)]
    found = perplexity(ignorant, documents, block=32, batch=3)
    assert [found[name]["tokens"] for name in ("long", "short", "bytes", "all")] == [500, 2, 20, 522]
    for figures in found.values():
        assert figures["perplexity"] == pytest.approx(256)
        assert figures["bits_per_byte"] == pytest.approx(8)


def test_perplexity_of_a_text_within_a_block_is_the_plain_one(tiny: Backbone) -> None:
    document = Document("d", "The precoder maximises the received power.")
    tokens = encode(tiny, document)[None]
    with torch.no_grad():
        loss = float(cross_entropy(tiny.model(tokens[:, :-1]).logits[0], tokens[0, 1:]))
    assert perplexity(tiny, [document], 512, 4)["all"]["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)


def test_blocks_hold_every_token_once(tiny: Backbone) -> None:
    documents = [Document("a", "abcdefg"), Document("b", "hij")]
    stream = torch.cat([encode(tiny, d) for d in documents])
    end = tiny.tokenizer.eos_token_id
    assert stream.tolist() == [end, *tiny.tokens("abcdefg"), end, *tiny.tokens("hij")]
    blocks = pack(tiny, documents, 4)
    assert blocks.shape == (2, 5)
    assert torch.equal(blocks[:, 1:].flatten(), stream[1:9])
    assert torch.equal(blocks[:, :-1].flatten(), stream[:8])


def test_a_corpus_is_text_files_once_each(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".git").mkdir()
    for name, text in {"b.md": "two", "a.txt": "one", "deep/c.TXT": "three", "deep/copy.md": "two\n", "empty.md": " ",
                       ".git/d.txt": "hidden", "code.py": "print()"}.items():  # fmt: skip
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert read_corpus(tmp_path) == [Document("a.txt", "one"), Document("b.md", "two"), Document("deep/c.TXT", "three")]


def test_documents_are_held_out_whole() -> None:
    documents = [Document(f"{folder}/{i}.txt", str(i)) for folder in "ab" for i in range(15)]
    train, held_out = split(documents, None, seed=0)
    assert len(held_out) == 3
    assert sorted(train + held_out, key=documents.index) == documents
    assert split(documents, None, seed=0) == (train, held_out)
    assert split(documents, None, seed=1)[1] != held_out
    assert split(documents, "b/*", seed=0) == (documents[:15], documents[15:])
    assert len(split(documents[:2], None, seed=0)[1]) == 1


@pytest.mark.parametrize(
    ("files", "options", "says"),
    [
        (None, {}, "no such folder"),
        ({}, {}, "no text in it"),
        ({"a.txt": b" \n", "b.py": b"x"}, {}, "no text in it"),
        ({"a.txt": b"good", "b.txt": b"bad \xff"}, {}, "b.txt: not UTF-8 at byte 4"),
        ({"a.txt": b"alone"}, {}, "a.txt is the only document"),
        ({"a.txt": b"text", "b.txt": b"text"}, {}, "a.txt is the only document"),
        ({"a.txt": b"one", "b.txt": b"two"}, {"held_out": "c*"}, "names 0 of 2"),
        ({"a.txt": b"one", "b.txt": b"two"}, {"held_out": "*"}, "names 2 of 2"),
        ({"a.txt": b"one", "b.txt": b"two"}, {}, "too few for a block of 512"),
        ({"a.txt": b"one", "b.txt": b"two"}, {"block": 4096}, "longer than the 2048 tokens"),
        ({"a.txt": b"one", "b.txt": b"two"}, {"backbone": "nowhere"}, "nowhere"),
    ],
)
def test_bad_text_is_one_line_and_leaves_nothing(
    files: dict[str, bytes] | None, options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    folder = tmp_path / "corpus"
    if files is not None:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
    config = Retraining(**{k: v for k, v in options.items() if k != "backbone"})
    with pytest.raises(InputError) as refused:
        retrain(folder, tmp_path / "out", options.get("backbone", "tiny"), config)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"corpus"}


@pytest.mark.parametrize(
    ("options", "says"),
    [({"mode": "prefix"}, "choose lora or full"), ({"rank": 0}, "rank 0"),
     ({"optimisation": Optimisation(steps=0)}, "steps 0")],
)  # fmt: skip
def test_bad_settings_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Retraining(**options)


def test_a_finished_run_is_not_overwritten(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        retrain(corpus, tmp_path, "tiny", QUICK)


def test_the_recipe_runs(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    command.arguments(parser)
    recipe, out = ROOT / "recipes" / "retrain-telecom.yaml", tmp_path / "out"
    options = parser.parse_args([str(corpus), "--config", str(recipe), "--out", str(out), "--backbone", "tiny",
                                 "--steps", "2", "--held_out", "data.md"])  # fmt: skip
    report = command.run(parser.instantiate(options))
    assert report["retraining"]["rank"] == 16
    said = capsys.readouterr().out
    assert f"{report['after']['data.md']['perplexity']:.2f}" in said
    assert said.splitlines()[-1] == f"→ {out}"
