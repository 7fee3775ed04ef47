"""A folder of text: documents, which of them are held out, and blocks of tokens to train on."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uniair.errors import InputError
from uniair.models.backbone import Backbone

SUFFIXES = (".txt", ".md")


@dataclass(frozen=True)
class Document:
    """A text file: its path below the corpus folder, and what it says."""

    name: str
    text: str


def read_corpus(folder: Path) -> list[Document]:
    """The .txt and .md files below a folder, by name; empty, hidden and repeated ones left out.

    Raises:
        InputError: no such folder, no text in it, or a file that is not UTF-8.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with {' or '.join(SUFFIXES)} files")
    found: dict[str, str] = {}  # a copy of a held-out text among the others would flatter the perplexity
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.suffix.lower() not in SUFFIXES or not path.is_file() or any(p.startswith(".") for p in name.parts):
            continue
        try:
            text = path.read_text(encoding="utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 at byte {error.start}; convert it or take it out") from error
        if text:
            found.setdefault(text, name.as_posix())
    if not found:
        raise InputError(f"{folder}: no text in it; give a folder with {' or '.join(SUFFIXES)} files")
    return [Document(name, text) for text, name in found.items()]


def split(documents: list[Document], pattern: str | None, seed: int) -> tuple[list[Document], list[Document]]:
    """Documents to train on and documents to hold out: whole files, never parts of one on both sides.

    Args:
        pattern: of the names to hold out; without it a tenth, at least one, is drawn by the seed.

    Raises:
        InputError: nothing left on one of the sides.
    """
    if len(documents) < 2:
        raise InputError(f"{documents[0].name} is the only document; give at least two, one of which is held out")
    if pattern is None:
        order = np.random.default_rng(seed).permutation(len(documents))
        chosen = {documents[i].name for i in order[: max(1, len(documents) // 10)]}
    else:
        chosen = {document.name for document in documents if fnmatch(document.name, pattern)}
    if not 0 < len(chosen) < len(documents):
        names = ", ".join(document.name for document in documents[:3])
        raise InputError(f"held_out {pattern!r} names {len(chosen)} of {len(documents)} documents ({names} …); "
                         "choose some, not all")  # fmt: skip
    return [d for d in documents if d.name not in chosen], [d for d in documents if d.name in chosen]


def pack(backbone: Backbone, documents: list[Document], block: int) -> Tensor:
    """Documents end to end, parted by the end-of-text token, cut in blocks; the rest of the last is dropped.

    Returns:
        int64 [blocks, block + 1]: the last token of a block is the first of the next, so that each is predicted once.

    Raises:
        InputError: less text than one block.
    """
    stream = torch.cat([encode(backbone, document) for document in documents])
    if len(stream) <= block:
        raise InputError(f"{len(stream)} tokens to train on, too few for a block of {block}; give more text or a "
                         "shorter --block")  # fmt: skip
    return stream.unfold(0, block + 1, block)


def encode(backbone: Backbone, document: Document) -> Tensor:
    """A document's tokens after the end-of-text token, which is what a text begins with in a stream of them.

    Returns:
        int64 [1 + tokens].

    Raises:
        InputError: a tokenizer without that token, or one of another backbone.
    """
    end, known = backbone.tokenizer.eos_token_id, backbone.model.get_input_embeddings().num_embeddings
    if end is None:
        raise InputError(f"{backbone.name}: no end-of-text token; set eos_token in its tokenizer_config.json")
    tokens = torch.tensor([end, *backbone.tokens(document.text)])
    if tokens.max() >= known:
        raise InputError(f"{backbone.name}: its tokenizer gives token {int(tokens.max())}, its weights know {known}; "
                         "they are of two backbones")  # fmt: skip
    return tokens
