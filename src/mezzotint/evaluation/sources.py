"""What is measured and against what: folders, zips, .npz files, shards, and the embedded sets.

Nothing is resized, converted or dropped without being asked for: each of these moves every metric.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float64
from torch import Tensor

from mezzotint import config, kinds
from mezzotint.data.folder import Files, Folder, files_of, look
from mezzotint.data.images import IN_MEMORY_BYTES, Data, Images
from mezzotint.data.npz import extractor_of, open_npz, open_statistics
from mezzotint.data.scan import Record
from mezzotint.data.shards import MANIFEST, open_shards
from mezzotint.digest import digest_of_file
from mezzotint.errors import DataError

HELD_OUT: Final = ":held-out"
EMBEDDED: Final = ("emoji", "digits", "prints")
LOSSY: Final = frozenset({"jpeg", "webp", "avif", "gif"})
_CODECS: Final = {"jpg": "jpeg", "jfif": "jpeg", "tif": "tiff"}
_GREY: Final = frozenset({"1", "L", "LA", "La", "I", "I;16", "F"})


@dataclass(frozen=True)
class Source:
    """A set of pictures and what is known of it.

    Attributes:
        name: as a person would call it.
        images: the pictures; None where a reference file holds statistics alone.
        codec: how they are stored: png, jpeg, npz, …; several are joined by "+".
        grey: whether every picture is stored without colour.
        made: what the manifest beside samples tells of them.
        statistics: published mu, sigma, mu_s, sigma_s; {} as a rule.
        kind: of the embedded data set, or "".
        extractor: digest of what made the statistics; "" in ADM's files, which are Inception's.
        digest: of the file that holds the statistics; "" elsewhere.
        names: of the files of a folder, in the order of the pictures; () elsewhere.
    """

    name: str
    images: Images | None
    codec: str
    grey: bool = False
    made: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, Float64[Tensor, "..."]] = field(default_factory=dict)
    kind: str = ""
    extractor: str = ""
    digest: str = ""
    names: tuple[str, ...] = ()

    @property
    def pictures(self) -> Images:
        """The pictures.

        Raises:
            DataError: there are only statistics.
        """
        if self.images is None:
            raise DataError(f"{self.name}: holds statistics and no picture; give the pictures too")
        return self.images

    def made_by(self, digest: str, distance: str) -> bool:
        """Return whether there are statistics, and the extractor of this digest made them."""
        return bool(self.statistics) and (self.extractor or "FID") in {digest, distance}

    def check_extractor(self, digest: str, distance: str) -> None:
        """Refuse statistics of another feature space.

        Args:
            digest: of the extractor that looks at the samples.
            distance: its name for the Fréchet distance.

        Raises:
            DataError: the statistics are those of another extractor.
        """
        if not self.made_by(digest, distance):
            theirs = self.extractor or "FID"
            raise DataError(
                f"{self.name}: statistics made by {theirs[:8]}, but the samples are looked at by "
                f"{distance} ({digest[:8]}); take --features inception for ADM's files, or give "
                "the pictures"
            )


def open_source(where: str, *, size: int | None = None, whole: bool = False) -> Source:
    """Open pictures by the name of an embedded set, or by path.

    Args:
        where: emoji, digits or prints, with ":held-out" for that part; a folder of any layout, a
            zip, a .npz, or a folder that `mezzotint sample` or `evaluate --model` wrote.
        size: bring the pictures of a folder to this height and width by ADM's crop; take an
            embedded set of this size.
        whole: take a folder's val and test parts as well; else its training part, if it has one.

    Raises:
        DataError: nothing is there, sizes differ, or something else than pictures.
    """
    plain = where.removesuffix(HELD_OUT)
    if plain in EMBEDDED and not Path(plain).exists():
        return _embedded(plain, size, held_out=where.endswith(HELD_OUT))
    path = Path(where)
    if not path.exists() and path.suffix != ".npz":
        known = [*EMBEDDED, *(name + HELD_OUT for name in EMBEDDED)]
        raise DataError(f"{where}: no such folder or file; {config.nearest(where, known)}")
    if path.suffix == ".npz":
        return _npz(path)
    if (path / MANIFEST).is_file():
        return _samples(path, config.read(path / MANIFEST), size)
    return _folder(path, size, whole=whole)


def _embedded(name: str, size: int | None, *, held_out: bool) -> Source:
    varied = size is not None and "size" in config.field_names(kinds.find("data", name))
    tree = {"kind": name, "size": size} if varied else {"kind": name}
    found = source_of(config.load("data", tree), held_out=held_out)
    if size not in {None, found.pictures.size}:
        raise DataError(
            f"{name}: its images have {found.pictures.size} px, not {size}; leave --size out"
        )
    return found


def source_of(data: Data, *, held_out: bool) -> Source:
    """Return one part of a data set of a recipe."""
    kind = kinds.kind_of(type(data)) or type(data).__name__
    name = f"{kind}{HELD_OUT}" if held_out else kind
    images = data.held_out() if held_out else data.train()
    embedded = kind if kind in EMBEDDED else ""
    return Source(name, images, "as trained on", kind=embedded)


def _npz(path: Path) -> Source:
    statistics = open_statistics(path)
    beside = path.with_name(MANIFEST)
    made = config.read(beside) if beside.is_file() else {}
    try:
        images = open_npz(path, tuple(made.get("classes", ())))
    except DataError:
        if not statistics:
            raise
        images = None
    marked = extractor_of(path)
    digest = digest_of_file(path) if statistics else ""
    held = {"statistics": statistics, "extractor": marked, "digest": digest}
    return replace(Source(path.name, images, "npz", made=made), **held)  # type: ignore[arg-type]


def _samples(folder: Path, made: Mapping[str, Any], size: int | None) -> Source:
    """Open what mezzotint wrote: shards, one .npz, or numbered PNGs in the manifest's order."""
    classes = tuple(made.get("classes", ()))
    if "label_policy" in made:
        images = open_shards(folder, made["count"], classes)
        return Source(folder.name, images, "npz", made=made)
    if (folder / "samples.npz").is_file():
        return _npz(folder / "samples.npz")
    if not {"labels", "seeds"} <= made.keys():
        return _folder(folder, size, whole=True)
    labels = torch.tensor(made["labels"]).repeat_interleave(len(made["seeds"]))
    numbered = sorted(p for p in folder.glob("[0-9]*_*_seed*.png"))
    if len(numbered) != len(labels):
        raise DataError(
            f"{folder}: {len(numbered)} numbered pictures, but its manifest tells of {len(labels)};"
            " draw them again"
        )
    files, codec, grey = _files(folder, {p.name for p in numbered}, size, whole=True)
    source = replace(files, labels=labels, classes=classes) if len(classes) else files
    return Source(folder.name, source, codec, grey, made=made)


