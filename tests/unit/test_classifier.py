"""Classifiers: networks of any size, rows that are alone, files, tables, and the judges."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mezzotint import checkpoint, classifier, config, generator
from mezzotint.classifier import BLOCK, Classifier, ClassifierConfig, Confusion
from mezzotint.data.images import InMemory
from mezzotint.errors import CheckpointError, ConfigError, DataError
from mezzotint.tokenizers.base import Pixels

NETWORKS = {
    "residual": {"kind": "residual", "widths": [8, 16], "blocks": 2},
    "depthwise": {"kind": "depthwise", "widths": [8, 16], "blocks": 2},
}
NAMES = ("cat", "flag", "owl")
HELD_OUT = {"emoji": 0.75, "prints": 0.99, "digits": 0.975}
GUIDES = {"emoji": 0.6, "prints": 0.99, "digits": 0.975}
ROLES = ("judge", "guide")


def made(kind: str = "residual", *, size: int = 16, mirrored: bool = False) -> Classifier:
    shape = {"channels": 3, "size": [size, size], "num_classes": len(NAMES)}
    model = ClassifierConfig(
        network=config.load("network", NETWORKS[kind] | shape), mirrored=mirrored
    )
    network = model.build()
    generator_ = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator_) * 0.3
    tree = {"model": model, "tokenizer": Pixels(size=size), "classes": NAMES}
    return Classifier(network, model, Pixels(size=size), NAMES, tree)


def pictures(count: int, size: int = 16) -> Tensor:
    draws = torch.Generator().manual_seed(count)
    return torch.randint(256, (count, 3, size, size), generator=draws, dtype=torch.uint8)


@pytest.mark.parametrize("size", [8, 9, 13, 32])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_takes_any_size_from_8(kind, size):
    network = made(kind, size=size).network
    x = torch.randn(2, 3, size, size)
    features = network.features(x)
    assert features.shape == (2, 16)
    assert torch.equal(network.head(features), network(x))
    assert not torch.allclose(features[0], features[1])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_row_does_not_depend_on_its_batch(kind, mirrored):
    judge, images = made(kind, mirrored=mirrored), pictures(2 * BLOCK + 5)
    features, logits = judge.read(images)
    assert torch.equal(judge.features(images), features)
    assert torch.equal(judge(images), logits)
    for row in (0, 3, BLOCK, len(images) - 1):
        assert torch.equal(judge(images[row : row + 1])[0], logits[row])
        assert torch.equal(judge.features(images[row : row + 1])[0], features[row])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(5))
    assert torch.equal(judge(images[order]), logits[order])
    parts = [judge.features(part) for part in images.split(7)]
    assert torch.equal(torch.cat(parts), features)


def test_a_mirrored_judge_sees_no_left_and_right():
    images = pictures(4)
    both, one = made(mirrored=True), made(mirrored=False)
    torch.testing.assert_close(both(images.flip(3)), both(images))
    assert not torch.allclose(one(images.flip(3)), one(images), atol=1e-3)
    expected = (one.features(images) + one.features(images.flip(3))) / 2
    torch.testing.assert_close(both.features(images), expected)
    torch.testing.assert_close(both(images), both.network.head(both.features(images)))


def test_images_are_scaled_to_the_range_of_training():
    judge, images = made(), pictures(2)
    x = images.float() / 127.5 - 1
    torch.testing.assert_close(judge(images), judge.network(x))
    assert judge.size == 16


def test_images_of_another_size_are_one_line():
    with pytest.raises(DataError, match=r"images of 8 x 16 px.* reads 16 x 16 px; resize them"):
        made()(torch.zeros(1, 3, 16, 8, dtype=torch.uint8))


def test_no_image_is_refused_by_name_and_not_by_a_crash():
    with pytest.raises(DataError, match="no images"):
        made()(torch.zeros(0, 3, 16, 16, dtype=torch.uint8))


def test_a_classifier_survives_a_file_and_so_does_its_digest(tmp_path):
    judge, images = made("depthwise", mirrored=True), pictures(3)
    judge.save(tmp_path / "judge")
    again = classifier.load(tmp_path / "judge")
    assert torch.equal(again(images), judge(images))
    assert (again.classes, again.digest, len(again.digest)) == (NAMES, judge.digest, 64)
    assert again.tree["classes"] == list(NAMES)
    judge.save(tmp_path / "half", dtype=torch.bfloat16)
    half = classifier.load(tmp_path / "half")
    assert half.digest != judge.digest
    torch.testing.assert_close(half(images), judge(images), rtol=0.1, atol=0.1)
    small, large = (
        (tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "judge")
    )
    assert small < 0.8 * large


def test_the_digest_is_of_all_that_decides():
    judge = made()
    same = {made().digest, judge.digest}
    others = {made("depthwise").digest, made(mirrored=True).digest, made(size=8).digest}
    renamed = replace(judge, classes=("cat", "flag", "ant")).digest
    with torch.no_grad():
        judge.network.head.bias[0] += 1e-6
    moved = replace(judge).digest
    assert len(same) == 1
    assert len(same | others | {renamed, moved}) == 6


def test_names_must_be_as_many_as_classes():
    with pytest.raises(ConfigError, match="classes: 2 names for a network of 3 classes"):
        replace(made(), classes=NAMES[:2])


def test_a_generator_is_not_taken_for_a_classifier_nor_the_reverse(tmp_path):
    made().save(tmp_path / "mine")
    with pytest.raises(CheckpointError, match=r"a classifier model, but a diffusion .* emoji-dit"):
        generator.load(tmp_path / "mine")
    with pytest.raises(CheckpointError, match=r"emoji-dit: a diffusion model, .* emoji-judge"):
        classifier.load("emoji-dit")
    with pytest.raises(CheckpointError, match="did you mean digits-judge"):
        classifier.load("digit-judge")


def test_a_diffusion_network_is_no_classifier_nor_the_reverse():
    shape = {"channels": 3, "size": [8, 8], "num_classes": 2}
    dit = {"kind": "dit", "width": 16, "depth": 1, "heads": 2, "patch": 4} | shape
    with pytest.raises(ConfigError, match="network: "):
        config.load("model", {"kind": "classifier", "network": dit})
    with pytest.raises(ConfigError, match="network: "):
        config.load("model", {"kind": "diffusion", "network": NETWORKS["residual"] | shape})


class Reader:
    """Takes an image's first pixel for its class."""

    classes = NAMES

    def __call__(self, images):
        return 5.0 * torch.nn.functional.one_hot(images[:, 0, 0, 0].long(), 3)


