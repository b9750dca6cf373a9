"""PPAP: low-rank layers, adapted networks, ranges, losses and a guided chain (ppap.md)."""

from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from mezzotint.diffusion.critics import ClassifierCritic, Experts, gradient
from mezzotint.diffusion.denoiser import Clamped, NetworkDenoiser
from mezzotint.diffusion.paths import DiscreteVP
from mezzotint.diffusion.predictions import LearnedRange
from mezzotint.diffusion.samplers import DDIM, Ancestral
from mezzotint.diffusion.steering import Steered
from mezzotint.networks.adapters import PUBLISHED, AdapterConfig, Blocks, adapt
from mezzotint.nn.lowrank import BlockConv, LowRank, LowRankLinear
from mezzotint.noise import TapeNoise
from mezzotint.official.ppap import (
    STUDENTS,
    TEACHERS,
    boundaries,
    from_official,
    partition,
    to_official,
    training_ranges,
)
from mezzotint.training.knowledge import Sharpened, Squared
from tests.golden.case import Case, checks
from tests.golden.check_dit import grid_of, indices, stacked

ATOL = 1e-5
NO_LABELS = torch.zeros(1, dtype=torch.long)


# layers ------------------------------------------------------------------------------------------


@checks("ppap", r"peft/lora\.py", "state/*.lora_A", "output/*_unmerged")
def lora_layers(case: Case) -> None:
    for k, (width, out, rank, alpha, bias) in enumerate(case.config["linear"]):
        linear = LowRankLinear(nn.Linear(width, out, bias=bias), rank, 1.0)
        compare_layer(case, f"linear{k}", "linear", linear, alpha / rank)
    for k, (width, out, kernel, stride, pad, rank, alpha, bias) in enumerate(case.config["convs"]):
        base = nn.Conv2d(width, out, kernel, stride, pad, bias=bias)
        compare_layer(case, f"conv{k}", "conv", BlockConv(base, rank, alpha / rank), alpha / rank)


def compare_layer(case: Case, name: str, inside: str, layer: LowRank, scale: float) -> None:
    """Compare what scripts run, and the merged weight, which always has the scale."""
    state = {
        key.replace(f"{inside}.", "base."): v for key, v in case.under(f"state/{name}.").items()
    }
    layer.load_state_dict(state)
    x = case.input(name)
    with torch.no_grad():
        case.expect(f"{name}_unmerged", layer(x), atol=ATOL)
        layer.scale = scale
        case.expect(f"{name}_merged", layer(x), atol=ATOL)
        case.expect(f"{name}_merged_weight", layer.merged(), atol=ATOL)
        case.expect(f"{name}_delta_unscaled", layer.delta(), atol=ATOL)
        case.expect(f"{name}_delta_scaled", scale * layer.delta(), atol=ATOL)


# adapted networks --------------------------------------------------------------------------------


def narrow_resnet(config: dict[str, Any]) -> nn.Module:
    """Return torchvision's network with other widths."""
    block: Any = {"Bottleneck": Bottleneck, "BasicBlock": BasicBlock}[config["block"]]
    model = ResNet(block, [1, 1, 1, 1], num_classes=config["num_classes"])
    stem, planes, depths = config["stem"], config["planes"], config["depths"]
    model.inplanes = stem
    model.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
    model.bn1 = nn.BatchNorm2d(stem)
    for k, (width, depth) in enumerate(zip(planes, depths, strict=True)):
        layer = model._make_layer(block, width, depth, stride=1 if k == 0 else 2)
        setattr(model, f"layer{k + 1}", layer)
    model.fc = nn.Linear(planes[-1] * block.expansion, config["num_classes"])
    return model


def adapted(network: nn.Module, case: Case, placement: AdapterConfig, prefix: str) -> nn.Module:
    """Adapt, fill and compare the list of what is trained."""
    sizes = {"rank": case.config["gamma"], "alpha": float(case.config["lora_alpha"])}
    config = placement.model_copy(update=sizes | {"convolutions": Blocks()})
    trained = adapt(network, config)
    network.load_state_dict(from_official(case.state))
    names = list(to_official(dict.fromkeys(trained, torch.empty(0)) | network.state_dict(), prefix))
    wanted = set(case.config["trainable"])
    official = {
        key
        for key, name in zip(names, dict.fromkeys(trained) | network.state_dict(), strict=True)
        if name in set(trained)
    }
    assert official == wanted, sorted(official ^ wanted)[:5]
    again = to_official(network.state_dict(), prefix)
    assert again.keys() == case.state.keys()
    return network.eval()


def guided_gradient(classify: Any, case: Case) -> Tensor:
    x, y = case.input("x"), case.input("y")
    t = torch.full((len(x),), 0.5, dtype=torch.float64)
    return gradient(ClassifierCritic(classify), x, t, y)


