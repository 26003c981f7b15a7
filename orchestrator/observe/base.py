"""What every observation has, and how one is made of the values of a line and turned back into them."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import MISSING, FrozenInstanceError, asdict, dataclass, fields, is_dataclass
from typing import (
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

Source = Literal["driver", "wire", "peer", "machine", "lab"]

ToldValue = bool | int | str
"""What a profile's pattern tells under a name of its own."""

OTHERS = "more"
"""The field that takes what a line tells under names which are not known beforehand."""

KEY = "key"
"""In a field's metadata: its name on disk, where that is another one."""


AnyKind = TypeVar("AnyKind")


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=True, field_specifiers=(dataclasses.field,))
def observed(kind: type[AnyKind]) -> type[AnyKind]:
    """Make a kind of observation: a frozen dataclass, whose methods are those of `Observation`.

    A dataclass with methods of its own takes six times as long to make, which each start of the program would pay for
    each kind.
    """
    return dataclass(init=False, repr=False, eq=False, match_args=False, slots=True, kw_only=True)(kind)


@observed
class Observation:
    """One timed fact from one source.

    `t` is the host's clock in nanoseconds since the epoch; `conn` the scenario's connection, where there is one. Each
    kind is a class of its own: `source` and `kind` name it on disk, and its other fields are the line's `data`, in
    which a field is left out that has its default.
    """

    source: ClassVar[Source]
    kind: ClassVar[str]

    t: int
    conn: int | None = None

    def __init__(self, **values: object) -> None:
        for one in fields(self):
            if one.name in values:
                value = values.pop(one.name)
            elif one.default is not MISSING:
                value = one.default
            elif one.default_factory is not MISSING:
                value = one.default_factory()
            else:
                raise TypeError(f"{type(self).__name__} is made without {one.name}")
            object.__setattr__(self, one.name, value)
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(_values(self))

    def __repr__(self) -> str:
        told = (f"{one.name}={value!r}" for one, value in zip(fields(self), _values(self), strict=True))
        return f"{type(self).__qualname__}({', '.join(told)})"


def _values(observation: Observation) -> tuple[object, ...]:
    """Return what stands in its fields."""
    return tuple(getattr(observation, one.name) for one in fields(observation))


OneKind = TypeVar("OneKind", bound=Observation)
FieldCheck = Callable[[object], object]
"""Return the value as its field has it. Raises ValueError for one that it cannot have."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a kind; `default` is MISSING where the field must be there."""

    name: str
    key: str
    default: object
    check: FieldCheck


@dataclass(frozen=True, slots=True)
class _Form:
    """How the line of a kind looks; `takes_others`: it has room for names that are not known beforehand."""

    fields: tuple[_Field, ...]
    takes_others: bool


_FORMS: dict[type[Observation], _Form] = {}


def _form_of(kind: type[Observation]) -> _Form:
    """Return the form of a kind, made when it is first met."""
    form = _FORMS.get(kind)
    if form is None:
        takes_others = any(field.name == OTHERS for field in fields(kind))
        form = _FORMS[kind] = _Form(tuple(_fields_of(kind)), takes_others)
    return form


def _fields_of(kind: type[Observation]) -> Iterator[_Field]:
    """Yield the fields of a kind, without those of every observation and the one for all other names."""
    hints = get_type_hints(kind)
    common = {field.name for field in fields(Observation)} | {OTHERS}
    for field in fields(kind):
        if field.name not in common:
            key = field.metadata.get(KEY, field.name)
            yield _Field(field.name, key, field.default, _check_of(hints[field.name]))


def made(kind: type[OneKind], t: int, conn: int | None, data: Mapping[str, object]) -> OneKind:
    """Return an observation of this kind out of the values of a line. Raises ValueError for what no such line has."""
    form, rest, values = _form_of(kind), dict(data), dict[str, object]()
    for field in form.fields:
        if field.key in rest:
            values[field.name] = field.check(rest.pop(field.key))
        elif field.default is MISSING:
            raise ValueError(f"{field.key} is missing")
    if form.takes_others:
        values[OTHERS] = _others(rest)
    elif rest:
        raise ValueError(f"there is no {', '.join(sorted(rest))} in it")
    make: Callable[..., OneKind] = kind
    return make(t=t, conn=conn, **values)


