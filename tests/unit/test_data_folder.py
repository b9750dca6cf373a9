import json
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.data import decode as decoding
from mezzotint.data.crop import CROPS
from mezzotint.data.folder import Files, Folder
from mezzotint.data.stores import open_store
from mezzotint.errors import DataError


def save(path: Path, image: Image.Image, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def plain(colour=(10, 20, 30), size=(8, 8)) -> Image.Image:
    return Image.new("RGB", size, colour)


def classes(root: Path, names=("cat", "ant"), count=3) -> None:
    for c, name in enumerate(names):
        for i in range(count):
            save(root / name / f"{i}.png", plain((c * 100, i, 0)))


def everything(data: Folder):
    return Folder(**{**dict(data), "held_out_share": 0.0}).train()


def message(call) -> str:
    with pytest.raises(DataError) as error:
        call()
    text = str(error.value)
    assert "\n" not in text
    return text


def test_folders_are_classes_in_sorted_order(tmp_path):
    classes(tmp_path)
    images = everything(Folder(path=tmp_path, size=8))
    assert images.classes == ("ant", "cat")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    red = images.read(torch.arange(6))[:, 0, 0, 0]
    assert red.tolist() == [100, 100, 100, 0, 0, 0]


def test_a_zip_reads_like_its_folder(tmp_path):
    classes(tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for file in sorted((tmp_path / "data").rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path / "data"))
        archive.writestr("__MACOSX/cat/._0.png", b"junk")
    folder = everything(Folder(path=tmp_path / "data", size=8))
    packed = everything(Folder(path=tmp_path / "data.zip", size=8))
    assert torch.equal(folder.read(torch.arange(6)), packed.read(torch.arange(6)))
    assert packed.digest == folder.digest
    assert not (tmp_path / "data" / "__MACOSX").exists()


def test_train_and_val_folders_are_the_parts(tmp_path):
    classes(tmp_path / "train")
    classes(tmp_path / "val", count=1)
    data = Folder(path=tmp_path, size=8)
    assert (len(data.train()), len(data.held_out())) == (6, 2)
    assert data.train().classes == ("ant", "cat")
    assert "with the parts" in data.manifest().words()[0]


def test_a_class_may_be_called_train(tmp_path):
    classes(tmp_path, names=("train", "boat"))
    assert everything(Folder(path=tmp_path, size=8)).classes == ("boat", "train")


def test_a_flat_folder_is_unconditional(tmp_path):
    for i in range(4):
        save(tmp_path / f"{i}.png", plain((i, 0, 0)))
    images = everything(Folder(path=tmp_path, size=8))
    assert (images.classes, images.labels.tolist()) == ((), [0, 0, 0, 0])


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_a_metadata_table_gives_labels(tmp_path, name):
    rows = [("a.png", "10"), ("sub/b.png", "9"), ("c.png", "10")]
    for file, _ in rows:
        save(tmp_path / file, plain())
    lines = {
        "metadata.csv": "file_name,label\n" + "\n".join(",".join(r) for r in rows),
        "metadata.jsonl": "\n".join(json.dumps({"file_name": f, "label": v}) for f, v in rows),
    }
    (tmp_path / name).write_text(lines[name], "utf-8")
    images = everything(Folder(path=tmp_path, size=8))
    assert images.classes == ("9", "10")  # numbers in the order of numbers
    assert images.labels.tolist() == [1, 0, 1]


def test_an_own_table_with_its_own_column(tmp_path):
    save(tmp_path / "a.png", plain())
    save(tmp_path / "b.png", plain())
    table = tmp_path / "birds.csv"
    table.write_text("path,species\na.png,owl\nb.png,crow\n", "utf-8")
    images = everything(Folder(path=table, size=8, label_column="species"))
    assert (images.classes, images.labels.tolist()) == (("crow", "owl"), [1, 0])
    wrong = message(lambda: Folder(path=table, size=8, label_column="colour").train())
    assert "'colour'" in wrong
    assert str(table) in wrong
    assert "species" in wrong


def test_dataset_json_of_stylegan(tmp_path):
    for i in range(3):
        save(tmp_path / "00000" / f"img{i}.png", plain())
    labels = [[f"00000/img{i}.png", i % 2] for i in range(3)]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}), "utf-8")
    images = everything(Folder(path=tmp_path, size=8))
    assert (images.classes, images.labels.tolist()) == (("0", "1"), [0, 1, 0])
    (tmp_path / "dataset.json").write_text('{"labels": null}', "utf-8")
    assert everything(Folder(path=tmp_path, size=8, crop="centre")).classes == ()