@checks("ppap", r"AdapterWrapperResNet", "state/resnet.conv1.lora_A", "output/logits_eval")
def resnet_adapter(case: Case) -> None:
    model = adapted(narrow_resnet(case.config), case, PUBLISHED["resnet"], "resnet.")
    student = STUDENTS["resnet"]
    with torch.no_grad():
        case.expect("logits_eval", model(student(case.input("x"))), atol=ATOL)
    compare_gradients(case, lambda x: model(student(x)))
    transferred(case, model)


def compare_gradients(case: Case, classify: Any) -> None:
    """Compare the gradient at every scale that a name tells, 1 where it tells none."""
    for name in case.outputs("cond_grad*"):
        scale = float(name.removeprefix("cond_grad_scale")) if "_scale" in name else 1.0
        case.expect(name, scale * guided_gradient(classify, case), atol=ATOL)


def transferred(case: Case, model: nn.Module) -> None:
    """Compare one step of the transfer from the frozen teacher on clean images."""
    if "input/clean" not in case.tensors:
        return
    teacher = narrow_resnet(case.config).eval()
    plain = {k.replace(".base.", "."): v for k, v in model.state_dict().items() if "lora_" not in k}
    teacher.load_state_dict(plain)
    clean, eps = case.input("clean"), case.input("q_noise")
    chain = DiscreteVP()
    scales = chain.at((case.input("t") + 1).double() / chain.steps, clean)
    x = scales.alpha * clean + scales.sigma * eps
    case.expect("x_t", x, atol=ATOL)
    x = case.tensors.get("output/x_t", x)  # its last bit is felt after norms over three images
    with torch.no_grad():
        wanted = teacher(TEACHERS["resnet"](clean))
    case.expect("teacher_logits", wanted, atol=ATOL)
    model.train()
    found = model(STUDENTS["resnet"](x))
    case.expect("student_logits_train", found, atol=ATOL)
    each = Sharpened()(found, wanted)
    case.expect("kd_per_sample", each, atol=ATOL)
    case.expect("kd_mean", each.mean(), atol=ATOL)
    after = to_official(model.state_dict(), "resnet.")
    for name in case.outputs("after_train_forward/*"):
        case.expect(name, after[name.partition("/")[2]], atol=ATOL)
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.05
    )
    each.mean().backward()
    slopes = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    official = to_official(model.state_dict() | slopes, "resnet.")
    for name in case.outputs("grad/*"):
        # The recorded ones are 2e-5 from those of float64, ours 3e-5: norms over three images.
        case.expect(name, official[name.partition("/")[2]], atol=ATOL, of_max=1e-4)
    optimiser.step()
    after = to_official(model.state_dict(), "resnet.")
    before = model.state_dict()
    heard = {
        new
        for new, old in zip(to_official(before, "resnet."), before, strict=True)
        if old in slopes
    }
    for name in case.outputs("after_adamw/*"):
        key = name.partition("/")[2]
        after_step(case, name, after[key], official[key].abs() if key in heard else None)


def after_step(case: Case, name: str, actual: Tensor, slope: Tensor | None) -> None:
    """Compare at 1e-6 where the gradient has a sign to speak of; Adam's first step is all sign."""
    wanted = case.tensors[f"output/{name}"]
    gap = (actual - wanted).abs()
    case.compared.add(name)
    loud = torch.ones_like(gap, dtype=torch.bool) if slope is None else slope > 1e-6
    assert float(gap[loud].max() if bool(loud.any()) else 0.0) <= 1e-6, name
    assert float(gap.max()) <= 2.1e-4, name


@checks("ppap", r"AdapterWrapperDEIT", "state/deit.classifier.*.lora_A", "output/logits_eval")
def deit_adapter(case: Case) -> None:
    config = case.config
    model: Any = VisionTransformer(
        img_size=224,
        patch_size=config["patch_size"],
        embed_dim=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        num_classes=config["num_classes"],
    )
    adapted(model, case, PUBLISHED["deit"], "deit.classifier.")
    student, x = STUDENTS["deit"], case.input("x")
    with torch.no_grad():
        case.expect("logits_eval", model(student(x)), atol=ATOL)
    compare_gradients(case, lambda x: model(student(x)))
    layers = [each for each in model.modules() if isinstance(each, LowRank)]
    with torch.no_grad():
        for each in layers:
            each.scale = config["lora_alpha"] / config["gamma"]
        case.expect("logits_if_merged", model(student(x)), atol=ATOL)
        for each in layers:
            each.scale = 0.0
        bare = STUDENTS["deit"].__class__(normalise=False, size=224)
        case.expect("logits_finetune_style_no_normalise", model(bare(x)), atol=ATOL)


