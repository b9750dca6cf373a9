"""Every kind in the table exists, is data, and survives being written and read."""

import dataclasses

import pytest
from pydantic import BaseModel

from mezzotint import config, kinds

ROWS = [(role, kind) for role, rows in kinds.KINDS.items() for kind in rows]


def required(cls):
    """Return the fields without a default."""
    if issubclass(cls, BaseModel):
        return [name for name, field in cls.model_fields.items() if field.is_required()]
    missing = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(cls) if f.default is missing is f.default_factory]


def offence(cls):
    """Say why `cls` may not stand in the table, or nothing."""
    if issubclass(cls, config.Config):
        return None if cls.model_config.get("frozen") else "is not frozen"
    if not dataclasses.is_dataclass(cls):
        return "is neither a Config nor a dataclass"
    return None if cls.__dataclass_params__.frozen else "is not frozen"


@pytest.mark.parametrize(("role", "kind"), ROWS)
def test_a_kind_is_frozen_data_and_survives_a_file(role, kind):
    cls = kinds.find(role, kind)
    assert offence(cls) is None
    assert kinds.kind_of(cls) == kind
    if not required(cls):
        built = config.load(role, kind)
        assert config.load(role, config.dump(built)) == built


def test_other_classes_are_turned_away():
    class Plain:
        pass

    class Melting(config.Config, frozen=False):
        pass

    assert offence(Plain)
    assert offence(Melting)
    assert offence(dataclasses.make_dataclass("Loose", ["a"]))
    assert offence(dataclasses.make_dataclass("Firm", ["a"], frozen=True)) is None
    assert required(dataclasses.make_dataclass("Firm", ["a", ("b", int, 1)])) == ["a"]
