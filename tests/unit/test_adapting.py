"""PPAP from start to end at tiny size: layers, placements, training, files, and what is refused."""

import copy
import inspect
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mezzotint import adapter_files, adapting, classifier, config, experts, generator
from mezzotint.adapting import Adapting
from mezzotint.errors import CheckpointError, ConfigError, NumericError
from mezzotint.networks.adapters import (
    PUBLISHED,
    AdapterConfig,
    Blocks,
    adapt,
    belonging,
    published,
    trained_share,
)
from mezzotint.nn.lowrank import BlockConv, ChannelConv, LowRankLinear
from mezzotint.official import ppap
from mezzotint.steering import steered
from mezzotint.training.experts import ExpertPlan, Transfer
from mezzotint.training.knowledge import Sharpened, Squared

PLAN = ExpertPlan(experts=2, images=6, sampling_steps=2, steps=3, batch=4, lr=1e-3)
GUIDE, MODEL = "digits-guide", "digits"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny generator of digits, trained for no time at all."""
    from tests.tiny import finish, tiny

    folder = tmp_path_factory.mktemp("generator") / "digits"
    finish(tiny(folder, "train.steps=1", "train.validate_images=0"))
    return str(folder)


def finished(model, folder, plan=PLAN):
    job = Adapting.of(GUIDE, model, plan, folder)
    return job, list(job.run())


# layers and placements ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", [BlockConv, ChannelConv])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(1, 1, 0), (3, 2, 1), (7, 2, 3)])
def test_a_low_rank_convolution_is_its_merged_one(form, kernel, stride, pad):
    base = nn.Conv2d(6, 8, kernel, stride, pad).double()
    layer = form(base, 4, 0.5).double()
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    assert torch.equal(layer(x), base(x)), "B is zero at first"
    nn.init.normal_(layer.lora_B)
    plain = nn.Conv2d(6, 8, kernel, stride, pad).double()
    plain.load_state_dict({"weight": layer.merged().detach(), "bias": base.bias.detach()})
    assert torch.allclose(layer(x), plain(x))
    assert not base.weight.requires_grad
    assert base.bias.requires_grad


def test_peft_s_form_is_two_convolutions():
    layer = ChannelConv(nn.Conv2d(6, 8, 3, 2, 1), 4, 0.5)
    nn.init.normal_(layer.lora_B)
    x = torch.randn(2, 6, 9, 9)
    narrow = nn.functional.conv2d(x, layer.lora_A, stride=2, padding=1)
    wanted = layer.base(x) + 0.5 * nn.functional.conv2d(narrow, layer.lora_B)
    assert torch.allclose(layer(x), wanted, atol=1e-5)


def test_both_forms_agree_for_kernels_of_one():
    one, other = (form(nn.Conv2d(6, 8, 1), 4, 0.5) for form in (BlockConv, ChannelConv))
    assert one.lora_A.numel() == other.lora_A.numel()
    assert one.lora_B.numel() == other.lora_B.numel()


def test_a_linear_layer_s_scale_is_applied():
    layer = LowRankLinear(nn.Linear(5, 4), 2, 3.0)
    nn.init.normal_(layer.lora_B)
    x = torch.randn(3, 5)
    assert torch.allclose(layer(x), x @ layer.merged().T + layer.base.bias, atol=1e-5)


@pytest.mark.parametrize(("name", "rank"), [("resnet", 16), ("resnet", 8)])
def test_the_published_share_of_resnet_50_is_counted(name, rank):
    """5.7 % at the default rank: ppap.md section 9, gate 4."""
    from torchvision.models import resnet50

    with torch.device("meta"):
        network = resnet50()
        own = sum(p.numel() for p in network.parameters())
        adapt(network, PUBLISHED[name].model_copy(update={"rank": rank, "convolutions": Blocks()}))
    assert trained_share(network) == ({16: 1_459_632, 8: 754_456}[rank], own)


def test_midas_small_is_known_by_its_names():
    """The table of ppap.md, 2.3: the last refinement's unused input is left alone."""
    names = [
        "pretrained.layer1.3.0.conv_dw",
        "pretrained.layer1.3.0.conv_pw",
        "pretrained.layer4.0.1.conv_pw",
        "pretrained.layer4.0.1.conv_pwl",
        *(f"scratch.layer{k}_rn" for k in (1, 2, 3, 4)),
        *(f"scratch.refinenet{k}.out_conv" for k in (1, 4)),
        *(f"scratch.refinenet{k}.resConfUnit{j}.conv1" for k in (1, 4) for j in (1, 2)),
        "scratch.output_conv.0",
    ]
    network = nn.Module()
    for name in names:
        *parents, leaf = name.split(".")
        at = network
        for part in parents:
            if part not in dict(at.named_children()):
                at.add_module(part, nn.Module())
            at = at.get_submodule(part)
        at.add_module(leaf, nn.Conv2d(4, 4, 1))
    network.pretrained.layer1.bn1 = nn.BatchNorm2d(4)
    trained = adapt(network, published(network))
    adapted = {name.removesuffix(".lora_A") for name in trained if name.endswith(".lora_A")}
    left = {"conv_dw", "conv_pwl", "refinenet4.resConfUnit1", "output_conv"}
    assert adapted == {n for n in names if not any(f"{part}." in f"{n}." for part in left)}
    assert {"pretrained.layer1.bn1.weight", "scratch.output_conv.0.bias"} <= set(trained)
    assert not any("refinenet4.resConfUnit1" in name for name in trained)


