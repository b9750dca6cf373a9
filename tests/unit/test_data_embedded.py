import json
import shutil

import pytest
import torch

from mezzotint.config import dump, load
from mezzotint.data import embedded
from mezzotint.data.emoji_classes import concept_of, held_out
from mezzotint.data.emoji_names import Emoji as Character
from mezzotint.data.emoji_names import Speller, key_of, plain, unicode_table
from mezzotint.data.sheets import MANIFEST, open_set, write_set
from mezzotint.errors import DataError, OutputError

# What `mezzotint data build emoji --size 32` reports with the pinned packages.
EMOJI_DIGEST = "d1ba9acbbbfd832f5f0f0cea3d74b6ee2d2c871eac1dddd204567adac66090d0"


@pytest.fixture(scope="module")
def parts():
    data = load("data", {"kind": "emoji", "size": 32})
    return data.train(), data.held_out()


def test_emoji_has_enough_classes_of_enough_pictures(parts):
    train, held = parts
    counts = train.labels.bincount() + held.labels.bincount()
    assert len(train.classes) == len(counts) >= 12
    assert counts.min() >= 100
    assert (held.labels.bincount(minlength=len(counts)) > 0).all()


def test_no_concept_stands_on_both_sides(parts):
    train, held = (set(p.others["concept"].labels.tolist()) for p in parts)
    assert train
    assert held
    assert not train & held


def test_no_emoji_and_no_picture_stands_on_both_sides(parts):
    train, held = parts
    emoji = [set(p.others["emoji"].labels.tolist()) for p in parts]
    assert not emoji[0] & emoji[1]
    seen = {p.numpy().tobytes() for p in train.pixels}
    assert len(seen) == len(train)  # no exact copies
    assert not seen & {p.numpy().tobytes() for p in held.pixels}


def test_about_an_eighth_is_held_out(parts):
    train, held = parts
    assert 0.09 < len(held) / (len(train) + len(held)) < 0.13


def test_style_is_a_second_label(parts):
    style = parts[0].others["style"]
    assert len(style.names) == 7
    assert (style.labels.bincount() > 100).all()


def test_the_shipped_emoji_are_what_the_builder_makes():
    manifest = json.loads((embedded.SETS / "emoji-32" / MANIFEST).read_text("utf-8"))
    assert manifest["digest"] == EMOJI_DIGEST
    assert open_set(embedded.SETS / "emoji-32").digest == EMOJI_DIGEST
    for source in manifest["sources"].values():
        assert source["license"]["spdx"] in {"Apache-2.0", "MIT", "CC-BY-4.0"}


def test_emoji_stand_on_white_and_are_not_empty(parts):
    pixels = parts[1].pixels
    corners = pixels[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).float().mean() > 0.8
    assert (pixels.flatten(1).amin(1) < 255).all()


def test_shipped_sets_stay_small():
    size = sum(f.stat().st_size for f in embedded.SETS.rglob("*"))
    assert size < 16 * 1024**2


def test_digest_of_a_part_is_stable(parts):
    again = embedded.Emoji().train()
    assert again.digest == parts[0].digest != parts[1].digest


def test_digits_are_grey_in_full_range_and_split_evenly():
    data = load("data", "digits")
    train, held = data.train(), data.held_out()
    assert (len(train), len(held), train.size) == (1438, 359, 8)
    assert train.classes == tuple("0123456789")
    assert train.pixels.amax() == 255
    assert (train.pixels[:, 0] == train.pixels[:, 2]).all()
    seen = {p.numpy().tobytes() for p in train.pixels}
    assert not seen & {p.numpy().tobytes() for p in held.pixels}


def test_reading_is_picking_rows(parts):
    rows = torch.tensor([5, 0, 5])
    got = parts[0].read(rows)
    assert got.shape == (3, 3, 32, 32)
    assert torch.equal(got[0], got[2])
    assert torch.equal(got[1], parts[0].pixels[0])


def test_a_size_that_is_not_built_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path))
    with pytest.raises(DataError) as error:
        embedded.Emoji(size=64).train()
    assert "mezzotint data build emoji --size 64" in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_changed_sheet_is_noticed(tmp_path):
    folder = tmp_path / "digits"
    shutil.copytree(embedded.SETS / "digits-8", folder)
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    manifest["labels"][0] = (manifest["labels"][0] + 1) % 10
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(DataError, match="changed or damaged") as error:
        open_set(folder)
    assert str(folder) in str(error.value)


def test_a_set_is_written_back_as_it_was_and_not_over_another(tmp_path):
    whole = open_set(embedded.SETS / "digits-8")
    write_set(tmp_path / "a", whole, sheets="set", about={"name": "copy"})
    assert open_set(tmp_path / "a").images.digest == whole.images.digest
    assert torch.equal(open_set(tmp_path / "a").held_out, whole.held_out)
    with pytest.raises(OutputError, match="--force"):
        write_set(tmp_path / "a", whole, sheets="set", about={})
    write_set(tmp_path / "a", whole, sheets="set", about={}, force=True)


def test_configs_come_back_from_plain_data():
    for kind in ("emoji", "digits", "prints"):
        data = load("data", kind)
        assert load("data", dump(data)) == data
    assert load("data", "emoji").balanced
    assert not load("data", "prints").balanced


@pytest.mark.parametrize(
    ("spelling", "key"),
    [
        ("1F468-200D-2708-FE0F", "1f468-200d-2708"),
        ("00A9-FE0F", "a9"),
        ("0023-fe0f-20e3", "23-20e3"),
    ],
)
def test_code_points_have_one_spelling(spelling, key):
    assert key_of(spelling) == key


def test_names_lead_to_keys_through_every_spelling():
    record = {
        "name": "GRINNING FACE", "unified": "1F600", "short_name": "grinning",
        "short_names": ["grinning"], "category": "c", "subcategory": "s", "sort_order": 1,
    }  # fmt: skip
    table = unicode_table([record])
    speller = Speller.taught(table, [{"1f436": "dog-face"}], [{"puppy": "dog-face"}])
    assert speller.key("grinning-face", {}) == "1f600"
    assert speller.key("puppy", {}) == "1f436"
    assert speller.key("own", {"own": "1f999"}) == "1f999"
    assert speller.key("nobody-knows", {}) is None
    assert plain("flag-for-flag-chad") == plain("flag-chad")


def test_variants_share_a_concept():
    def concept(name, key):
        return concept_of(Character(key, name, "", ""))

    cook = {concept("cook", k) for k in ("1f9d1-200d-1f373", "1f468-200d-1f373")}
    surfer = {concept("surfer", "1f3c4"), concept("man-surfing", "1f3c4-200d-2642")}
    clock = {concept("clock1", "1f550"), concept("clock130", "1f55c")}
    heart = {concept("heart", "2764"), concept("blue_heart", "1f499")}
    assert [len(c) for c in (cook, surfer, clock, heart)] == [1, 1, 1, 1]
    assert concept("dog", "1f436") != concept("cat", "1f431")


def test_held_out_concepts_do_not_depend_on_order():
    concepts = [str(i % 50) for i in range(300)]
    chosen = held_out(concepts)
    assert chosen == held_out(reversed(concepts))
    assert 0 < sum(c in chosen for c in concepts) <= 0.12 * 300
