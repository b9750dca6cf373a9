"""The whole of an evaluation on small sets: what it says, what moves it, what it refuses."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from mezzotint.errors import ConfigError, DataError
from mezzotint.evaluation.evaluator import Evaluator
from mezzotint.evaluation.metrics import (
    DensityCoverage,
    Frechet,
    InceptionScore,
    Kernel,
    PrecisionRecall,
)
from mezzotint.evaluation.report import Report, refuse_unlike
from mezzotint.evaluation.sources import check_pair, open_source
from mezzotint.evaluation.statistics import write_reference
from tests.evaluating import Patches, pictures, save_folder, save_npz, source

METRICS = (
    Frechet("FD-patches"),
    Kernel("KID-patches"),
    PrecisionRecall(),
    DensityCoverage(),
    InceptionScore("IS-patches"),
)


@dataclass(frozen=True)
class Namer(Patches):
    """The extractor as a judge."""

    name: str = "namer"


def evaluator(cache, reference=None, **settings):
    real = reference or source(60)
    return Evaluator(Patches(), METRICS, real, cache, **settings)


def scores(report):
    return {score.name: score.value for score in report.scores}


def measured(cache, samples, **settings):
    result = evaluator(cache, **settings).report(samples)
    assert result is not None
    return result


def test_a_set_against_itself_is_perfect(tmp_path):
    report, _ = measured(tmp_path, source(60))
    found = scores(report)
    assert found["FD-patches"] == pytest.approx(0, abs=1e-6)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)


def test_every_score_stands_beside_its_floor(tmp_path):
    report, _ = measured(tmp_path, source(20, seed=1))
    assert [score.floor_count for score in report.scores] == [20] * len(report.scores)
    assert all(score.floor is not None for score in report.scores)
    by_name = {score.name: score for score in report.scores}
    assert 0.2 < by_name["FD-patches"].value / by_name["FD-patches"].floor < 5
    assert by_name["KID-patches"].low < by_name["KID-patches"].value < by_name["KID-patches"].high


def test_the_floor_says_at_which_count_it_was_computed(tmp_path):
    report, _ = measured(tmp_path, source(50, seed=1))
    assert report.scores[0].floor_count == 30
    assert any("at 30 images, half of 60 pictures" in note for note in report.notes)


def test_worse_samples_have_worse_scores(tmp_path):
    good, bad = source(60, seed=1), source(60, seed=1)
    bad = replace(
        bad,
        images=pictures(60, seed=1).of(
            pictures(60, seed=1).pixels // 2, bad.pictures.labels, bad.pictures.classes
        ),
    )
    ours, theirs = (scores(measured(tmp_path, each)[0]) for each in (good, bad))
    assert theirs["FD-patches"] > 5 * ours["FD-patches"]
    assert theirs["precision"] < ours["precision"]


def test_the_order_of_the_samples_moves_nothing(tmp_path):
    samples = source(40, seed=1)
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    other = replace(samples, images=samples.pictures.only(rows))
    one, two = (scores(measured(tmp_path, each)[0]) for each in (samples, other))
    assert two == pytest.approx(one, rel=1e-9)


def test_a_judge_counts_by_class(tmp_path):
    samples = source(40, seed=1)
    flipped = replace(
        samples,
        images=samples.pictures.of(
            samples.pictures.pixels, 1 - samples.pictures.labels, samples.pictures.classes
        ),
    )
    right, _ = measured(tmp_path, samples, judge=Namer())
    wrong, _ = measured(tmp_path, flipped, judge=Namer())
    assert scores(right)["class accuracy"] == 1
    assert scores(wrong)["class accuracy"] == 0
    assert right.confusion == ((20, 0), (0, 20))
    assert wrong.confusion == ((0, 20), (20, 0))
    assert [row.accuracy for row in right.classes] == [1, 1]
    assert [row.count for row in right.classes] == [20, 20]
    assert wrong.classes[0].distance > 10 * right.classes[0].distance
    floor = next(score for score in right.scores if score.name == "class accuracy")
    assert (floor.floor, floor.floor_count) == (1, 60)


def test_a_class_that_the_judge_does_not_know_is_named(tmp_path):
    samples = source(40, classes=("dark", "lihgt"))
    with pytest.raises(DataError, match="'lihgt': unknown to the judge; did you mean light"):
        measured(tmp_path, samples, judge=Namer())


def test_copies_of_training_images_are_found_and_shown(tmp_path):
    training, unseen = source(60), source(60, seed=5)
    mixed = torch.cat([training.pictures.pixels[:10], pictures(30, seed=6).pixels])
    labels = torch.cat([training.pictures.labels[:10], pictures(30, seed=6).labels])
    samples = replace(training, images=training.pictures.of(mixed, labels, ("dark", "light")))
    report, shown = measured(tmp_path, samples, training=training, held_out=unseen)
    assert report.memorisation.copies == 10
    assert report.memorisation.share >= 0.25
    assert any("nearer to a training image" in line for line in report.warnings)
    assert {(p.pair.sample, p.pair.training) for p in shown.neighbours[:10]} == {
        (k, k) for k in range(10)
    }
    assert np.array_equal(
        np.asarray(shown.neighbours[0].sample), np.asarray(shown.neighbours[0].training)
    )
    fresh, _ = measured(tmp_path, source(40, seed=7), training=training, held_out=unseen)
    assert fresh.memorisation.copies == 0


def test_fewer_samples_than_asked_for(tmp_path):
    with pytest.raises(DataError, match="40 samples, 50 were asked for; draw more"):
        evaluator(tmp_path).report(source(40), count=50)
    report, _ = evaluator(tmp_path).report(source(40, seed=2), count=30)
    assert report.protocol.samples_count == 30


def test_a_set_of_one_picture_over_and_over_is_refused(tmp_path):
    flat = source(30)
    same = torch.full_like(flat.pictures.pixels, 7)
    images = flat.pictures.of(same, flat.pictures.labels, flat.pictures.classes)
    with pytest.raises(DataError, match="30 pictures") as caught:
        evaluator(tmp_path).report(replace(flat, images=images))
    assert "\n" not in str(caught.value)


def test_few_samples_in_many_dimensions_are_warned_of(tmp_path):
    report, _ = measured(tmp_path, source(8, seed=1))
    assert any("8 samples in a space of 12 dimensions" in line for line in report.warnings)


def test_statistics_give_the_distance_that_their_pictures_give(tmp_path):
    path = tmp_path / "reference.npz"
    assert write_reference(path, evaluator(tmp_path)) == 60
    again = open_source(str(path))
    assert again.pictures.read(torch.arange(60)).equal(source(60).pictures.pixels)
    alone = replace(again, images=None)
    samples = source(40, seed=1)
    full = scores(measured(tmp_path, samples)[0])["FD-patches"]
    result = Evaluator(Patches(), METRICS[:1], alone, tmp_path).report(samples)
    assert scores(result[0])["FD-patches"] == pytest.approx(full, rel=1e-9)
    assert any("statistics alone" in note for note in result[0].notes)


def test_statistics_of_another_extractor_are_refused(tmp_path):
    path = tmp_path / "reference.npz"
    write_reference(path, evaluator(tmp_path))
    other = Evaluator(
        Patches(digest="other"), METRICS[:1], replace(open_source(str(path)), images=None), tmp_path
    )
    with pytest.raises(DataError, match="statistics made by patches"):
        other.report(source(40))
    np.savez(tmp_path / "adm.npz", mu=np.zeros(12), sigma=np.eye(12))
    adm = Evaluator(Patches(), METRICS[:1], open_source(str(tmp_path / "adm.npz")), tmp_path)
    with pytest.raises(DataError, match="statistics made by FID"):
        adm.report(source(40))


def test_what_stands_beside_the_numbers(tmp_path):
    made = {
        "model": "a-model",
        "weights_digest": "0123456789",
        "label_policy": "balanced",
        "seed": 100,
        "dtype": "float32",
        "sampling": {
            "sampler": {"kind": "heun"},
            "steps": 7,
            "guidance": {"kind": "interval", "scale": 2.5, "low": 0.05, "high": 0.9},
        },
        "provenance": {"ema": 0.999},
    }
    report, _ = measured(tmp_path, replace(source(40, seed=1), made=made))
    line = str(report.protocol)
    for word in ("a-model", "balanced", "100 to 139", "heun", "7", "2.5", "(0.05, 0.9]", "0.999"):
        assert word in line
    assert "\n" not in line
    assert "unknown" not in line.replace("judge unknown", "").replace("judge_digest unknown", "")


def test_a_report_is_written_and_read_back(tmp_path):
    report, shown = measured(tmp_path / "cache", source(40, seed=1), training=source(60))
    report.write(tmp_path, shown)
    assert Report.read(tmp_path / "report.json").protocol == report.protocol
    page = (tmp_path / "report.html").read_text()
    assert "FD-patches" in page
    assert "data:image/png;base64," in page


# What may be compared -----------------------------------------------------------------------


def test_sizes_codecs_and_colours_must_agree(tmp_path):
    with pytest.raises(DataError, match=r"is 8 px and .* 16 px; resizing moves every metric"):
        check_pair(source(4), source(4, size=16))
    jpeg = replace(source(4), codec="jpeg+png")
    with pytest.raises(DataError, match=r"stored as jpeg.*--allow-lossy"):
        check_pair(jpeg, source(4))
    check_pair(jpeg, source(4), allow_lossy=True)
    check_pair(source(4), jpeg)  # photographs come as JPEG, and that is what they are
    with pytest.raises(DataError, match="every picture is grey"):
        check_pair(replace(source(4), grey=True), source(4))


def test_a_folder_of_classes(tmp_path):
    images = pictures(6)
    found = open_source(str(save_folder(tmp_path / "set", images)))
    assert found.codec == "png"
    assert found.pictures.classes == ("dark", "light")
    by_class = images.pixels[[0, 2, 4, 1, 3, 5]]
    assert found.pictures.read(torch.arange(6)).equal(by_class)
    jpegs = open_source(str(save_folder(tmp_path / "jpegs", images, suffix=".jpg")))
    assert jpegs.codec == "jpeg"


def test_grey_pictures_are_known_as_such(tmp_path):
    from PIL import Image

    for k in range(3):
        Image.new("L", (8, 8), k * 9).save(tmp_path / f"{k}.png")
    assert open_source(str(tmp_path)).grey


def test_mixed_sizes_are_named_and_can_be_cropped(tmp_path):
    save_folder(tmp_path / "set", pictures(3))
    save_folder(tmp_path / "set" / "more", pictures(3, size=10))
    with pytest.raises(DataError, match=r"is 8x8 and .* 10x10; give --size"):
        open_source(str(tmp_path / "set"))
    assert open_source(str(tmp_path / "set"), size=8).pictures.size == 8


def test_a_size_is_that_of_an_embedded_set_too():
    assert open_source("prints", size=16).pictures.size == 16
    with pytest.raises(DataError, match="mezzotint data build emoji --size 47"):
        open_source("emoji:held-out", size=47)
    assert open_source("digits", size=8).pictures.size == 8
    with pytest.raises(DataError, match="digits: its images have 8 px, not 16"):
        open_source("digits", size=16)


def test_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match="did you mean emoji"):
        open_source("emojis")
    with pytest.raises(DataError, match="no such file"):
        open_source(str(tmp_path / "a.npz"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        open_source(str(tmp_path / "empty"))
    assert "\n" not in str(caught.value)


def test_a_reference_with_statistics_of_its_own_is_measured_by_them(tmp_path):
    path = tmp_path / "reference.npz"
    write_reference(path, evaluator(tmp_path))
    samples, real = source(40, seed=1), open_source(str(path))
    moved = replace(real, statistics={**real.statistics, "mu": real.statistics["mu"] + 100})
    here, there = (measured(tmp_path, samples, reference=each)[0] for each in (real, moved))
    assert scores(there)["FD-patches"] > scores(here)["FD-patches"] + 12 * 5000
    assert scores(there)["precision"] == scores(here)["precision"]
    assert any("statistics that reference.npz holds" in note for note in here.notes)
    foreign = replace(moved, extractor="another")
    ignored = measured(tmp_path, samples, reference=foreign)[0]
    assert scores(ignored)["FD-patches"] == pytest.approx(scores(here)["FD-patches"], rel=1e-9)
    assert any("another extractor" in note for note in ignored.notes)


def test_two_files_of_statistics_do_not_pass_for_one(tmp_path):
    reports = []
    for name, seed in (("a", 0), ("b", 1)):
        path = tmp_path / name / "reference.npz"
        write_reference(path, evaluator(tmp_path, reference=source(60, seed=seed)))
        alone = replace(open_source(str(path)), images=None)
        made = Evaluator(Patches(), METRICS[:1], alone, tmp_path)
        reports.append(made.report(source(40, seed=2))[0])
    with pytest.raises(ConfigError, match="does not compare"):
        refuse_unlike(*reports)


def test_an_npz_with_statistics_and_pictures_has_both(tmp_path):
    path = save_npz(tmp_path / "a.npz", pictures(4), mu=np.zeros(2), sigma=np.eye(2))
    found = open_source(str(path))
    assert len(found.pictures) == 4
    assert found.statistics.keys() == {"mu", "sigma"}
