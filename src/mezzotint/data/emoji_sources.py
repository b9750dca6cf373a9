"""Where the emoji drawings come from: openly licensed vector sets on npm, at pinned versions.

Each tarball is fetched once by `npm pack`, or put into the cache by hand; the licence that the set
itself states is checked before anything is drawn.
"""

import json
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mezzotint.errors import DataError

UNICODE = "emoji-datasource@16.0.0"
SETS: Mapping[str, str] = {
    "noto": "@iconify-json/noto@1.2.9",
    "noto-v1": "@iconify-json/noto-v1@1.2.5",
    "fxemoji": "@iconify-json/fxemoji@1.2.2",
    "fluent-flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "fluent": "@iconify-json/fluent-emoji@1.2.7",
    "twemoji": "@iconify-json/twemoji@1.2.5",
    "emojione": "@iconify-json/emojione@1.2.3",
}
OPEN_LICENCES = frozenset({"Apache-2.0", "MIT", "CC-BY-4.0"})
"""Licences under which the pictures may be passed on; share-alike ones are not among them."""


@dataclass(frozen=True)
class IconSet:
    """One vector set as iconify packs it."""

    style: str
    package: str
    icons: Mapping[str, Any]
    chars: Mapping[str, str]
    info: Mapping[str, Any]

    @property
    def aliases(self) -> Mapping[str, str]:
        """Other names of its drawings."""
        return {name: a["parent"] for name, a in self.icons.get("aliases", {}).items()}

    def drawings(self) -> dict[str, dict[str, Any]]:
        """Return the drawings that are still offered; retired ones are marked hidden."""
        return {n: d for n, d in self.icons["icons"].items() if not d.get("hidden")}

    def svg(self, drawing: Mapping[str, Any], size: int) -> str:
        """Return a drawing as a square SVG document, centred when it is not square itself."""
        box = {**self.icons, **drawing}
        width, height = box.get("width", 16), box.get("height", 16)
        side = max(width, height)
        left = box.get("left", 0) - (side - width) / 2
        top = box.get("top", 0) - (side - height) / 2
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{size}" height="{size}" viewBox="{left} {top} {side} {side}">'
            f"{drawing['body']}</svg>"
        )


def fetch(package: str, cache: Path) -> Path:
    """Return the tarball of an npm package "name@version", fetched once by `npm pack`."""
    name, _, version = package.removeprefix("@").rpartition("@")
    tarball = cache / f"{name.replace('/', '-')}-{version}.tgz"
    if tarball.exists():
        return tarball
    cache.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", package, "--silent", "--pack-destination", str(cache)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise DataError(
            f"npm is not installed, and {tarball} is missing; install Node.js, or put the tarball "
            f"of {package} there by hand"
        ) from None
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split())[-200:]
        raise DataError(
            f"npm could not fetch {package} ({reason}); put its tarball at {tarball} by hand"
        ) from None
    return tarball


def read_json(tarball: Path, name: str) -> Any:
    """Read one JSON file of an npm tarball."""
    try:
        with tarfile.open(tarball) as archive:
            member = archive.extractfile(f"package/{name}")
            return json.load(member) if member else {}
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise DataError(
            f"{tarball}: {name} cannot be read ({error}); delete it and retry"
        ) from None


def open_icons(style: str, package: str, cache: Path) -> IconSet:
    """Open a vector set and check its licence."""
    tarball = fetch(package, cache)
    files = [read_json(tarball, f"{name}.json") for name in ("icons", "chars", "info")]
    licence = files[2]["license"]["spdx"]
    if licence not in OPEN_LICENCES:
        raise DataError(
            f"{package}: licence {licence}, expected one of {', '.join(sorted(OPEN_LICENCES))}; "
            "its pictures may not be passed on, leave the set out"
        )
    return IconSet(style, package, *files)


__all__ = ["SETS", "UNICODE", "IconSet", "fetch", "open_icons", "read_json"]
