"""What a run is watched by: log lines, trackers, loss by level, held-out loss, sheets, folders."""

import json
import math

import pytest
import torch
from PIL import Image

from mezzotint.data.draw import grid
from mezzotint.errors import MissingExtraError, OutputError
from mezzotint.run import move_aside, stopping
from mezzotint.training import track
from mezzotint.training.loop import State
from mezzotint.training.objectives import Groups, level
from mezzotint.training.track import Lines, TensorBoard
from mezzotint.training.watch import Window, by_group
from tests.tiny import finish, tiny


class Notebook:
    """A tracker that remembers."""

    def __init__(self):
        self.pages, self.closed = [], 0

    def log(self, step, values):
        self.pages.append((step, dict(values)))

    def close(self):
        self.closed += 1


def test_levels_are_fifths_of_the_time():
    t = torch.tensor([0.01, 0.2, 0.21, 0.55, 0.95, 1.0], dtype=torch.float64)
    each = torch.tensor([1.0, 3.0, 5.0, 7.0, 9.0, 11.0])
    group = level(t)
    assert by_group(each, group, 5) == [2.0, 5.0, 7.0, None, 10.0]
    window = Window.of(5)
    window.add(State(loss=float(each.mean()), each=each, group=group))
    window.add(State(loss=math.nan, each=each, group=group, skipped=True))
    assert window.summary(Groups("level", 5)) == {
        "loss": 6.0,
        "loss_by_level": [2.0, 5.0, 7.0, None, 10.0],
        "skipped": 1,
    }


def test_a_tracker_gets_what_the_file_gets(tmp_path):
    notebook = Notebook()
    finish(tiny(tmp_path, trackers=[notebook]))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [{"step": step, **values} for step, values in notebook.pages] == lines
    assert [step for step, _ in notebook.pages] == [3, 5, 6, 9, 10, 12]
    assert {"loss", "loss_by_level", "lr", "norm", "seen", "seconds"} <= lines[0].keys()
    assert {"held_out", "held_out_by_level"} <= lines[1].keys()
    assert notebook.closed == 1
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == [
        "step_000000007.png",
        "step_000000012.png",
    ]
    with Image.open(tmp_path / "samples" / "step_000000012.png") as picture:
        assert picture.format == "PNG"
    card = (tmp_path / "README.md").read_text()
    assert "(samples/step_000000012.png)" in card


def test_the_held_out_loss_is_that_of_the_average_and_never_changes(tmp_path):
    run = tiny(tmp_path)
    for _ in run.steps():
        pass
    first, second = run.averaged.held_out(run.held_out), run.averaged.held_out(run.held_out)
    assert first == second
    live = run.recipe.objective(run.network, run.ranks.device)
    with torch.no_grad():
        run.ema.restart()
    assert run.averaged.held_out(run.held_out) != first
    assert live.denoiser.network is run.network


def test_a_run_may_look_at_no_held_out_image(tmp_path):
    finish(tiny(tmp_path, "train.validate_images=0"))
    assert "held_out" not in (tmp_path / "metrics.jsonl").read_text()


def test_half_a_line_and_later_lines_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\nnull\n{"step": 2, "a": {"b": 1}')
    lines = Lines(path, 2)
    lines.log(3, {"loss": math.nan, "levels": [1.0, math.inf], "deep": {"x": -math.inf}})
    assert path.read_text().splitlines() == [
        '{"step": 1}',
        '{"step": 2}',
        '{"step": 3, "loss": null, "levels": [1.0, null], "deep": {"x": null}}',
    ]


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    lines = Lines(tmp_path / "metrics.jsonl", 0)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"metrics\.jsonl: cannot be written"):
        lines.log(1, {})


def test_tensorboard_gets_every_number(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    finish(tiny(tmp_path / "run", trackers=[TensorBoard(tmp_path / "tensorboard")]))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    curves = events.Tags()["scalars"]
    assert {"loss", "lr", "norm", "held_out", "held_out_by_level/0"} <= set(curves)
    assert [event.step for event in events.Scalars("loss")] == [3, 6, 9, 12]


def test_tensorboard_that_is_missing_is_named_with_its_command(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(track, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'mezzotint\[track\]'"):
        TensorBoard(tmp_path)


def test_a_folder_is_moved_aside_and_nothing_is_lost(tmp_path):
    assert move_aside(tmp_path / "run") is None
    for number in (1, 2):
        (tmp_path / "run").mkdir()
        assert move_aside(tmp_path / "run") == tmp_path / f"run.{number}"


@pytest.mark.parametrize("name", ["two\nlines", "x" * 500, "  ", "日本"])
def test_a_sheet_takes_any_name(name):
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert grid(images, columns=2, names=[name]).width < 400


def test_without_a_signal_nobody_asks():
    with stopping() as stop:
        assert not stop()