def data_of(observation: Observation) -> dict[str, object]:
    """Return the values of an observation as its line has them."""
    data: dict[str, object] = {}
    form = _form_of(type(observation))
    for field in form.fields:
        value: object = getattr(observation, field.name)
        if field.default is MISSING or value != field.default:
            data[field.key] = value
    if form.takes_others:
        others: Mapping[str, ToldValue] = getattr(observation, OTHERS)
        data |= others
    return data


def text_in(observation: Observation) -> int:
    """How many characters of text it holds."""
    return sum(len(value) for value in data_of(observation).values() if isinstance(value, str))


def plain(value: object) -> object:
    """Return what stands in a field, for `json.dumps`, which knows no dataclasses."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{value!r} has no form in JSON")


def _others(rest: Mapping[str, object]) -> dict[str, ToldValue]:
    found: dict[str, ToldValue] = {}
    for key, value in rest.items():
        if not isinstance(value, (bool, int, str)):
            raise ValueError(f"{key} is {value!r}")
        found[key] = value
    return found


# --- types and the values that they have in JSON ----------------------------------------------------------------------


def _check_of(hint: Any) -> FieldCheck:
    """Return the check of a type; those that fields have, no others."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (int, str, bool, type(None)):
        return _exactly(hint)
    if origin in (Union, types.UnionType):
        return _one_of([_check_of(argument) for argument in arguments])
    if origin is Literal:
        return _among(arguments)
    if origin in (list, tuple):
        return _each(origin, _check_of(arguments[0]))
    if is_typeddict(hint):
        return _table({name: _check_of(inner) for name, inner in get_type_hints(hint).items()})
    if isinstance(hint, type) and is_dataclass(hint):
        inner = get_type_hints(hint, vars(sys.modules[hint.__module__]))
        needed = {field.name for field in fields(hint) if field.default is MISSING}
        return _record(hint, {field.name: _check_of(inner[field.name]) for field in fields(hint)}, needed)
    raise TypeError(f"no observation may have a field of the type {hint}")


def _exactly(wanted: type) -> FieldCheck:
    def check(value: object) -> object:
        if type(value) is not wanted:  # in Python a bool is an int, too
            raise ValueError(f"{value!r} is no {wanted.__name__}")
        return value

    return check


def _one_of(checks: list[FieldCheck]) -> FieldCheck:
    def check(value: object) -> object:
        for one in checks:
            try:
                return one(value)
            except ValueError:
                continue
        raise ValueError(f"{value!r} is of another type")

    return check


def _among(values: tuple[object, ...]) -> FieldCheck:
    def check(value: object) -> object:
        if value not in values or type(value) is not type(values[0]):
            raise ValueError(f"{value!r} is none of {', '.join(map(str, values))}")
        return value

    return check


def _each(container: type[list[object]] | type[tuple[object, ...]], inner: FieldCheck) -> FieldCheck:
    def check(value: object) -> object:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{value!r} is no list")
        return container(inner(item) for item in value)

    return check


def _table(inner: Mapping[str, FieldCheck]) -> FieldCheck:
    """Return a dictionary some of whose keys are there."""

    def check(value: object) -> object:
        if not isinstance(value, dict) or not value.keys() <= inner.keys():
            raise ValueError(f"{value!r} has other keys than {', '.join(inner)}")
        return {key: inner[key](item) for key, item in value.items()}

    return check


def _record(record: Callable[..., object], inner: Mapping[str, FieldCheck], needed: Set[str]) -> FieldCheck:
    """Return a dataclass, all of whose fields are there but for those that have a default."""

    def check(value: object) -> object:
        if isinstance(record, type) and isinstance(value, record):
            return value
        if not isinstance(value, dict) or not needed <= value.keys() <= inner.keys():
            raise ValueError(f"{value!r} has other keys than {', '.join(inner)}")
        return record(**{key: inner[key](item) for key, item in value.items()})

    return check
