"""How a node reads a registry: over HTTP(S), or from a folder; with progress."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher
from urllib3.exceptions import HTTPError

from uniair.progress import bar

WAITS = 15  # s for a connection, and between two pieces of a file
PIECE = 400_000  # bytes
FORM = "{desc}{percentage:3.0f}%|{bar}| {n:.1f} of {total:.1f} MB, {rate_fmt}, {remaining} left"


class Fetcher(Urllib3Fetcher):
    """Reads addresses `http(s)://` and `file://`.

    Args:
        folder: for what is not yet verified; on the disk that it is to lie on.
        about: what is pulled, for progress; empty: nothing is shown.
    """

    def __init__(self, folder: Path, about: str = "") -> None:
        super().__init__(WAITS, PIECE, "uniair")
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # what it tries again is no news
        self.folder, self.about = folder, about

    def _fetch(self, url: str) -> Iterator[bytes]:
        if urlsplit(url).scheme != "file":
            try:
                return super()._fetch(url)
            except DownloadHTTPError as error:
                raise DownloadHTTPError(f"{url}: the server answers {error.status_code}", error.status_code) from error
        path = Path(unquote(urlsplit(url).path))
        if not path.is_file():
            raise DownloadHTTPError(f"{path}: no such file", 404)
        return _pieces(path)

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """A file of at most so many bytes, not yet verified, that is gone when the block ends.

        Raises:
            tuf.api.exceptions.DownloadError: not to be had, or longer.
        """
        with tempfile.TemporaryFile(dir=self.folder) as file:
            shown: Any = bar(max_length / 1e6, "MB", self.about, form=FORM) if self.about else None
            try:
                for piece in self.fetch(url):
                    file.write(piece)
                    if file.tell() > max_length:
                        raise DownloadLengthMismatchError(f"{url}: longer than the {max_length} bytes that were signed")
                    if shown is not None:
                        shown.update(len(piece) / 1e6)
            except HTTPError as error:  # cut off on the way
                raise DownloadError(f"{url}: {error}") from error
            finally:
                if shown is not None:
                    shown.close()
            file.seek(0)
            yield file


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def address(registry: str) -> str:
    """The address of a registry that is given as a folder or a URL, without a slash at its end."""
    if urlsplit(registry).scheme in ("http", "https"):
        return registry.rstrip("/")
    return Path(registry).resolve().as_uri()
