"""A secret that server and sites share: who lacks it does not join, whatever address it reaches."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from uniair.errors import InputError

SHORTEST = 16  # characters


def read_secret(path: str | None) -> bytes | None:
    """The secret in a file; None where there is no file to read.

    Raises:
        InputError: no such file, or what it holds can be guessed.
    """
    if path is None:
        return None
    if not Path(path).is_file():
        raise InputError(f"--secret {path}: no such file; make one, as by openssl rand -hex 32 > {path}")
    secret = Path(path).read_bytes().strip()
    if len(secret) < SHORTEST:
        raise InputError(f"--secret {path}: {len(secret)} characters can be guessed; give {SHORTEST} at least")
    return secret


def proof(secret: bytes, challenge: str, name: str) -> str:
    """That a site of that name knows the secret, without telling it: HMAC-SHA256 of what it was challenged with."""
    return hmac.new(secret, f"{challenge}/{name}".encode(), hashlib.sha256).hexdigest()


def is_proof(secret: bytes, challenge: str, name: str, found: str) -> bool:
    """Whether a site's proof is right."""
    return hmac.compare_digest(proof(secret, challenge, name).encode(), found.encode())
