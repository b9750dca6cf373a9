"""`mezzotint classify`: a table, a report and a page; labels, pairs, and what is refused."""

import csv
import json

import pytest
import torch
from PIL import Image

from mezzotint.data.draw import picture
from mezzotint.noise import SeededNoise
from tests.cli.conftest import Cli

FEW = ["--evaluations", 6, "--batch", 512]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures in three folders of classes."""
    root = tmp_path_factory.mktemp("pictures")
    drawn = SeededNoise(range(6))(torch.empty(6, 3, 8, 8)) * 60 + 128
    for k, image in enumerate(drawn.clamp(0, 255).to(torch.uint8)):
        place = root / ("cat", "dog", "red fox")[k % 3]
        place.mkdir(exist_ok=True)
        picture(image).save(place / f"{k}.png")
    return root


def table_of(out):
    return list(csv.DictReader((out / "predictions.csv").read_text("utf-8").splitlines()))


def test_classes_and_probabilities_of_a_folder(cli: Cli, model, folder, tmp_path):
    out = tmp_path / "out"
    done = cli("classify", model, folder, *FEW, "--out", out, "--json")
    assert done.code == 0, done.err
    rows = table_of(out)
    assert len(rows) == 6
    assert rows[0]["image"].endswith(".png")
    for row in rows:
        p = {name: float(row[f"p({name})"]) for name in ("cat", "dog", "red fox")}
        assert sum(p.values()) == pytest.approx(1, abs=1e-4)
        assert row["prediction"] == max(p, key=p.__getitem__)
    report = json.loads((out / "report.json").read_text())
    assert report["images"] == 6
    assert [each["prediction"] for each in report["predictions"]] == [r["prediction"] for r in rows]
    assert json.loads(done.out)["evaluations_per_image"] == report["evaluations_per_image"]
    page = (out / "report.html").read_text()
    assert page.count("<svg") >= 7  # the classes' curves, and those of six images
    assert "there are no labels" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_labels_calibration_and_strangeness(cli: Cli, model, folder, tmp_path):
    out = tmp_path / "out"
    done = cli(
        "classify", model, folder, *FEW, "--score", "--calibrate", folder, "--reference", folder,
        "--schedule", "exhaustive", "--measure", "l1", "--out", out, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    values, report = json.loads(done.out), json.loads((out / "report.json").read_text())
    assert values["accuracy"] == report["scores"]["accuracy"]
    assert sum(map(sum, report["confusion"])) == 6
    assert report["temperature"] == report["temperature_fit"]["temperature"]
    rows = table_of(out)
    assert {row["label"] for row in rows} == {"cat", "dog", "red fox"}
    assert all(0 <= float(row["strangeness"]) <= 1 for row in rows)
    assert all(int(row["evaluations"]) == 18 for row in rows)
    page = (out / "report.html").read_text()
    assert all(each in page for each in ("Confusion", "Strange images", "Most typical"))


def test_pairs(cli: Cli, model, folder, tmp_path):
    table, out = tmp_path / "pairs.csv", tmp_path / "out"
    table.write_text(
        "image_0,image_1,caption_0,caption_1\ncat/0.png,dog/1.png,cat,dog\n2,3,red fox,cat\n"
    )
    done = cli("classify", model, folder, *FEW, "--pairs", table, "--out", out, "--json")
    assert done.code == 0, done.err
    found = json.loads((out / "pairs.json").read_text())
    assert len(found["text"]) == 2
    assert json.loads(done.out)["text"] == sum(found["text"]) / 2
    assert found["group"] == [a and b for a, b in zip(found["text"], found["image"], strict=True)]


def test_stages_and_a_few_classes(cli: Cli, model, folder, tmp_path):
    done = cli(
        "classify", model, folder, "--class", "cat,dog", "--schedule", "nested:2,6/2,1",
        "--count", 2, "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["evaluations_per_image"] == 12


BAD = [
    (["--class", "cat"], "only one class was given"),
    (["--class", "cat,dgo"], "no class 'dgo'; did you mean dog"),
    (["--measure", "l3"], "--measure l3: did you mean"),
    (["--measure", "vb"], "needs a discrete chain"),
    (["--schedule", "rase"], "--schedule rase: did you mean race"),
    (["--schedule", "nested:5"], "expected numbers of samples, a slash"),
    (["--schedule", "nested:5,2/2,1"], "expected rising numbers"),
    (["--schedule", "nested:2,6/4,1"], "keep 4 of 3 candidates"),
    (["--error", 2], "expected a probability"),
    (["--evaluations", 2000], "expected 1 to 1000"),
    (["--calibrate", "digits"], "no class '0'"),
    (["--pairs", "none.csv"], "none.csv: cannot be read"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD)
def test_bad_arguments_get_one_line(cli: Cli, model, folder, tmp_path, arguments, said):
    done = cli("classify", model, folder, *arguments, "--out", tmp_path / "out")
    assert done.code == 1
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_bad_images_get_one_line(cli: Cli, model, folder, tmp_path):
    large, bare, other = (tmp_path / name for name in ("large", "bare", "other"))
    for place, size in ((large, 9), (bare, 8), (other / "wolf", 8)):
        place.mkdir(parents=True)
        Image.new("RGB", (size, size)).save(place / "0.png")
    (tmp_path / "empty").mkdir()
    said = {
        large: "9 x 9 px, but this model makes 8 x 8 px",
        tmp_path / "empty": "no pictures found",
        tmp_path / "none": "no such folder",
    }
    for place, wanted in said.items():
        done = cli("classify", model, place, *FEW, "--out", tmp_path / "out", "--force")
        assert done.code == 1
        assert wanted in done.err
    for place, wanted in {bare: "images without labels", other: "no class 'wolf'"}.items():
        done = cli("classify", model, place, "--score", *FEW, "--out", tmp_path / "o", "--force")
        assert done.code == 1
        assert wanted in done.err
    crop = cli("classify", model, large, *FEW, "--size", 8, "--out", tmp_path / "c")
    assert crop.code == 0, crop.err
