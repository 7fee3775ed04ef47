"""AI²MMUM: a language model reads radio embeddings and an instruction, a head per task answers (paper 2, III)."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from uniair.errors import InputError
from uniair.models.backbone import DEFAULT, DTYPES, Backbone, blocks_of, first_blocks, require
from uniair.models.head import Head

ORDERS = ("instruction_first", "radio_first")
SAME = "user information"  # the one instruction of the ablation SP
# LoRA's places: the paper's, and all; GPT-2 projects query, key and value by one matrix
PAPER_PROJECTIONS = ("q_proj", "k_proj")
PROJECTIONS = (*PAPER_PROJECTIONS, "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FUSED = {"q_proj": "c_attn", "k_proj": "c_attn", "v_proj": "c_attn", "o_proj": "c_proj", "up_proj": "c_fc"}
START = ("bos", "mean", "heads")


@dataclass(frozen=True)
class Instruction:
    """How the backbone is asked for a task.

    Attributes:
        modality: whose representation it reads: `channel` (CFENN), `environment` (EPNN), or one that was added.
        keywords: the fixed words of the instruction; two or three tokens of the default backbone.
        outputs: numbers that its head gives.
        hidden: layers between the embedding and the outputs, where a light head answers (`Design.light`).
    """

    modality: str
    keywords: str
    outputs: int
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True)
class Modality:
    """What a radio token is made from.

    Modalities are joined by what they are joined into: one longer representation, with an adapter and LoRA of its own.
    An instruction so takes one token after the cached ones whatever it reads; adapters that are there stay as they are,
    and no order of the tokens has to be chosen.

    Attributes:
        name: an identifier.
        length: numbers of a representation.
        joins: modalities whose representations it is, one after another; empty: a representation of its own.
    """

    name: str
    length: int
    joins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name("modality", self.name)
        if self.length < 1 or len(set(self.joins)) < len(self.joins) or len(self.joins) == 1:
            raise InputError(f"modality {self.name}: length {self.length}, joins {', '.join(self.joins) or 'nothing'}; "
                             "give a length of at least 1, and two or more different modalities to join")  # fmt: skip


@dataclass(frozen=True)
class Design:
    """What of the paper's model is there.

    Attributes:
        backbone: see `load_backbone`; `none` joins the adapters to the heads without a language model (WM).
        prefix: learnable tokens before the keywords; 0: keywords alone (FP).
        same_prompt: one instruction for all tasks (SP).
        rank: of LoRA, one per modality; 0: no LoRA (WL).
        projections: that LoRA is put on; the paper's are `PAPER_PROJECTIONS`.
        blocks: of the backbone that are run, from the first on; 0: all. A radio vector is lost in depth: after 4 blocks
            of 30 it is still there.
        start: what keeps the radio token from being taken for an attention sink, whose content the backbone erases:
            `bos`, a token at the beginning that is meant for it; `mean`, adapters and prefixes that begin at the mean
            of the vocabulary, as words do; `heads`, whose inputs are standardised by the first features.
        order: `instruction_first` computes the keys and values of an instruction once for any number of samples, and
            the backbone then reads one token per sample; `radio_first` reads all tokens of each.
        whole: train the backbone itself, without LoRA.
        light: tasks that a light head on the embedding answers by itself (paper 1, III-B-2); the language model only
            recognises that they are asked for.
        language: the language model that recognises what is asked, where the backbone knows no language; empty: the
            backbone itself.
        dtype: of the backbone: `float32`, `bfloat16`, or `4bit` where bitsandbytes and a GPU are there.
        embedding: length of the towers' representations, the modalities that an untrained model reads.
        seed: of the weights that are trained, and of a random backbone's.
    """

    backbone: str = DEFAULT
    prefix: int = 3
    same_prompt: bool = False
    rank: int = 8
    projections: tuple[str, ...] = PROJECTIONS
    blocks: int = 4
    start: tuple[str, ...] = START
    order: str = "instruction_first"
    whole: bool = False
    light: tuple[str, ...] = ()
    language: str = ""
    dtype: str = "float32"
    embedding: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InputError(f"order {self.order!r}: choose {' or '.join(ORDERS)}")
        if self.dtype not in DTYPES:
            raise InputError(f"dtype {self.dtype!r}: choose one of {', '.join(DTYPES)}")
        counts = {name: getattr(self, name) for name in ("prefix", "rank", "blocks")}
        if min(counts.values()) < 0:
            raise InputError(f"{', '.join(f'{name} {count}' for name, count in counts.items())}: give 0 or more")
        for name, given, choices in (("projections", self.projections, PROJECTIONS), ("start", self.start, START)):
            if unknown := set(given) - set(choices):
                raise InputError(f"{name} {unknown.pop()!r}: choose of {', '.join(choices)}")


class InstructModel(nn.Module):
    """Adapters, prefixes, LoRAs and heads around a frozen backbone.

    Adapters and heads, but for light ones, are linear layers between fixed scalings (`Head`), set from the training
    data.

    Args:
        instructions: task → how it is asked for.
        backbone: loaded for `design.backbone`; LoRA layers are put into it. None for the backbone `none`.
    """

    def __init__(self, design: Design, instructions: Mapping[str, Instruction], backbone: Backbone | None) -> None:
        super().__init__()
        self.design, self.backbone = design, backbone
        self.width = backbone.width if backbone else design.embedding
        self.instructions: dict[str, Instruction] = {}
        self.modalities: dict[str, Modality] = {}
        self.adapters, self.heads = nn.ModuleDict(), nn.ModuleDict()
        self.prefixes = nn.ParameterDict()
        self.words: dict[str, list[int]] = {}
        self.llm: Any = None
        if backbone:
            self._run(backbone)
        self._prompts: dict[str, list[tuple[Tensor, Tensor]]] = {}
        named = sorted({i.modality for i in instructions.values()})
        self._grow([Modality(name, design.embedding) for name in named], instructions, design.seed)

    def add(
        self, instructions: Mapping[str, Instruction], modality: Modality | None = None, seed: int = 0
    ) -> dict[str, nn.Parameter]:
        """Adds tasks, and a modality that they read, to a trained model; all that it had stays as it is, to the bit.

        Args:
            instructions: of the tasks; each reads the added modality, or one that is there, whose adapter and LoRA then
                stay as they are too.
            modality: with an adapter and a LoRA of its own; None: the tasks read what is there.
            seed: of the new weights; other names draw others, and no other random number is disturbed.

        Returns:
            What is new and to be trained, by name: adapter, LoRA, prefixes, heads.

        Raises:
            InputError: a name that is taken or can't be one, an unknown modality, parts whose lengths do not add up to
                a joined one's, or a modality that none of the tasks reads.
        """
        new = [] if modality is None else [modality]
        if modality is not None:
            if modality.name in self.modalities:
                raise InputError(f"modality {modality.name}: is there already; give another name, or add a task to it")
            self._check_joined(modality)
        known = {*self.modalities, *(one.name for one in new)}
        for task, instruction in instructions.items():
            _check_name("task", task)
            if task in self.instructions:
                raise InputError(f"task {task}: is there already; give another name")
            if instruction.modality not in known:
                raise InputError(f"task {task}: no modality {instruction.modality!r}; choose of {', '.join(known)}")
            if instruction.outputs < 1:
                raise InputError(f"task {task}: {instruction.outputs} outputs; give at least 1")
        if not instructions or {one.name for one in new} - {i.modality for i in instructions.values()}:
            raise InputError("give a task, and of an added modality one that reads it")
        before = set(self.kept())
        self._grow(
            new, instructions, zlib.crc32(" ".join([str(seed), *(one.name for one in new), *instructions]).encode())
        )
        self._prompts = {}
        return {name: parameter for name, parameter in self.tuned().items() if name not in before}

    def _check_joined(self, modality: Modality) -> None:
        unknown = [name for name in modality.joins if name not in self.modalities]
        if unknown:
            known = ", ".join(self.modalities)
            raise InputError(f"modality {modality.name}: joins {unknown[0]!r}, which is unknown; choose of {known}")
        whole = sum(self.modalities[name].length for name in modality.joins)
        if modality.joins and whole != modality.length:
            raise InputError(f"modality {modality.name}: length {modality.length}, but what it joins has {whole}")

    def _grow(self, modalities: Sequence[Modality], instructions: Mapping[str, Instruction], seed: int) -> None:
        """Makes what modalities and instructions need, drawn from a seed."""
        design = self.design
        self.modalities |= {one.name: one for one in modalities}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.adapters.update({one.name: Head((one.length, self.width)) for one in modalities})
            for task, one in instructions.items():
                light = (self.modalities[one.modality].length, *one.hidden, one.outputs)
                self.heads[task] = Head(light if task in design.light else (self.width, one.outputs))
            self.instructions |= instructions
            if self.backbone:
                self._attach(self.backbone, modalities)

    def _run(self, backbone: Backbone) -> None:
        """The blocks of the backbone that are run, without LoRA."""
        decoder = backbone.model.base_model
        self.beginning = [backbone.beginning] if "bos" in self.design.start else []
        if self.design.blocks:
            decoder = first_blocks(decoder, self.design.blocks)
        self.llm, self.depth, self.modality = decoder, len(blocks_of(decoder)), ""
        if self.design.whole:
            self.llm.requires_grad_(True)

    def _attach(self, backbone: Backbone, modalities: Sequence[Modality]) -> None:
        """Begins adapters and prefixes at the size of token embeddings, and puts LoRAs into the backbone."""
        table = backbone.model.base_model.get_input_embeddings().weight.detach()
        middle = backbone.middle().cpu() if "mean" in self.design.start else torch.zeros(backbone.width)
        spread = 0.02 if table.is_meta else float((table.float() - middle.to(table.device)).std())
        for modality in modalities:
            adapter: Any = self.adapter(modality.name)
            # the radio token starts as long as a word's
            nn.init.normal_(adapter.layers[0].weight, std=spread * adapter.widths[0] ** -0.5)
            with torch.no_grad():
                adapter.layers[0].bias.copy_(middle)
        new = [name for name in self._prompt_names() if name not in self.words]
        self.words |= {name: backbone.tokens(self._keywords(name)) for name in new}
        if self.design.prefix:
            for name in new:
                drawn = spread * torch.randn(self.design.prefix, backbone.width)
                self.prefixes[name] = nn.Parameter(middle.to(drawn.device) + drawn)
        if self.design.rank and not self.design.whole:
            for modality in modalities:
                self._put_lora(backbone, modality.name)
        self.llm.eval()

    def _put_lora(self, backbone: Backbone, modality: str) -> None:
        """A LoRA of its own for a modality."""
        require("peft")
        from peft import LoraConfig, PeftModel, get_peft_model

        names = {name.rsplit(".", 1)[-1] for name, _ in backbone.model.base_model.named_modules()}
        fused = "c_attn" in names
        wanted = [FUSED.get(name, "") if fused else name for name in self.design.projections]
        targets = [name for name in dict.fromkeys(wanted) if name in names]
        if not targets:
            raise InputError(f"backbone {backbone.name}: no {', '.join(self.design.projections)} to put LoRA on")
        config = LoraConfig(
            r=self.design.rank, lora_alpha=2 * self.design.rank, target_modules=targets, fan_in_fan_out=fused
        )
        with warnings.catch_warnings():
            # peft asks transformers by a name that it has replaced
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            if isinstance(self.llm, PeftModel):
                self.llm.add_adapter(modality, config)
            else:
                self.llm, self.modality = get_peft_model(self.llm, config, adapter_name=modality), modality

    def _prompt_names(self) -> list[str]:
        """What prefixes and prompts are kept under: tasks, or modalities where tasks share one."""
        if self.design.same_prompt:
            return sorted({i.modality for i in self.instructions.values()})
        return [task for task in self.instructions if task not in self.design.light]

    def _keywords(self, name: str) -> str:
        return SAME if self.design.same_prompt else self.instructions[name].keywords

    def train(self, mode: bool = True) -> InstructModel:
        """Training or eval mode; the backbone has no dropout to turn on."""
        super().train(mode)
        if self.llm is not None:
            self.llm.eval()
        self._prompts = {}
        return self

    def forward(self, task: str, z: Tensor) -> Tensor:
        """A task's answers for representations of its modality: [N, length] → [N, outputs].

        Raises:
            InputError: another length.
        """
        self._check(task, z)
        out: Tensor = self.head(task)(z if task in self.design.light else self.feature(task, z))
        return out

    def adapter(self, modality: str) -> Head:
        """The layer from a modality's embedding to the backbone's width."""
        return cast(Head, self.adapters[modality])

    def head(self, task: str) -> Head:
        """What makes a task's outputs: of the backbone's last token, or of the embedding where the head is light."""
        return cast(Head, self.heads[task])

    def feature(self, task: str, z: Tensor) -> Tensor:
        """The last token of one pass through the backbone: float32 [N, width]; of no task that a light head answers."""
        instruction = self.instructions[task]
        token = self.adapter(instruction.modality)(z)
        if self.llm is None:
            out: Tensor = token
            return out
        if self.design.rank and not self.design.whole and self.modality != instruction.modality:
            self.llm.set_adapter(instruction.modality)
            self.modality = instruction.modality
        name = instruction.modality if self.design.same_prompt else task
        token = token[:, None].to(self.llm.dtype)
        if self.design.order == "radio_first":
            prompt = self._prompt(name).expand(len(z), -1, -1)
            first = len(self.beginning)
            hidden = self.llm(
                inputs_embeds=torch.cat([prompt[:, :first], token, prompt[:, first:]], dim=1)
            ).last_hidden_state
        else:
            hidden = self.llm(inputs_embeds=token, past_key_values=self._cache(name, len(z))).last_hidden_state
        last: Tensor = hidden[:, -1].float()
        return last

    def _check(self, task: str, z: Tensor) -> None:
        """Raises `InputError` where representations have another length; one number would be taken for all."""
        modality = self.modalities[self.instructions[task].modality]
        if z.ndim != 2 or z.shape[1] != modality.length:
            raise InputError(f"{task}: representations {list(z.shape)}; {modality.name} has [N, {modality.length}]")

    def _prompt(self, name: str) -> Tensor:
        """Beginning, prefix and keywords: [1, tokens, width]."""
        embeddings = self.llm.get_input_embeddings()
        known: Tensor = embeddings(
            torch.tensor([[*self.beginning, *self.words[name]]], device=embeddings.weight.device)
        )
        first, words = known[:, : len(self.beginning)], known[:, len(self.beginning) :]
        prefix = [self.prefixes[name][None].to(words.dtype)] if self.design.prefix else []
        return torch.cat([first, *prefix, words], dim=1)

    def _cache(self, name: str, count: int) -> Any:
        """Keys and values of an instruction for `count` samples; in eval mode computed once for all."""
        from transformers import DynamicCache

        seen = self._prompts.get(name)
        if seen is None:
            made = self.llm(inputs_embeds=self._prompt(name), use_cache=True).past_key_values
            seen = [(layer.keys, layer.values) for layer in made.layers[: self.depth]]
            if not self.training and not torch.is_grad_enabled():
                self._prompts[name] = seen
        return DynamicCache([(k.expand(count, -1, -1, -1), v.expand(count, -1, -1, -1)) for k, v in seen])

    def tuned(self) -> dict[str, nn.Parameter]:
        """What is trained, by name: adapters, prefixes, LoRAs, heads; the backbone where asked."""
        return {name: value for name, value in self.kept().items() if isinstance(value, nn.Parameter)}

    def kept(self) -> dict[str, Tensor]:
        """What a checkpoint of this model holds: `tuned` and the fixed scalings of adapters and heads."""
        own = ("adapters.", "prefixes.", "heads.")
        return {
            name: value
            for name, value in self.state_dict(keep_vars=True).items()
            if name.startswith(own) or ".lora_" in name or (self.design.whole and name.startswith("llm."))
        }

    def parameter_counts(self) -> dict[str, int]:
        """Tuned parameters by part, and of all."""
        parts = {"adapters": 0, "prefixes": 0, "lora": 0, "backbone": 0, "heads": 0}
        for name, parameter in self.tuned().items():
            part = name.split(".")[0]
            part = part if part != "llm" else "lora" if ".lora_" in name else "backbone"
            parts[part] += parameter.numel()
        return parts | {"total": sum(parts.values())}


def _check_name(what: str, name: str) -> None:
    """Names are those of modules and of PEFT's adapters, which tells its own weights by `lora_`."""
    if (
        not name.isidentifier()
        or hasattr(nn.ModuleDict, name)
        or name in ("training", "lora_A", "lora_B")
        or "lora_" in name
    ):
        raise InputError(f"{what} {name!r}: give an identifier, such as camera, that PyTorch has no use for")
