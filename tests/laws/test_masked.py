"""DESIGN 4.7, laws 6 and 10, for every network over codes and every order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.masked.curves import Flat, Known, Ramp
from mezzotint.masked.generate import MaskedGenerator
from mezzotint.masked.heads import Categorical, Perturbed
from mezzotint.masked.order import Confidence, Halton, Random, Raster
from mezzotint.masked.plan import (
    Arccos,
    AtLeastOne,
    Cosine,
    Curve,
    Exponential,
    Logarithmic,
    Masked,
    Power,
    Reveal,
    Revealed,
    single,
)
from mezzotint.masked.recap import recap
from mezzotint.noise import SeededNoise
from tests.masked_models import KINDS, tiny

ORDERS = [Confidence(), Random(), Raster(Random()), Halton((4, 4), roll=True), Raster(Confidence())]
CURVES: list[Curve] = [
    Cosine(),
    Arccos(),
    Power(1.0),
    Power(0.5),
    Power(3.0),
    Logarithmic(),
    Exponential(),
]
REVEALS: list[Reveal] = [f(c) for f in (Masked, Revealed) for c in CURVES]
REVEALS += [Revealed(c, early=True) for c in CURVES]
REVEALS.append(AtLeastOne())


def generator(kind, order, *, steps=5, scale=Flat(1.0), head=Categorical(), ranker=None):  # noqa: B008
    plan = single(Masked()(16, steps))
    return MaskedGenerator(tiny(kind), head, plan, order, scale, ranker)


def drawn(masked, labels, seeds):
    *_, last = masked(torch.tensor(labels), SeededNoise(seeds))
    return last.tokens


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_law_6_reuse_0_is_the_generator_bit_for_bit(kind, order):
    base = generator(kind, order, scale=Ramp(1.0, 3.0))
    same = recap(base, reuse=0)
    assert type(same) is type(base)
    assert same == base
    assert torch.equal(drawn(base, [0, 2], [1, 2]), drawn(same, [0, 2], [1, 2]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [Flat(1.0), Ramp(1.0, 3.0, clock=Known())], ids=["plain", "cfg"])
def test_law_6_every_token_is_revealed_once(kind, scale):
    for order in ORDERS:
        for reuse, after in ((0, 0), (2, 1), (9, 0)):
            masked = recap(generator(kind, order, scale=scale), reuse=reuse, after=after)
            before = torch.ones(2, 16, dtype=torch.bool)
            tokens = None
            for canvas in masked(torch.tensor([0, 1]), SeededNoise([3, 4])):
                assert not (canvas.masked & ~before).any()
                assert (before & ~canvas.masked).sum(1).tolist() == [canvas.moment.count] * 2
                if tokens is not None:
                    known = ~before
                    assert torch.equal(canvas.tokens[known], tokens[known])
                before, tokens = canvas.masked, canvas.tokens
            assert not before.any()


@settings(max_examples=100)
@given(total=st.integers(1, 300), steps=st.integers(1, 70), index=st.integers(0, 100))
def test_law_6_every_plan_reveals_all_tokens(total, steps, index):
    reveal = REVEALS[index % len(REVEALS)]
    if isinstance(reveal, AtLeastOne) and steps > total:
        steps = total
    try:
        counts = reveal(total, steps)
    except ValueError:
        assert isinstance(reveal, AtLeastOne)
        return
    assert len(counts) == steps
    assert sum(counts) == total
    assert min(counts) >= 0
    plan = single(counts).regrouped(index % 4, index % 3)
    assert plan.counts == counts
    moments = [moment for group in plan.moments() for moment in group]
    assert moments[-1].left == 0
    assert [m.stage for m in moments] == list(range(steps))


@pytest.mark.parametrize("kind", KINDS)
def test_law_6_a_light_pass_over_what_has_not_changed_is_the_full_pass(kind):
    network = tiny(kind)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(11, (3, 16), generator=generator)
    masked = torch.rand(3, 16, generator=generator) < 0.6
    where = torch.rand(3, 16, generator=generator).argsort(1)[:, :5]
    y = torch.tensor([0, 2, 3])
    full, context = network.prefill(tokens, masked, y)
    light = network.extend(tokens, masked, where, context, y)
    wanted = full.gather(1, where[..., None].expand(-1, -1, full.shape[2]))
    assert torch.allclose(light, wanted, rtol=0, atol=1e-5)
    changed = tokens.scatter(1, where, (tokens.gather(1, where) + 1) % 11)
    known = masked.scatter(1, where, value=False)
    assert not torch.allclose(network.extend(changed, known, where, context, y), wanted, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_law_6_a_group_of_all_tokens_makes_light_passes_full_ones(kind):
    network = tiny(kind)
    tokens = torch.arange(16)[None] % 11
    masked = tokens > 5
    every = torch.arange(16)[None].flip(1)
    y = torch.tensor([1])
    _, context = network.prefill(tokens * 0, ~masked, y)
    light = network.extend(tokens, masked, every, context, y)
    assert torch.allclose(light.flip(1), network(tokens, masked, y), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["nat", "mage"])
@pytest.mark.parametrize("order", ORDERS[2:4], ids=["random", "halton"])
@pytest.mark.parametrize("reuse", [0, 2])
def test_law_10_holds_for_orders_that_do_not_look(kind, order, reuse):
    by_seed_alone(generator(kind, order, scale=Ramp(1.0, 2.0)), reuse)


@pytest.mark.parametrize("kind", ["nat", "mage"])
@pytest.mark.parametrize("reuse", [0, 2])
def test_law_10_holds_for_orders_that_look(kind, reuse):
    redrawn = generator(kind, Confidence(), head=Categorical(Flat(0.7)), ranker=Categorical())
    by_seed_alone(redrawn, reuse)
    by_seed_alone(generator(kind, Confidence(), scale=Ramp(1.0, 2.0), head=Perturbed()), reuse)


def by_seed_alone(base, reuse):
    """Assert that images are the same alone, together, and in another order."""
    masked = recap(base, reuse=reuse)
    together = drawn(masked, [0, 2, 1], [5, 6, 7])
    assert torch.equal(together, drawn(masked, [1, 2, 0], [7, 6, 5]).flip(0))
    assert torch.equal(together[1:2], drawn(masked, [2], [6]))
    assert not torch.equal(together, drawn(masked, [0, 2, 1], [8, 9, 10]))


@pytest.mark.parametrize("kind", KINDS)
def test_law_2_guidance_at_0_is_the_null_class_and_at_1_the_class(kind):
    plain = drawn(generator(kind, Random()), [0], [1])
    null = drawn(generator(kind, Random()), [3], [1])  # 3 is the null class
    assert torch.equal(drawn(generator(kind, Random(), scale=Flat(0.0)), [0], [1]), null)
    assert torch.equal(drawn(generator(kind, Random(), scale=Ramp(1.0, 1.0)), [0], [1]), plain)
    apart = drawn(generator(kind, Random(), scale=Flat(300.0)), [0], [1])
    assert not torch.equal(apart, plain)