def test_a_network_of_ours_gets_the_general_placement():
    network = classifier.load(GUIDE).network
    found = published(network)
    x = torch.randn(2, 3, 8, 8)
    before = network(x)
    names = adapt(network, found)
    assert torch.allclose(network(x), before)
    assert not any(name.startswith("head") for name in names)
    assert any(".lora_A" in name for name in names)
    trained, own = trained_share(network)
    assert 0 < trained < own
    with pytest.raises(ConfigError, match=r"adapter.layers: 'nowhere\*' fits no linear layer"):
        adapt(network, AdapterConfig(layers=("nowhere*",)))


def test_batch_norm_s_statistics_belong_to_the_expert():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2)
    )
    adapt(network, published(network))
    names = belonging(network)
    assert {"1.running_mean", "1.running_var", "1.weight", "1.bias"} <= names.keys()


# knowledge ---------------------------------------------------------------------------------------


def test_the_gradient_of_the_transfer_is_q_minus_p_over_k():
    student = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 5, dtype=torch.float64)
    (slope,) = torch.autograd.grad(Sharpened()(student, teacher).mean(), student)
    wanted = (student.softmax(1) - (4 * teacher).softmax(1)) / (5 * 3)
    assert torch.allclose(slope, wanted)
    same = Sharpened(1.0)(teacher, teacher)
    assert torch.allclose(same, torch.zeros(3).double(), atol=1e-15)


def test_dense_outputs_are_taught_as_they_are():
    """A depth map: nothing but the network, its distance and a generator's images."""
    from mezzotint.diffusion.paths import Linear
    from mezzotint.tokenizers.base import Pixels

    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    images = torch.randint(0, 255, (6, 3, 8, 8), dtype=torch.uint8)
    plan = ExpertPlan(experts=2, steps=8, batch=6, lr=3e-2, knowledge=Squared())
    transfer = Transfer(network, images, Pixels(size=8), Linear(), lambda x: x, plan)
    before = [p.clone() for p in network.parameters()]
    losses = list(transfer.expert(1))
    assert losses[-1] < losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


# the whole way -----------------------------------------------------------------------------------


def test_experts_are_made_written_and_opened_as_one_critic(model, tmp_path):
    _, told = finished(model, tmp_path / "x")
    assert [at.what for at in told if at.done == at.total] == ["images", "expert 1", "expert 2"]
    found = experts.load(tmp_path / "x")
    assert found.classes == classifier.load(GUIDE).classes
    assert found.partition.cuts == (0.5,)
    x = torch.randn(3, 3, 8, 8)
    t = torch.tensor([0.1, 0.9, 0.5], dtype=torch.float64)
    y = torch.tensor([1, 2, 3])
    critic = found.critic()
    whole = critic(x, t, y)
    alone = torch.cat([critic(x[k : k + 1], t[k : k + 1], y[k : k + 1]) for k in range(3)])
    assert torch.allclose(whole, alone, atol=1e-5)
    by_hand = found.expert(1)(x[1:2]).log_softmax(1)[0, 2]
    assert torch.allclose(whole[1], by_hand, atol=1e-5)
    assert not torch.allclose(found.expert(0)(x), found.expert(1)(x))
    made = steered(generator.load(model), found, 2.0)
    images = made.sample(["3"], seeds=[0], steps=2)
    assert images.shape == (1, 3, 8, 8)
    assert not (tmp_path / "x" / adapting.MOMENTS).exists()


