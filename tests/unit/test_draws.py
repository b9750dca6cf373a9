"""Samples in shards: classes by their shares, the same images however they were drawn."""

import json
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.data.shards import open_shards
from mezzotint.draws import Draws, apportioned
from mezzotint.errors import ConfigError, OutputError
from tests.tiny import finish, tiny


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return finish(tiny(tmp_path_factory.mktemp("run"))).product()


def test_equal_shares_take_turns():
    assert apportioned((1, 1, 1), 7) == [0, 1, 2, 0, 1, 2, 0]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any),
    st.integers(1, 200),
)
def test_every_stretch_from_the_start_has_its_shares(shares, count):
    found = apportioned(shares, count)
    assert found == apportioned(shares, 2 * count)[:count]
    for n in range(1, count + 1):
        for label, share in enumerate(shares):
            ideal = n * share / sum(shares)
            assert abs(found[:n].count(label) - ideal) < max(len(shares) - 1, 1)
    assert all(found.count(label) == 0 for label, share in enumerate(shares) if not share)


def drawn(draws):
    draws.open()
    assert sum(draws.draw()) == draws.count
    return open_shards(draws.folder, draws.count, draws.generator.classes)


def test_images_are_those_of_their_class_and_seed(generator, tmp_path):
    shares = (3, 1, *[0] * (len(generator.classes) - 2))
    found = drawn(Draws(generator, "tiny", tmp_path, 300, seed=7, batch=50, shares=shares))
    assert found.labels[:8].tolist() == [0, 0, 1, 0, 0, 0, 1, 0]
    for row in (0, 1, 257, 299):
        alone = generator.sample([int(found.labels[row])], seeds=7 + row)
        difference = (found.read(torch.tensor([row])).int() - alone.int()).abs()
        assert difference.max() <= 1  # a batch of another size rounds otherwise


def test_what_is_there_is_not_drawn_again(generator, tmp_path):
    draws = Draws(generator, "tiny", tmp_path, 300)
    drawn(draws)
    assert draws.open() == 300
    assert list(draws.draw()) == []
    longer = Draws(generator, "tiny", tmp_path, 520)
    assert longer.open() == 256
    assert list(longer.draw()) == [256, 8]


def test_other_samples_and_other_things_are_left_alone(generator, tmp_path):
    Draws(generator, "tiny", tmp_path, 10).open()
    for other in (
        Draws(generator, "other", tmp_path, 10),
        Draws(generator.with_sampling(steps=7), "tiny", tmp_path, 10),
        Draws(generator, "tiny", tmp_path, 10, seed=1),
        Draws(generator, "tiny", tmp_path, 10, shares=(1,) * len(generator.classes)),
    ):
        with pytest.raises(ConfigError, match="holds samples made with another"):
            other.open()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(OutputError, match="holds something else"):
        Draws(generator, "tiny", tmp_path / "mine", 10).open()


def test_a_folder_of_a_version_without_a_setting_goes_on(generator, tmp_path):
    draws = Draws(generator, "tiny", tmp_path, 10)
    drawn(draws)
    manifest = tmp_path / "manifest.json"
    held = json.loads(manifest.read_text())
    del held["sampling"]["direction"], held["sampling"]["channels"]
    manifest.write_text(json.dumps(held))
    assert draws.open() == 10
    assert "direction" in json.loads(manifest.read_text())["sampling"]
    held["sampling"]["steps"] += 1
    manifest.write_text(json.dumps(held))
    with pytest.raises(ConfigError, match="made with another sampling"):
        draws.open()


def test_ranks_share_the_shards(generator, tmp_path):
    draws = Draws(generator, "tiny", tmp_path, 600)
    draws.open()
    shares = [sum(draws.draw(rank=rank, ranks=2)) for rank in range(2)]
    assert shares == [256 + 88, 256]
    assert draws.missing() == 0
    names = sorted(path.name for path in tmp_path.glob("shard-*"))
    assert all(one < other for one, other in pairwise(names))
    assert len(names) == 3
