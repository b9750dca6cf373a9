"""ReCAP over NAT's U-ViT and over MAGE: light passes, schedules, whole decodings (recap.md)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mezzotint.masked.curves import ByGroup, EndToEnd, Ramp
from mezzotint.masked.generate import MaskedGenerator
from mezzotint.masked.heads import Categorical
from mezzotint.masked.plan import Moment, Plan, single
from mezzotint.masked.recap import recap
from mezzotint.networks.nat import NAT
from mezzotint.nn.transformer import outside
from mezzotint.noise import Noise, TapeNoise
from mezzotint.official import nat
from tests.golden.case import Case, checks
from tests.golden.check_mage import network
from tests.golden.check_maskgit import normal_of_gumbel, same_again

LOGITS = 5e-5
RUN = 1e-4


def model_of(case: Case) -> NAT:
    model = nat.config_of(case.config).build().eval()
    ours = nat.from_official(case.state)
    model.load_state_dict(ours)
    same_again(case, nat.to_official(ours))
    return model


def light_passes(case: Case, model: Any, tokens: Tensor, changed: Tensor, y: Tensor) -> None:
    """Compare a full pass, and light ones with the group as it was, and as it has become."""
    where = case.input("group_positions")
    others = case.input("cached_positions").sort(dim=1).values
    assert torch.equal(outside(where, model.length), others)
    masked = tokens == model.mask
    after = tokens.scatter(1, where, changed)
    with torch.no_grad():
        full, context = model.prefill(tokens, masked, y)
        case.expect("logits_full", full, atol=LOGITS)
        for index, (keys, values) in enumerate(context.layers):
            case.expect(f"cache_k/{index}", keys.transpose(1, 2), atol=LOGITS)
            case.expect(f"cache_v/{index}", values.transpose(1, 2), atol=LOGITS)
        same = model.extend(tokens, masked, where, context, y)
        at = where[..., None].expand(-1, -1, full.shape[2])
        assert torch.allclose(same, full.gather(1, at), atol=1e-5)
        case.expect("logits_light_unchanged", same, atol=LOGITS)
        light = model.extend(after, after == model.mask, where, context, y)
        case.expect("logits_light", light, atol=LOGITS)
        true = model(after, after == model.mask, y).gather(1, at)
        case.expect("logits_full_after_change", true, atol=LOGITS)


@checks("recap", r"uvit\.py:UViT", "state/in_blocks.*", "input/local_tokens")
def uvit_cache(case: Case) -> None:
    model = model_of(case)
    y = case.input("labels").flatten()
    light_passes(case, model, case.input("tokens"), case.input("local_tokens"), y)


@checks("recap", r"models_mage\.py", "state/token_emb.*", "input/local_ids")
def mage_light(case: Case) -> None:
    model = network(case)
    y = torch.zeros(len(case.input("ids")), dtype=torch.int64)
    light_passes(case, model, case.input("ids"), case.input("local_ids"), y)


# whole decodings ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranking(Categorical):
    """Recorded draws at temperature 1, which are only ranked by."""

    case: Any = None

    def pick(self, logits: Tensor, moment: Moment, noise: Noise) -> Tensor:
        return self.case.input(f"group{moment.group}/confidence_draws").long()


@dataclass(frozen=True)
class Writing(Categorical):
    """Recorded draws of a whole group at each stage, of which a stage keeps its own."""

    case: Any = None
    first: Any = None  # stage at which each group starts

    def pick(self, logits: Tensor, moment: Moment, noise: Noise) -> Tensor:
        stage = moment.stage - self.first[moment.group]
        draws = self.case.input(f"group{moment.group}/stage{stage}_draws").long()
        return draws[:, moment.offset : moment.offset + moment.count]


class Recorded(torch.nn.Module):
    """A network that keeps what it is asked and answers."""

    def __init__(self, model: NAT) -> None:
        super().__init__()
        self.model = model
        self.log: list[list[dict[str, Tensor]]] = []
        self.length, self.null, self.mask = model.length, model.null, model.mask
        self.num_classes, self.empty = model.num_classes, model.empty

    def prefill(self, tokens: Tensor, masked: Tensor, y: Tensor) -> tuple[Tensor, Any]:
        logits, context = self.model.prefill(tokens, masked, y)
        ids = self.model.ids(tokens, masked)
        self.log.append([{"tokens": ids, "logits": logits}])
        return logits, context

    def extend(
        self, tokens: Tensor, masked: Tensor, where: Tensor, context: Any, y: Tensor
    ) -> Tensor:
        logits = self.model.extend(tokens, masked, where, context, y)
        ids = self.model.ids(tokens, masked).gather(1, where)
        self.log[-1].append({"tokens": ids, "logits": logits, "where": where})
        return logits


def plan_of(length: int, steps: int, before: int, reuse: int) -> Plan:
    return single(nat.parts()[0](length, steps)).regrouped(reuse, before)


def offsets(plan: Plan) -> Tensor:
    return torch.tensor([0, *map(len, plan.groups)]).cumsum(0)


@checks("recap", r"cache_decoding", "state/in_blocks.*", "input/group0/confidence_draws")
def maskgit_recap(case: Case) -> None:
    model, run = Recorded(model_of(case)), case.config["recap"]
    y = case.input("labels").flatten()
    steps, before, reuse = run["gen_step"], run["pre_full_iters"], run["num_cache_iters"]
    reveal, order, head, scale = nat.parts(
        temperature=run["samp_temp"], noise=run["conf_temp"], guided=run["cfg"]
    )
    plan = single(reveal(model.length, steps))
    first = offsets(plan.regrouped(reuse, before)).tolist()
    writing = Writing(head.temperature, case=case, first=first)
    ranking = Ranking(case=case)
    base = MaskedGenerator(model, writing, plan, order, scale, ranker=ranking, lagging=True)
    generator = recap(base, reuse=reuse, after=before)
    groups = generator.plan.moments()
    case.expect("schedule_tokens", torch.tensor(generator.plan.counts), atol=0)
    case.expect("schedule_group_offsets", torch.tensor(first), atol=0)
    every = [moment for group in groups for moment in group]
    temperatures = torch.tensor([head.temperature(m) for m in every], dtype=torch.float64)
    case.expect("samp_temp", temperatures, atol=1e-12)
    noises = [order.temperature(group[-1]) for group in groups]
    case.expect("conf_temp", torch.tensor(noises, dtype=torch.float64), atol=1e-12)
    weak = nat.parts(guided=True)[3]
    weights = torch.tensor([weak(moment) - 1 for moment in every], dtype=torch.float64)
    case.expect("cfg_scale", weights, atol=1e-12)
    tape = [normal_of_gumbel(case.input(f"group{g}/gumbel")) for g in range(len(groups))]
    with torch.no_grad():
        *_, last = generator(y, TapeNoise(tape))
    case.expect("final_tokens", last.tokens, atol=0)
    compare_passes(case, model.log, len(y))


def compare_passes(case: Case, log: list[list[dict[str, Tensor]]], batch: int) -> None:
    """Compare what every pass was asked and has answered; the null class stands behind."""
    for index, passes in enumerate(log):
        full, *light = passes
        case.expect(f"group{index}/tokens_before", full["tokens"][:batch], atol=0)
        halves = {"cond": slice(batch), "uncond": slice(batch, None)}
        for name, rows in halves.items():
            case.expect(f"group{index}/logits_full_{name}", full["logits"][rows], atol=RUN)
        for j, each in enumerate(light):
            case.expect(f"group{index}/positions", each["where"][:batch], atol=0)
            case.expect(f"group{index}/light{j}_tokens", each["tokens"][:batch], atol=0)
            for name, rows in halves.items():
                case.expect(f"group{index}/light{j}_logits_{name}", each["logits"][rows], atol=RUN)


@checks("recap", r"cache_decoding", "output/L*_T*_P*_u*/tokens")
def recap_schedules(case: Case) -> None:
    for name in case.outputs("*/tokens"):
        setting = name.partition("/")[0]
        length, steps, before, reuse = (int(part[1:]) for part in setting.split("_"))
        plan = plan_of(length, steps, before, reuse)
        case.expect(f"{setting}/tokens", torch.tensor(plan.counts), atol=0)
        case.expect(f"{setting}/group_offsets", offsets(plan), atol=0)
        groups = plan.moments()
        for output in case.outputs(f"{setting}/*_temp_*"):
            value = float(output.rpartition("_")[2].replace("p", "."))
            if "conf_temp" in output:
                curve, stages = Ramp(value, 0.0, clock=ByGroup()), [g[-1] for g in groups]
            else:
                curve = Ramp(1.0, value, 0.5, EndToEnd())
                stages = [moment for group in groups for moment in group]
            found = torch.tensor([curve(moment) for moment in stages], dtype=torch.float64)
            case.expect(output, found, atol=1e-12)
