"""Plans, curves, orders, heads and maskings against closed forms; what is refused, and how."""

import math
from fractions import Fraction

import pytest
import torch

from mezzotint.errors import ConfigError, DataError
from mezzotint.masked.curves import Begun, EndToEnd, Finished, Flat, Inverse, Known, Ramp, Swell
from mezzotint.masked.generate import MaskedGenerator
from mezzotint.masked.heads import Categorical, Perturbed, guided
from mezzotint.masked.masking import Beta, Each, Nearest, Ratio, TruncatedNormal, smallest
from mezzotint.masked.order import Confidence, Halton, Random, halton_path
from mezzotint.masked.plan import AtLeastOne, Cosine, Masked, Moment, Plan, Power, Revealed, single
from mezzotint.masked.recap import recap
from mezzotint.noise import SeededNoise, TapeNoise, gumbel, uniform
from tests.masked_models import tiny

FIRST, MIDDLE, LAST = (group[0] for group in single((2, 3, 5)).moments())


def test_the_paper_s_cosine_for_8_steps():
    left = [group[-1].left for group in single(Masked()(256, 8)).moments()]
    assert left == [251, 236, 212, 181, 142, 97, 49, 0]


def test_nat_s_counts_for_32_steps():
    counts = AtLeastOne()(256, 32)
    assert counts[:8] == (1, 1, 1, 1, 1, 1, 2, 2)
    assert counts[-3:] == (17, 19, 17)
    with pytest.raises(ConfigError, match=r"40 steps of at least one token: .* 10 tokens"):
        AtLeastOne()(10, 40)


def test_float32_may_come_out_one_less():
    assert Masked(Cosine())(16, 6) != Masked(Cosine(single=True))(16, 6)


def test_few_tokens_leave_stages_empty():
    counts = Masked()(4, 8)
    assert sum(counts) == 4
    assert single(counts).passes[0] == sum(map(bool, counts)) < 8


def test_groups_and_passes():
    plan = single((1, 2, 3, 4, 5)).regrouped(1, 2)
    assert plan.groups == ((1,), (2,), (3, 4), (5,))
    assert plan.passes == (4, 1)
    assert plan.regrouped(0) == single(plan.counts)
    moment = plan.moments()[2][1]
    assert moment == Moment(3, 5, 2, 4, offset=3, count=4, left=5, total=15)
    for groups in ((), ((1,), ()), ((2, -1),)):
        with pytest.raises(ConfigError, match="plan"):
            Plan(groups)
    with pytest.raises(ConfigError, match="reuse -1, after 0: expected numbers of at least 0"):
        plan.regrouped(-1)


def test_curves_read_their_clocks():
    assert [Begun()(m) for m in (FIRST, LAST)] == [0, 2 / 3]
    assert [Finished()(m) for m in (FIRST, LAST)] == [1 / 3, 1]
    assert [EndToEnd()(m) for m in (FIRST, MIDDLE, LAST)] == [0, 0.5, 1]
    assert [Known()(m) for m in (FIRST, MIDDLE, LAST)] == [0.2, 0.5, 1]
    assert Ramp(4.0, 0.0)(LAST) == 0
    assert Ramp(1.0, 0.5, 0.5, EndToEnd())(MIDDLE) == pytest.approx(1 - 0.5 * math.sqrt(0.5))
    assert Swell(4.0, 1.0, EndToEnd())(MIDDLE) == pytest.approx(2.5)
    assert Swell(4.0)(FIRST) == 1
    assert Inverse(Flat(2.0), 2.0, warmup=1)(FIRST) == 0.5
    assert Inverse(Flat(2.0), 2.0, warmup=1)(LAST) == 0.25
    for curve in (Flat(1.0), Ramp(1.0, 2.0, 3.0, Known()), Swell(2.0, 3.0, Known())):
        assert curve.to(5.0)(LAST) == pytest.approx(
            curve(LAST) + 5 - getattr(curve, "end", 1.0), abs=2
        )


def test_draws_from_normal_noise_have_their_laws():
    noise = SeededNoise([0])
    many = torch.empty(1, 200_000)
    u, g = uniform(noise, many), gumbel(noise, many)
    assert float(u.mean()) == pytest.approx(0.5, abs=3e-3)
    assert float((u < 0.1).double().mean()) == pytest.approx(0.1, abs=3e-3)
    assert float(g.mean()) == pytest.approx(0.5772, abs=1e-2)
    assert float(g.var()) == pytest.approx(math.pi**2 / 6, abs=3e-2)