def test_a_table_counts_what_was_taken_for_what():
    shown, taken = torch.tensor([0, 0, 0, 0, 2, 2]), torch.tensor([0, 0, 1, 2, 2, 0])
    images = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0] = taken
    data = InMemory.of(images, shown, NAMES)
    found = Confusion.of(Reader(), data, torch.arange(6))
    assert found.table.tolist() == [[2, 1, 1], [0, 0, 0], [1, 0, 1]]
    assert found.accuracy == 0.5
    assert found.by_class == [0.5, None, 0.5]
    part = Confusion.of(Reader(), data, torch.tensor([0, 1, 3, 5]))
    assert part.accuracy == 0.5
    assert part.mean_accuracy == pytest.approx((2 / 3 + 0) / 2)
    right, wrong = (
        torch.nn.functional.cross_entropy(5.0 * torch.eye(3)[:1], torch.tensor([k])) for k in (0, 1)
    )
    assert part.loss == pytest.approx(float(right + wrong) / 2, rel=1e-6)


def test_the_zoo_can_be_asked_by_kind():
    everything = checkpoint.zoo()
    kinds = ("classifier", "diffusion", "masked", "tokenizer")
    judges, generators, masked, tokenizers = map(checkpoint.zoo, kinds)
    assert {f"{data}-{role}" for data in HELD_OUT for role in ROLES} <= judges.keys()
    assert "emoji-dit" in generators
    assert {"emoji-vq", "emoji-vitok"} == tokenizers.keys()
    assert "emoji-maskgit" in masked
    assert everything == judges | generators | masked | tokenizers
    assert len(everything) == sum(map(len, (judges, generators, masked, tokenizers)))


@pytest.mark.parametrize("data", HELD_OUT)
def test_a_judge_is_as_good_as_its_card_says_and_as_was_asked(data):
    judge = classifier.load(f"{data}-judge")
    said = judge.tree["held_out"]
    found = judge.measured().tree["held_out"]
    assert found["mean_accuracy"] >= HELD_OUT[data]
    assert found["mean_accuracy"] == pytest.approx(said["mean_accuracy"], abs=0.004)
    assert found["accuracy"] == pytest.approx(said["accuracy"], abs=0.004)
    card = (checkpoint.zoo()[f"{data}-judge"] / "README.md").read_text("utf-8")
    assert f"{said['accuracy']:.1%} of {said['images']:,} images" in card


@pytest.mark.parametrize("data", HELD_OUT)
def test_the_judge_is_never_the_guide(data):
    judge, guide = (classifier.load(f"{data}-{role}") for role in ROLES)
    assert judge.classes == guide.classes
    assert type(judge.model.network) is not type(guide.model.network)
    seeds = [each.tree["provenance"]["recipe"]["train"]["seed"] for each in (judge, guide)]
    assert seeds[0] != seeds[1]
    assert guide.tree["held_out"]["mean_accuracy"] >= GUIDES[data]


def test_the_shipped_classifiers_are_small():
    folders = [path for name, path in checkpoint.zoo("classifier").items()]
    sizes = [file.stat().st_size for folder in folders for file in folder.iterdir()]
    assert sum(sizes) < 8e6
    for folder in folders:
        assert json.loads((folder / "config.json").read_text())["provenance"]["data_digest"]


def test_a_committee_says_the_mean_of_what_its_members_say(tmp_path):
    members = [made("residual", mirrored=True), made("depthwise", mirrored=True)]
    together, images = classifier.committee(members), pictures(5)
    expected = torch.stack([member(images) for member in members]).mean(0)
    torch.testing.assert_close(together(images), expected)
    apart = [member.features(images) for member in members]
    torch.testing.assert_close(together.features(images), torch.cat(apart, 1))
    together.save(tmp_path)
    assert torch.equal(classifier.load(tmp_path)(images), together(images))
    assert len(together.tree["provenance"]["members"]) == 2


def test_a_committee_wants_members_of_one_kind():
    for other, word in ((made(size=8), "size"), (made(mirrored=True), "mirrors")):
        with pytest.raises(ConfigError, match=word):
            classifier.committee([made(), other])
