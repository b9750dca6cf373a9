"""Diffusion Classifier: errors, stages, predictions and pairs (diffusion_classifier.md)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mezzotint.classify.contest import Contest, Recorded
from mezzotint.classify.evidence import Evidence
from mezzotint.classify.labelling import Candidates
from mezzotint.classify.measures import Absolute, Bound, Huber, Measure, Squared, Surprise, Total
from mezzotint.classify.pairs import Pairs
from mezzotint.classify.schedules import Exhaustive, Official
from mezzotint.classify.times import Strided
from mezzotint.diffusion.betas import LinearBetas, ScaledLinearBetas
from mezzotint.diffusion.denoiser import Denoiser, NetworkDenoiser
from mezzotint.diffusion.paths import DiscreteVP
from mezzotint.diffusion.predictions import Eps, Leading, LearnedRange
from mezzotint.official.dit import config_from_official, from_official
from tests.golden.case import Case, checks
from tests.golden.check_dit import chain_of

ERROR = 1e-5
SURPRISE = 1e-3  # a changed order of sums already moves it by 1e-4
LOSSES: dict[str, Any] = {"l1": Absolute(), "l2": Squared(), "huber": Huber()}


def denoiser(case: Case, path: DiscreteVP, prediction: Any) -> NetworkDenoiser:
    model, rows = case.config["model"], len(case.state["y_embedder.embedding_table.weight"])
    null = rows > model["num_classes"]
    network = config_from_official(case.state, null_row=null, heads=model["num_heads"]).build()
    network.eval()
    network.load_state_dict(from_official(case.state))
    return NetworkDenoiser(network, path, prediction)


@dataclass(frozen=True)
class Tabled:
    """The variances of a table of signals, such as that of a schedule we do not have."""

    table: tuple[float, ...]

    def betas(self, steps: int) -> Tensor:
        signal = torch.tensor((1.0, *self.table), dtype=torch.float64)
        assert len(signal) == steps + 1
        return 1 - signal[1:] / signal[:-1]


def chain(case: Case) -> DiscreteVP:
    """Return the chain of the case's table, whatever its config calls it."""
    table = case.input("alphas_cumprod")
    schedules = LinearBetas(), ScaledLinearBetas(), Tabled(tuple(table.tolist()))
    paths = [DiscreteVP(schedule, len(table)) for schedule in schedules]
    signals = [path.signal[1:].to(table) for path in paths]
    fits = [torch.allclose(each, table, rtol=1e-4, atol=1e-9) for each in signals]
    return paths[fits.index(True)]


def every(count: int) -> Candidates:
    return Candidates(torch.arange(count), torch.arange(count))


@checks("diffusion_classifier", r"eval_prob_dit\.py", "output/errors", "output/prediction")
def classifier_dit(case: Case) -> None:
    config = case.config
    learned = config["diffusion"].get("learn_sigma", True)
    made = denoiser(case, chain_of(config["diffusion"]), LearnedRange() if learned else Eps())
    times, trials = Strided(config["t_interval"], steps_of(made)), config["n_trials"]
    plan = Exhaustive(times, trials).plan(made.path)
    index = (plan.t * steps_of(made)).round().long() - 1
    assert index[::trials].tolist() == case.input("timesteps").tolist()
    rows = torch.arange(len(index))
    if not config["randomize_noise"]:
        rows = rows % config["batch_size"]
    classes = config["model"]["num_classes"]
    mix = 0.0 if config["diffusion"].get("sigma_small") else 1.0  # where no variance was learned
    parts: dict[str, Measure] = {
        "l2": Squared(),
        "l1": Absolute(),
        "kl": Bound(mix),
        "nll": Surprise(mix),
    }

    def found(measure: Measure) -> Evidence:
        draws = Recorded(case.input("noise")[rows])
        contest = Contest(made, every(classes), Exhaustive(times, trials), measure, draws, batch=64)
        return contest(case.input("latents"))

    evidence = {name: found(measure) for name, measure in parts.items()}
    errors = torch.stack([each.errors for each in evidence.values()], -1)
    wanted = case.tensors["output/errors"]
    errors = errors.unflatten(2, (-1, trials))
    gaps = (errors - wanted).abs().flatten(0, -2).amax(0)
    assert (gaps <= torch.tensor([ERROR, ERROR, ERROR, SURPRISE])).all(), gaps
    case.expect("errors", errors, atol=SURPRISE)
    case.expect(
        "mean", torch.stack([each.means() for each in evidence.values()], -1), atol=SURPRISE
    )
    scored = [evidence["l2"], evidence["l1"], evidence["kl"], found(Total((Squared(), Bound(mix))))]
    scores = torch.stack([each.means() for each in scored], -1)
    case.expect("scores", scores, atol=ERROR)
    case.expect("prediction", torch.stack([each.winners() for each in scored], -1))
    l2 = scored[0].scores()
    elements = case.input("latents")[0].numel()
    case.expect("posterior_mean", (-l2).softmax(1), atol=ERROR)
    case.expect("posterior_sum", (-elements * l2).softmax(1), atol=elements * ERROR)


@checks("diffusion_classifier", r"eval_prob_adaptive\.py", "output/image0/errors", "input/noise")
def classifier_adaptive(case: Case) -> None:
    config = case.config
    trials = config["n_trials"]
    made = denoiser(case, chain(case), Leading(Eps()))
    stages = tuple(config["n_samples"]), tuple(config["to_keep"])
    schedule = Official(*stages, trials, steps_of(made))
    candidates = Candidates(case.input("prompt_cond"), case.input("prompt_class"))
    draws = Recorded(case.input("noise"))
    evidence = Contest(made, candidates, schedule, LOSSES[config["loss"]], draws)(
        case.input("latents")
    )
    index = (evidence.plan.t * steps_of(made)).round().long() - 1
    for image in range(len(evidence)):
        compare(case, evidence, image, index, len(config["to_keep"]))
    case.expect("prediction_prompt", evidence.winners())
    case.expect("prediction", evidence.owner[evidence.winners()])


def steps_of(made: Denoiser) -> int:
    assert isinstance(made.path, DiscreteVP)
    return made.path.steps


def compare(case: Case, evidence: Evidence, image: int, index: Tensor, stages: int) -> None:
    prefix = f"image{image}"
    errors = evidence.errors[image]
    there = ~errors.isnan()
    case.expect(f"{prefix}/timesteps", torch.where(there, index, -1))
    wanted = case.tensors[f"output/{prefix}/errors"]
    assert (wanted.isnan() == ~there).all()
    torch.testing.assert_close(errors, wanted, atol=ERROR, rtol=0, equal_nan=True)
    case.compared.add(f"{prefix}/errors")
    before = torch.arange(len(errors))
    for stage in range(stages):
        end = evidence.plan.ends[stage]
        means = evidence.plan.means(errors[None, before, :end].double())[0]
        case.expect(f"{prefix}/stage{stage}_mean_error", means, atol=ERROR)
        before = evidence.ranking(image, stage)
        case.expect(f"{prefix}/kept{stage}", before)


@checks("diffusion_classifier", r"run_winoground\.py", "output/errors", "output/correct")
def classifier_pairs(case: Case) -> None:
    config = case.config
    made = denoiser(case, chain(case), Leading(Eps()))
    times = Strided(config["t_interval"], steps_of(made))
    pairs = Pairs(made, times=times, draws=Recorded(case.input("noise")))
    found = pairs(case.input("latents"), case.input("captions"))
    case.expect("errors", found.errors, atol=ERROR)
    case.expect("score", found.scores, atol=ERROR)
    case.expect("correct", torch.stack([found.text, found.image, found.group], 1).long())