@pytest.mark.parametrize("head", [Categorical(Flat(0.5)), Perturbed(spread=Flat(0.5))])
def test_a_head_draws_from_its_softmax(head):
    logits = torch.tensor([0.0, 0.7, -1.0]).expand(1, 60_000, 3)
    tokens, sure = head.draw(logits, None, 1.0, FIRST, SeededNoise([3]))
    share = torch.bincount(tokens[0], minlength=3) / tokens.shape[1]
    assert torch.allclose(share, (logits[0, 0] / 0.5).softmax(-1), atol=7e-3)
    assert torch.allclose(sure, head.sure(head.logits(logits, None, 1.0, FIRST), tokens))


def test_only_the_top_or_the_first_codes_are_drawn():
    logits = torch.randn(1, 500, 9, generator=torch.Generator().manual_seed(0))
    tokens, _ = Categorical(codes=4).draw(logits, None, 1.0, FIRST, SeededNoise([0]))
    assert int(tokens.max()) == 3
    tokens, _ = Categorical(top=2).draw(logits, None, 1.0, FIRST, SeededNoise([0]))
    assert (logits.gather(2, tokens[..., None]) >= logits.topk(2).values[..., -1:]).all()


def test_guidance_is_a_line():
    c, u = torch.tensor([[[2.0]]]), torch.tensor([[[1.0]]])
    assert guided(c, u, 3.0).item() == 4
    assert guided(c, u, 0.0).item() == 1
    assert guided(c, None, 3.0) is c


def test_smoothing_spreads_over_the_codes():
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    target = torch.arange(10).view(2, 5) % 6
    found = Categorical(codes=6, smoothing=0.1).loss(logits, target, TapeNoise([]))
    wanted = torch.nn.functional.cross_entropy(
        logits[..., :6].flatten(0, 1), target.flatten(), reduction="none", label_smoothing=0.1
    )
    assert torch.allclose(found.flatten(), wanted, atol=1e-6)


def test_confidence_without_noise_takes_the_surest():
    score = torch.tensor([[-1.0, -5.0, -0.1, -2.0]])
    masked = torch.tensor([[True, True, False, True]])
    choose = Confidence(Flat(0.0)).begin(masked, SeededNoise([0]))
    assert choose(score, masked, 2, LAST, SeededNoise([0])).tolist() == [[0, 3]]