# ranges and losses -------------------------------------------------------------------------------


@checks("ppap", r"multi_expert_helper", "output/index_N*", "input/t")
def expert_index(case: Case) -> None:
    steps = case.config["T"]
    clock = (case.input("t") + 1).double() / steps
    for count in case.config["N"]:
        used = partition(count, steps, closed=True).rooms_of(clock)
        case.expect(f"index_N{count}", used, atol=0.0)
        case.expect(f"step_range_N{count}", torch.tensor(boundaries(count, steps)), atol=0.0)
        ranges = training_ranges(count, steps)
        case.expect(f"train_range_N{count}", torch.tensor(ranges), atol=0.0)
        trained = partition(count, steps).rooms_of(clock)
        for n, (low, high) in enumerate(ranges):
            within = (case.input("t") >= low) & (case.input("t") < high)
            assert set(trained[within].tolist()) <= {n}
    for name in case.outputs("dd*_timesteps"):
        walk = name.removesuffix("_timesteps")
        spec = walk if walk.startswith("ddim") else walk.removeprefix("ddpm")
        chain = DiscreteVP(steps=steps)
        kept = indices(chain, grid_of(chain, spec))
        order = kept if case.tensors[f"output/{name}"][0] == kept[0] else kept.flip(0)
        case.expect(name, order, atol=0.0)
        for other in case.outputs(f"{walk}_expert_N*"):
            count = int(other.rpartition("N")[2])
            rooms = partition(count, steps, closed=True).rooms_of((order + 1).double() / steps)
            case.expect(other, rooms, atol=0.0)


@checks("ppap", r"classifier_train", "input/student_logits", "output/kd_mean")
def distillation_losses(case: Case) -> None:
    temperature = case.config["teacher_temperature"]
    teacher = case.input("teacher_logits")
    case.expect("teacher_probs", (teacher / temperature).softmax(1), atol=ATOL)
    logits = case.input("student_logits").requires_grad_()
    each = Sharpened(temperature)(logits, teacher)
    case.expect("kd_per_sample", each, atol=ATOL)
    case.expect("kd_mean", each.mean(), atol=ATOL)
    (slope,) = torch.autograd.grad(each.mean(), logits)
    case.expect("grad_student", slope, atol=ATOL)
    if "input/student_depth" in case.tensors:
        depth = case.input("student_depth").requires_grad_()
        each = Squared()(depth, case.input("teacher_depth"))
        case.expect("depth_per_sample", each, atol=ATOL)
        case.expect("depth_mean", each.mean(), atol=ATOL)
        (slope,) = torch.autograd.grad(each.mean(), depth)
        case.expect("grad_depth", slope, atol=ATOL)
    if "input/y" in case.tensors:
        critic = ClassifierCritic(lambda x: x)
        t = torch.zeros(len(logits), dtype=torch.float64)
        case.expect("ce_per_sample", -critic(logits, t, case.input("y")), atol=ATOL)


# a chain -----------------------------------------------------------------------------------------


class Linearly:
    """An expert of these cases: logits = W tanh(x) + b."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return torch.tanh(x.flatten(1)) @ self.weight.T + self.bias


@checks("ppap", r"classifier_sample", "state/experts.W", "input/x_T", "output/samples")
def guided_chain(case: Case) -> None:
    config, chain = case.config, DiscreteVP()
    weight, bias = case.state["model.weight"], case.state["model.bias"]
    network = lambda x, time, y: torch.conv2d(x, weight, bias, padding=1)  # noqa: E731
    plain: Any = NetworkDenoiser(network, chain, LearnedRange())
    if config.get("clip_denoised", True):
        plain = Clamped(plain)
    pieces = [
        ClassifierCritic(Linearly(w, b))
        for w, b in zip(case.state["experts.W"], case.state["experts.b"], strict=True)
    ]
    rooms = partition(config["N"], closed=True)
    steered = Steered(plain, Experts(pieces, rooms), config["scale"])
    grid = grid_of(chain, config["respacing"])
    case.expect("timesteps", indices(chain, grid).flip(0), atol=0.0)
    case.expect("expert_used", rooms.rooms_of(grid[:-1]), atol=0.0)
    x, y = case.input("x_T"), case.input("y")
    samplers: dict[str, Any] = {
        "ddim": DDIM(config.get("eta", 0.0), single=True),
        "ddpm": Ancestral(),
    }
    noise = TapeNoise(case.tensors.get("input/noises", torch.empty(0)))
    steps = list(samplers[config["sampler"]](steered, x, y, grid, noise))
    case.expect("samples", stacked(steps), of_max=ATOL)
    pushes = torch.stack([s.estimate.push for s in steps if s.estimate.push is not None])
    for name in ("cond_grads",):
        case.expect(name, pushes, of_max=ATOL)
