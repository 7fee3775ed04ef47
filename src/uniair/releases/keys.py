"""The keys that sign a registry: three files that never lie in it, encrypted by a passphrase."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniair.errors import InputError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

# key → the roles of TUF that it signs
ROLES = {"root": ("root",), "targets": ("targets", "snapshot"), "timestamp": ("timestamp",)}
SHORTEST = 8  # characters of a passphrase


def require_tuf() -> None:
    """Raises `InputError` where a package of the `registry` extra is missing."""
    needed = {"tuf": "tuf", "securesystemslib": "securesystemslib", "cryptography": "cryptography"}
    if missing := [package for module, package in needed.items() if importlib.util.find_spec(module) is None]:
        raise InputError(f"a registry needs {', '.join(missing)}: pip install 'uniair[registry]'")


@dataclass(frozen=True)
class Keys:
    """A folder with `root.pem`, `targets.pem` and `timestamp.pem`, Ed25519 each.

    Attributes:
        passphrase: that they are encrypted with; None: they are not.
    """

    folder: Path
    passphrase: str | None = None

    def path(self, name: str) -> Path:
        """Where a key lies."""
        return self.folder / f"{name}.pem"

    def has(self, name: str) -> bool:
        """Whether the key is there."""
        return self.path(name).is_file()

    def make(self) -> dict[str, CryptoSigner]:
        """All three; what is there already, of a run that was killed, is kept.

        Raises:
            InputError: a short passphrase, or keys there that it doesn't open.
        """
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if self.passphrase is not None and len(self.passphrase) < SHORTEST:
            raise InputError(f"passphrase: give at least {SHORTEST} characters")
        if self.passphrase is None:
            lock: Any = serialization.NoEncryption()
        else:
            lock = serialization.BestAvailableEncryption(self.passphrase.encode())
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ROLES:
            if self.has(name):
                continue
            key = Ed25519PrivateKey.generate()
            text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
            part = self.path(f".{name}")  # its owner alone may read it, from its first byte
            part.unlink(missing_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path(name))
        return {name: self.signer(name) for name in ROLES}

    def signer(self, name: str, trusted: Sequence[str] | None = None) -> CryptoSigner:
        """What signs with a key.

        Args:
            trusted: identifiers of the keys that the registry's root names for this role; None: whichever.

        Raises:
            InputError: no such key, a wrong passphrase, or another registry's key.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from securesystemslib.signer import CryptoSigner

        path = self.path(name)
        try:
            text = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{path}: no such key, or not to be read ({error.strerror}); give as --keys the folder that uniair "
                "registry init made"
            ) from error
        password = None if self.passphrase is None else self.passphrase.encode()
        try:
            key = load_pem_private_key(text, password)
        except TypeError as error:
            what = "is encrypted: give its passphrase" if password is None else "is not encrypted: give no passphrase"
            raise InputError(f"{path}: {what}") from error
        except ValueError as error:
            if b"PRIVATE KEY" in text and password is not None:
                raise InputError(
                    f"{path}: the passphrase is wrong, or the file is damaged; nothing was signed"
                ) from error
            raise InputError(f"{path}: not a private key in PEM") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise InputError(f"{path}: no Ed25519 key; give as --keys the folder that uniair registry init made")
        signer = CryptoSigner(key)
        if trusted is not None and signer.public_key.keyid not in trusted:
            raise InputError(f"{path}: the {name} key of another registry; nothing was signed")
        return signer
