"""Feature rows on disk: the same however they were made, continued after a stop, never stale."""

from dataclasses import dataclass, field, replace

import pytest
import torch

from mezzotint.errors import DataError, OutputError
from mezzotint.evaluation import extract as module
from mezzotint.evaluation.extract import extract
from mezzotint.evaluation.features import Readout
from tests.evaluating import Patches, pictures


@dataclass
class Counting:
    """An extractor that counts what it reads and stops when it has had enough."""

    inner: Patches = field(default_factory=Patches)
    read: int = 0
    limit: int = 10**9
    distance: str = "FD-patches"
    digest: str = "patches"
    classes: tuple[str, ...] = ()

    def __call__(self, images):
        if self.read + len(images) > self.limit:
            raise KeyboardInterrupt
        self.read += len(images)
        return self.inner(images)


@dataclass(frozen=True)
class Rank:
    """One of several processes that do not wait: the test calls them one after the other."""

    rank: int
    count: int

    def wait(self):
        pass

    def total(self, values):
        return values


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 4)


def test_rows_are_what_the_extractor_says(tmp_path):
    images = pictures(10)
    found = extract(images, Patches(), tmp_path)
    expected = Patches()(images.pixels)
    assert found.features.equal(expected.features)
    assert found.logits.equal(expected.logits)
    assert found.spatial is None
    assert found.labels.equal(images.labels)


def test_a_set_is_read_once(tmp_path):
    first = Counting()
    extract(pictures(10), first, tmp_path)
    again = Counting()
    found = extract(pictures(10), again, tmp_path)
    assert (first.read, again.read) == (11, 0)  # one picture more, to know the widths
    assert len(found) == 10


def test_other_pictures_rows_or_weights_are_read_anew(tmp_path):
    extract(pictures(10), Counting(), tmp_path)
    for images, extractor, rows in (
        (pictures(10, seed=1), Counting(), None),
        (pictures(10), Counting(digest="other weights"), None),
        (pictures(10), Counting(), torch.arange(10).flip(0)),
    ):
        found = extract(images, extractor, tmp_path, rows=rows)
        assert extractor.read == 11
        chosen = images.pixels if rows is None else images.pixels[rows]
        assert found.features.equal(Patches()(chosen).features)


def test_a_killed_reading_goes_on(tmp_path):
    images = pictures(10)
    with pytest.raises(KeyboardInterrupt):
        extract(images, Counting(limit=6), tmp_path)
    rest = Counting()
    found = extract(images, rest, tmp_path)
    assert rest.read == 6  # the first block was there
    assert found.features.equal(Patches()(images.pixels).features)


def test_ranks_share_the_blocks(tmp_path):
    images = pictures(10)
    first, second = Counting(), Counting()
    with pytest.raises(AssertionError, match="blocks are missing"):  # it did not wait
        extract(images, first, tmp_path, group=Rank(0, 2))
    extract(images, second, tmp_path, group=Rank(1, 2))
    assert (first.read, second.read) == (7, 4)  # blocks 0 and 2, and the first picture; block 1
    rest = Counting()
    assert extract(images, rest, tmp_path).features.equal(Patches()(images.pixels).features)
    assert rest.read == 0


def test_writing_to_what_was_read_changes_nothing_on_disk(tmp_path):
    images = pictures(10)
    extract(images, Patches(), tmp_path).features.zero_()
    assert extract(images, Patches(), tmp_path).features.equal(Patches()(images.pixels).features)


def test_a_number_that_is_not_finite_names_its_picture(tmp_path):
    class Broken(Patches):
        def __call__(self, images):
            seen = super().__call__(images)
            features = seen.features.clone()
            features[-1, 3] = float("nan")
            return Readout(features, seen.logits)

    with pytest.raises(DataError, match=r"^image 3: FD-patches gives features .* not finite"):
        extract(pictures(10), replace(Broken(), digest="broken"), tmp_path)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        extract(pictures(10), Patches(), tmp_path / "file")


def test_a_set_that_another_process_reads_at_the_same_time_is_left_alone(tmp_path):
    images = pictures(10)

    class Overtaken(Patches):
        """While its first picture is read, another process reads the whole set."""

        def __call__(self, batch):
            if len(batch) == 1:
                extract(images, Patches(), tmp_path)
            return super().__call__(batch)

    found = extract(images, Overtaken(), tmp_path)
    assert found.features.equal(Patches()(images.pixels).features)
    assert not list(tmp_path.glob(".*"))