def test_a_halton_path_visits_all_cells_and_spreads():
    path = halton_path((6, 6))
    assert sorted(path.tolist()) == list(range(36))
    quarter = {(int(i) // 6 // 3, int(i) % 6 // 3) for i in path[:4]}
    assert len(quarter) >= 3
    assert len(halton_path((3, 7))) == 21
    masked = torch.ones(1, 4, dtype=torch.bool)
    with pytest.raises(ConfigError, match=r"order.size 2 x 3 is 6 tokens, expected 4"):
        Halton((2, 3)).begin(masked, SeededNoise([0]))


@pytest.mark.parametrize("side", [9, 12, 18, 27])
def test_a_halton_path_takes_a_point_on_an_edge_to_the_cell_behind_it(side):
    def point(index, base):
        value, scale = Fraction(0), Fraction(1)
        while index:
            scale /= base
            index, digit = divmod(index, base)
            value += digit * scale
        return value

    points = ((point(i, 2), point(i, 3)) for i in range(1, 10_001))
    cells = dict.fromkeys((int(x * side), int(y * side)) for x, y in points)
    assert [divmod(cell, side) for cell in halton_path((side, side)).tolist()] == list(cells)


def test_a_rolled_path_begins_elsewhere_and_goes_on():
    masked = torch.ones(3, 36, dtype=torch.bool)
    choose = Halton((6, 6), roll=True).begin(masked, SeededNoise([1, 2, 3]))
    where = choose(None, masked, 36, LAST, SeededNoise([0]))
    path = halton_path((6, 6))
    for row in where:
        start = int((path == row[0]).nonzero())
        assert torch.equal(row, path.roll(-start))
    assert len({int(row[0]) for row in where}) > 1


def test_maskings_follow_their_laws():
    noise = SeededNoise(range(4000))
    for masking, mean in (
        (Ratio(), 2 / math.pi),
        (Ratio(Power(1.0), Nearest()), 0.5),
        (Each(Power(1.0)), 0.5),
        (Beta(12, 3), 0.8),
    ):
        masked, dropped = masking(4000, 64, noise)
        assert float(masked.double().mean()) == pytest.approx(mean, abs=0.02)
        assert not dropped.any()
    masked, dropped = TruncatedNormal()(4000, 64, noise)
    assert (dropped <= masked).all()
    assert dropped.sum(1).unique().tolist() == [32]
    # The mean of a normal cut off at 0.5 and 1.
    z = torch.distributions.Normal(0.0, 1.0)
    a, b = torch.tensor(-0.2), torch.tensor(1.8)
    cut = (z.log_prob(a).exp() - z.log_prob(b).exp()) / (z.cdf(b) - z.cdf(a))
    assert float(masked.double().mean()) == pytest.approx(
        0.55 + 0.25 * float(cut) + 0.008, abs=0.01
    )
    masked, _ = TruncatedNormal(shared=True)(8, 64, SeededNoise(range(8)))
    assert len(masked.sum(1).unique()) == 1


def test_the_smallest_are_as_many_as_asked_for():
    rank = torch.tensor([[3.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    assert smallest(rank, torch.tensor([1, 2])).tolist() == [
        [False, True, False],
        [True, True, False],
    ]


def masked_generator(**changes):
    parts = {"network": tiny("nat"), "head": Categorical(), "order": Random()}
    return MaskedGenerator(**{**parts, "plan": single((4, 12)), **changes})


def draw(generator, labels=(0,), seeds=(1,)):
    return list(generator(torch.tensor(labels), SeededNoise(seeds)))[-1]


def test_a_plan_must_fit_its_network():
    with pytest.raises(ConfigError, match="the plan reveals 20 tokens, but there are 16"):
        masked_generator(plan=single((4, 16)))
    with pytest.raises(DataError, match=r"\[16\] tokens are masked, but the plan reveals 9"):
        draw(masked_generator(plan=single((4, 5))))

    class Whole:
        length, null, mask, num_classes = 16, 3, 11, 3

    with pytest.raises(ConfigError, match="cannot look at some tokens alone; use reuse 0"):
        recap(masked_generator(network=Whole()), reuse=1)
    plain = tiny("maskgit", null_row=False)
    with pytest.raises(ConfigError, match="no null class, so it cannot be guided"):
        masked_generator(network=plain, scale=Flat(2.0))


def test_labels_and_grids_that_do_not_fit_are_refused():
    generator = masked_generator()
    with pytest.raises(DataError, match=r"labels \[4\]: expected 0 to 3"):
        draw(generator, [4])
    with pytest.raises(DataError, match=r"labels \[3\]: expected 0 to 2"):
        draw(masked_generator(network=tiny("maskgit", null_row=False)), [3])
    tokens, y = torch.zeros(1, 9, dtype=torch.int64), torch.tensor([0])
    with pytest.raises(DataError, match=r"tokens \(1, 9\).*expected 16 tokens"):
        list(generator.fill(tokens, tokens > 0, y, SeededNoise([0])))


def test_known_tokens_stay_and_holes_are_filled():
    network = tiny("nat")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(11, (2, 16), generator=generator)
    masked = torch.zeros(2, 16, dtype=torch.bool)
    masked[0, :6], masked[1, 5:11] = True, True
    plan = single(Masked()(6, 3))
    filling = masked_generator(network=network, plan=plan, order=Confidence())
    *_, last = filling.fill(tokens, masked, torch.tensor([0, 1]), SeededNoise([0, 1]))
    assert torch.equal(last.tokens[~masked], tokens[~masked])
    assert not last.masked.any()
    assert int(last.tokens.max()) < 11
    # What stands under the mask does not matter.
    other = torch.where(masked, 10 - tokens, tokens)
    *_, again = filling.fill(other, masked, torch.tensor([0, 1]), SeededNoise([0, 1]))
    assert torch.equal(last.tokens, again.tokens)


def test_images_whose_tokens_are_drawn_again_may_differ_in_number():
    halton = tiny("halton")
    halton.bias.data[-1] = 3.0  # the mask is likely
    plan = single(Revealed(early=True)(16, 4))
    generator = MaskedGenerator(halton, Categorical(), plan, Confidence(), again=True)
    together = draw(generator, [0, 1], [1, 2]).tokens
    alone = torch.cat([draw(generator, [y], [s]).tokens for y, s in ((0, 1), (1, 2))])
    assert torch.equal(together, alone)


def test_at_temperature_0_the_likeliest_code_is_taken():
    """Division by it made every token the last code."""
    logits = torch.randn(1, 500, 9, generator=torch.Generator().manual_seed(0))
    head = Categorical(Flat(0.0))
    tokens, sure = head.draw(logits, None, 1.0, FIRST, SeededNoise([3]))
    assert torch.equal(tokens, logits.argmax(-1))
    assert torch.allclose(sure, logits.log_softmax(-1).max(-1).values)
    with pytest.raises(ConfigError, match=r"temperature -1: expected 0"):
        Categorical(Flat(-1.0)).draw(logits, None, 1.0, FIRST, SeededNoise([3]))


def test_tokens_that_are_drawn_again_share_no_light_pass():
    with pytest.raises(ConfigError, match="again masks tokens anew"):
        MaskedGenerator(tiny("halton"), Categorical(), Plan(((4, 12),)), Confidence(), again=True)


def test_a_network_without_classes_knows_label_0_alone():
    generator = masked_generator(network=tiny("nat", num_classes=0))
    assert draw(generator, [0]).tokens.shape == (1, 16)
    with pytest.raises(DataError, match=r"labels \[1\]: expected 0 to 0"):
        draw(generator, [1])