def test_the_files_are_peft_s(model, tmp_path):
    finished(model, tmp_path / "x")
    told = json.loads((tmp_path / "x" / "0" / "adapter_config.json").read_text("utf-8"))
    assert told["peft_type"] == "LORA"
    assert told["r"] == 16
    tensors = load_file(tmp_path / "x" / "0" / "adapter_model.safetensors")
    network = classifier.load(GUIDE).network
    for name in told["target_modules"]:
        layer = network.get_submodule(name)
        a = tensors[f"base_model.model.{name}.lora_A.weight"]
        assert tuple(a.shape[1:]) == tuple(layer.weight.shape[1:])
    names = set(map(adapter_files.from_peft, tensors))
    assert set(map(adapter_files.to_peft, names)) == tensors.keys()
    foreign = AdapterConfig(layers=("body.1.*",), convolutions=Blocks())
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    adapt(network, foreign.model_copy(update={"layers": ("0",)}))
    assert adapter_files.description(network, foreign, "somewhere")["peft_type"] == "PPAP"


def test_peft_reads_them_and_says_the_same(tmp_path):
    """Where peft is installed; it is no part of what the tests need."""
    peft = pytest.importorskip("peft", exc_type=ImportError)
    base = classifier.load(GUIDE).network
    student = copy.deepcopy(base)
    placement = published(student)
    adapt(student, placement)
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    adapter_files.write(tmp_path, student, placement, belonging(student), GUIDE)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path)).eval()
    x = torch.randn(2, 3, 8, 8)
    assert torch.allclose(theirs(x), student.eval()(x), atol=1e-5)


def test_the_same_again_goes_on_bit_for_bit(model, tmp_path):
    finished(model, tmp_path / "whole")
    job = Adapting.of(GUIDE, model, PLAN, tmp_path / "cut")
    for at in job.run():
        if at.what == "expert 2":
            break
    job, told = finished(model, tmp_path / "cut")
    assert {at.what for at in told} == {"expert 2"}
    for number in "01":
        one, other = (
            load_file(tmp_path / name / number / "adapter_model.safetensors")
            for name in ("whole", "cut")
        )
        assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ConfigError, match="another classifier, generator or plan"):
        finished(model, tmp_path / "cut", PLAN.model_copy(update={"lr": 1.0}))


def test_no_label_can_be_given():
    """PPAP needs none: nothing that trains experts has a place for one."""
    for function in (Adapting.of, Adapting.__init__, Transfer.__init__, Sharpened.__call__):
        names = " ".join(inspect.signature(function).parameters)
        assert not {"label", "y"} & set(names.split())
        assert "label" not in names
    assert not any("label" in name for name in ExpertPlan.model_fields)


def test_what_does_not_fit_is_told(model, tmp_path):
    with pytest.raises(CheckpointError, match=r"no experts.json here"):
        experts.load(tmp_path)
    job = Adapting.of(GUIDE, model, PLAN, tmp_path / "x")
    for at in job.run():
        if at.what == "expert 2":
            break
    with pytest.raises(CheckpointError, match="1 of 2 experts are finished"):
        experts.load(tmp_path / "x")
    finished(model, tmp_path / "x")
    path = tmp_path / "x" / "experts.json"
    tree = json.loads(path.read_text("utf-8"))
    tree["classifier"]["digest"] = "0" * 64
    path.write_text(json.dumps(tree), "utf-8")
    with pytest.raises(CheckpointError, match="is another one now"):
        experts.load(tmp_path / "x")
    wild = replace(job, plan=PLAN.model_copy(update={"lr": 1e30}), folder=tmp_path / "y")
    with pytest.raises(NumericError, match="expert 0: the loss of step"):
        list(wild.run())


def test_the_release_s_ranges_and_files():
    assert ppap.partition(5).cuts == (0.2, 0.4, 0.6, 0.8)
    assert ppap.partition(5, closed=True).cuts == pytest.approx((0.201, 0.401, 0.601, 0.801))
    with pytest.raises(ConfigError, match="0 experts for 1000"):
        ppap.partition(0)
    with pytest.raises(CheckpointError, match="not an expert of PPAP"):
        ppap.from_official({"fc.weight": torch.zeros(1)})
    network = nn.Sequential()
    network.conv1, network.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
    adapt(network, AdapterConfig(layers=("conv1",)))
    state = network.state_dict()
    official = ppap.to_official(state, "resnet.")
    assert "resnet.conv1.conv.weight" in official
    assert ppap.from_official(official).keys() == state.keys()


def test_a_plan_is_read_strictly():
    with pytest.raises(ConfigError, match="unknown key; did you mean experts"):
        config.build(ExpertPlan, {"expert": 3})
