"""The page's files as they are sent: templates rendered, modules and styles packed."""

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

_MEDIA_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """A file that never changes under its name."""

    packed: bytes
    media_type: str


class PageFiles:
    """The files of the pages; read once at start.

    The modules name each other relatively, so all lie in one folder with the hash of all.
    """

    def __init__(self, charts_name: str) -> None:
        found = {
            file.name: file.read_bytes()
            for file in sorted(
                files("ingestion_api.page").joinpath("static").iterdir(), key=lambda one: one.name
            )
        }
        digest = hashlib.sha256()
        for name, content in found.items():
            digest.update(f"{name} {len(content)}\n".encode() + content)
        self.folder = digest.hexdigest()[:12]
        self.assets = {
            name: Asset(gzip.compress(content, mtime=0), _MEDIA_TYPES[name.rpartition(".")[2]])
            for name, content in found.items()
        }
        self._environment = Environment(
            loader=PackageLoader("ingestion_api.page"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            assets=f"/assets/{self.folder}", charts=f"/assets/charts/{charts_name}"
        )

    def render(self, template: str, **values: object) -> str:
        """A page as HTML."""
        return self._environment.get_template(template).render(values)