def _folder(path: Path, size: int | None, *, whole: bool) -> Source:
    images, codec, grey = _files(path, None, size, whole=whole)
    held = len(images) * 3 * images.size**2
    kept = images.in_memory() if held < IN_MEMORY_BYTES else images
    return Source(path.name, kept, codec, grey, names=images.names)


def _files(
    path: Path, names: set[str] | None, size: int | None, *, whole: bool
) -> tuple[Files, str, bool]:
    """Open a folder, its training part, or the files of these names; with codec and greyness."""
    store, manifest = look(Folder(path=path))
    records = [r for r in manifest.records if names is None or r.name in names]
    if not whole:
        records = [r for r in records if r.part in {"train", ""}] or records
    if manifest.broken:
        first = manifest.broken[0]
        raise DataError(
            f"{path}/{first.name}: {first.reason}; {len(manifest.broken)} such files, mend or "
            "remove them"
        )
    if not records:
        raise DataError(f"{path}: no picture in it; expected PNG, JPEG or another picture format")
    suffixes = {record.name.rsplit(".", 1)[-1].lower() for record in records}
    codec = "+".join(sorted({_CODECS.get(s, s) for s in suffixes}))
    grey = all(record.mode in _GREY for record in records)
    wanted = Folder(path=path, size=size or _common_size(path, records))
    return files_of(store, manifest, records, wanted), codec, grey


def _common_size(path: Path, records: Sequence[Record]) -> int:
    first = records[0]
    for record in records:
        if (record.width, record.height) != (first.width, first.height):
            raise DataError(
                f"{path}: {first.name} is {first.width}x{first.height} and {record.name} "
                f"{record.width}x{record.height}; give --size to bring all to one size"
            )
    if first.width != first.height:
        raise DataError(
            f"{path}: pictures of {first.width}x{first.height}; expected as high as wide: give "
            "--size to crop them"
        )
    return first.width


def check_pair(samples: Source, reference: Source, *, allow_lossy: bool = False) -> None:
    """Refuse two sets of which a comparison would measure something else than the pictures.

    Raises:
        DataError: other sizes, grey against colour, or samples that a lossy codec has changed.
    """
    theirs, ours = reference.images, samples.pictures
    if theirs is not None and theirs.size != ours.size:
        raise DataError(
            f"{samples.name} is {ours.size} px and {reference.name} {theirs.size} px; resizing "
            f"moves every metric: make both one size, or give --size {ours.size} to crop the "
            "reference there"
        )
    if samples.grey and not reference.grey:
        raise DataError(
            f"{samples.name}: every picture is grey, {reference.name} has colour; save RGB samples"
        )
    lossy = LOSSY & set(samples.codec.split("+"))
    if lossy and not allow_lossy:
        raise DataError(
            f"{samples.name}: samples stored as {', '.join(sorted(lossy))}, whose losses count as "
            "the model's; write PNG or .npz, or --allow-lossy to measure them all the same"
        )


__all__ = ["EMBEDDED", "HELD_OUT", "Source", "check_pair", "open_source", "source_of"]