def odd(path: Path) -> None:
    """Write one file of every odd kind, each with a known colour after decoding."""
    grey16 = np.full((8, 8), 51 * 257, np.uint16)
    palette = plain((200, 100, 50)).quantize(4)
    rotated = Image.new("RGB", (8, 4), (0, 0, 255))
    rotated.paste((255, 0, 0), (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right: turn clockwise by 90 degrees
    save(path / "grey.png", Image.new("L", (8, 8), 77))
    save(path / "grey16.png", Image.fromarray(grey16))
    save(path / "rgba.png", Image.new("RGBA", (8, 8), (255, 0, 0, 51)))
    save(path / "la.png", Image.new("LA", (8, 8), (0, 0)))
    save(path / "palette.png", palette)
    save(path / "bit.png", Image.new("1", (8, 8), 1))
    save(path / "cmyk.jpg", Image.new("CMYK", (8, 8), (0, 0, 0, 0)))
    save(path / "turned.png", rotated, exif=exif)
    frames = [plain((0, 255, 0)), plain((0, 0, 255))]
    save(path / "moving.gif", frames[0], save_all=True, append_images=frames[1:])


def colour_and_notes(path: Path, background="white"):
    found = decoding.decode(path.read_bytes(), background)
    assert found.image.mode == "RGB"
    return found.image.getpixel((3, 3)), " ".join(found.notes), found


@pytest.mark.parametrize(
    ("name", "colour", "note"),
    [
        ("grey.png", (77, 77, 77), "grey"),
        ("grey16.png", (51, 51, 51), "16-bit grey"),
        ("rgba.png", (255, 204, 204), "transparent: laid on white"),
        ("la.png", (255, 255, 255), "transparent: laid on white"),
        ("palette.png", (200, 100, 50), "palette"),
        ("bit.png", (255, 255, 255), "black and white"),
        ("cmyk.jpg", (255, 255, 255), "CMYK"),
        ("moving.gif", (0, 255, 0), "animated: the first frame"),
    ],
)
def test_odd_modes_are_read_and_stated(tmp_path, name, colour, note):
    odd(tmp_path)
    got, notes, _ = colour_and_notes(tmp_path / name)
    assert got == colour
    assert note in notes


def test_background_is_the_stated_one(tmp_path):
    odd(tmp_path)
    colour, notes, _ = colour_and_notes(tmp_path / "la.png", "#102030")
    assert (colour, notes) == ((16, 32, 48), "transparent: laid on #102030")


def test_exif_rotation_is_honoured(tmp_path):
    odd(tmp_path)
    _, notes, found = colour_and_notes(tmp_path / "turned.png")
    assert found.image.size == (4, 8)
    assert found.image.getpixel((1, 1)) == (255, 0, 0)
    assert found.image.getpixel((1, 6)) == (0, 0, 255)
    assert "EXIF" in notes


def test_sixteen_bit_colour_is_stated(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    line = b"\0" + struct.pack(">6H", 0x1234, 0xFFFF, 0, 0x1234, 0xFFFF, 0)
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    data += chunk(b"IDAT", zlib.compress(line * 2)) + chunk(b"IEND", b"")
    found = decoding.decode(data, "white")
    assert found.image.getpixel((0, 0)) == (0x12, 0xFF, 0)
    assert any("16 bits" in note for note in found.notes)


def broken(path: Path) -> dict[str, str]:
    """Write one file of every broken kind; returns a word that each reason must hold."""
    whole = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "PNG")
    path.mkdir(parents=True, exist_ok=True)
    (path / "cut.png").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (path / "text.png").write_bytes(b"this is no picture")
    (path / "none.png").write_bytes(b"")
    save(path / "dot.png", plain(size=(1, 1)))
    save(path / "vast.png", Image.new("1", (9500, 9500)))
    return {
        "cut.png": "cut short",
        "text.png": "not a picture",
        "none.png": "empty file",
        "dot.png": "1 x 1 pixel",
        "vast.png": "huge",
    }


@pytest.fixture(scope="module")
def broken_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("broken")
    classes(root)
    return root, broken(root / "cat")


def test_broken_files_are_all_listed_with_their_reasons(broken_folder):
    root, reasons = broken_folder
    manifest = Folder(path=root, size=8).manifest()
    assert {b.name: b.reason for b in manifest.broken}.keys() == {f"cat/{n}" for n in reasons}
    for found in manifest.broken:
        assert reasons[Path(found.name).name] in found.reason
        assert "\n" not in found.reason
    assert len(manifest.records) == 6


def test_broken_files_are_skipped_on_demand(broken_folder):
    root, _ = broken_folder
    assert len(everything(Folder(path=root, size=8, on_bad="skip"))) == 6


@pytest.mark.parametrize("name", ["cut.png", "text.png", "none.png", "dot.png", "vast.png"])
def test_one_broken_file_stops_with_its_path(tmp_path, broken_folder, name):
    root, reasons = broken_folder
    classes(tmp_path)
    (tmp_path / "cat" / name).write_bytes((root / "cat" / name).read_bytes())
    text = message(lambda: Folder(path=tmp_path, size=8).train())
    assert str(tmp_path / "cat" / name) in text
    assert reasons[name] in text
    assert "on_bad: skip" in text


def test_an_unreadable_file_is_listed(tmp_path):
    classes(tmp_path)
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    text = message(lambda: Folder(path=tmp_path, size=8).train())
    assert "cat/gone.png: cannot be read (No such file or directory)" in text


def test_empty_and_missing_folders(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    text = message(lambda: Folder(path=tmp_path, size=8).train())
    assert str(tmp_path) in text
    assert "no pictures" in text
    gone = tmp_path / "gone"
    assert str(gone) in message(lambda: Folder(path=gone, size=8).train())
    assert str(gone) in message(lambda: Folder(path=gone / "table.csv", size=8).train())
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    assert "not a readable zip" in message(lambda: Folder(path=tmp_path / "bad.zip").train())


def test_one_class_is_read_and_remarked_on(tmp_path):
    classes(tmp_path, names=("cat",))
    data = Folder(path=tmp_path, size=8)
    assert everything(data).classes == ("cat",)
    warning = next(w for w in data.manifest().warnings() if "one class" in w)
    assert str(tmp_path) in warning
    assert "\n" not in warning


def test_nothing_leads_outside(tmp_path):
    save(tmp_path / "secret.png", plain())
    root = tmp_path / "data"
    classes(root)
    (root / "metadata.csv").write_text("file_name,label\n../secret.png,a\n", "utf-8")
    assert "leads outside" in message(lambda: Folder(path=root, size=8).train())
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("../../cat/x.png", b"")
    assert "leads outside" in message(lambda: Folder(path=evil, size=8).train())


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ("file_name,label\nabsent.png,a\n", "do not exist"),
        ("file_name,label\n0.png,\n", "empty"),
        ("picture,label\n0.png,a\n", "no column 'file_name'"),
    ],
)
def test_wrong_tables(tmp_path, table, word):
    save(tmp_path / "0.png", plain())
    (tmp_path / "metadata.csv").write_text(table, "utf-8")
    text = message(lambda: Folder(path=tmp_path, size=8).train())
    assert word in text
    assert str(tmp_path) in text


def test_the_fixed_share_is_disjoint_stable_and_keeps_copies_together(tmp_path):
    for i in range(300):
        save(tmp_path / "a" / f"{i:03}.png", plain((i % 150, 1, 0), (2, 2)))
    data = Folder(path=tmp_path, size=2, held_out_share=0.2)
    train, held = data.train(), data.held_out()
    assert len(train) + len(held) == 300
    assert 30 < len(held) < 90
    reds = [set(p.pixels[:, 0, 0, 0].tolist()) for p in (train, held)]
    assert not reds[0] & reds[1]
    assert Folder(path=tmp_path, size=2, held_out_share=0.2).held_out().digest == held.digest


def test_digest_follows_content_label_and_crop(tmp_path):
    digests = set()
    for name, colour, size in [("a", 1, 8), ("a", 2, 8), ("b", 1, 8), ("a", 1, 4)]:
        root = tmp_path / f"{name}{colour}{size}"
        save(root / name / "0.png", plain((colour, 0, 0)))
        save(root / "z" / "0.png", plain())
        digests.add(everything(Folder(path=root, size=size)).digest)
    assert len(digests) == 4


def test_reading_lazily_gives_what_memory_holds(tmp_path):
    classes(tmp_path, count=4)
    held = everything(Folder(path=tmp_path, size=8))
    store = open_store(tmp_path)
    lazy = Files(store, tuple(store.names()), held.labels, held.classes, 8, held.digest)
    rows = torch.tensor([7, 0, 3])
    assert torch.equal(lazy.read(rows), held.read(rows))
    (tmp_path / "ant" / "0.png").write_bytes(b"")
    assert str(tmp_path / "ant" / "0.png") in message(lambda: lazy.read(torch.tensor([0])))


def test_adm_crop_is_the_published_one():
    """Halve with boxes, resize to the target with a bicubic, cut the middle: step by step."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    halved = image.resize((70, 45), Image.Resampling.BOX)  # 90 >= 2 * 32, 45 < 2 * 32
    small = halved.resize((round(70 * 32 / 45), 32), Image.Resampling.BICUBIC)
    left = (small.width - 32) // 2
    expected = np.asarray(small)[:, left : left + 32]
    assert (np.asarray(CROPS["adm"](image, 32)) == expected).all()


@pytest.mark.parametrize("crop", list(CROPS))
@pytest.mark.parametrize("size", [(3, 200), (16, 16), (7, 5)])
def test_every_crop_gives_the_size(crop, size):
    assert CROPS[crop](plain(size=size), 16).size == (16, 16)


def test_upscaling_is_stated(tmp_path):
    classes(tmp_path)
    manifest = Folder(path=tmp_path).manifest()
    words = Folder(path=tmp_path, size=64).words(manifest)
    assert any("smaller than 64" in line and "enlarged" in line for line in words)
    assert not any("enlarged" in w for w in Folder(path=tmp_path, size=8).words(manifest))


def test_words_say_what_was_understood(tmp_path):
    classes(tmp_path)
    odd(tmp_path / "odd")
    said = "\n".join(Folder(path=tmp_path, size=8).manifest().words())
    for part in ("15 pictures", "a folder for every class", "ant 3", "cat 3", "odd 9"):
        assert part in said
    assert "1 pictures are animated: the first frame was taken." in said
