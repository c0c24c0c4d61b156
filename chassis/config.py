"""Configuration: YAML file + environment + overrides → nested frozen dataclasses, all problems reported at once.

A setting is a field `name: Annotated[type, constraint, Doc("…")] = default` of a frozen stdlib dataclass; constraints are
`annotated_types` (Ge, Gt, Le, Lt, Len, MinLen, MaxLen, Predicate). A cross-field rule is a ValueError in `__post_init__`.

Later sources win, field by field: defaults, file, environment (`LOWTIDE_SECTION__FIELD`), overrides. Environment values are
YAML, except that a field of text type takes the value as it stands. The result is plain: `msgspec.json` with `encode` and
`decode` carries it to a process that has no pydantic.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin

import annotated_types
import msgspec
import yaml
from typing_extensions import Doc

from chassis.errors import ConfigError

T = TypeVar("T")
ENV_PREFIX = "LOWTIDE_"
NESTING = "__"
_NOT_SETTINGS = frozenset(
    {
        "LOWTIDE_LOG",
        "LOWTIDE_CONTROL_PLANE_URL",
        "LOWTIDE_OPERATOR_TOKEN_FILE",
        "LOWTIDE_ORIGIN_URL",
        "LOWTIDE_STEERING_URL",
    }
)
"""What commands that ask a running service take from the environment: an operator's shell that has them starts services too."""
_REQUIRED = "(required)"


@dataclasses.dataclass(frozen=True, slots=True)
class SettingDoc:
    """One setting as people read it. `default` is `(required)` where there is none."""

    name: str
    type: str
    default: str
    constraint: str
    doc: str


def load(
    cls: type[T],
    path: Path | None,
    *,
    env_prefix: str = ENV_PREFIX,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
) -> T:
    """The checked settings. `overrides` maps dotted names to values. Raises ConfigError with every problem at once."""
    from pydantic import TypeAdapter, ValidationError

    reading = _Reading(cls)
    if not reading.take_file(path):
        raise ConfigError(tuple(reading.problems))  # that everything is missing would only hide why
    reading.take_environment(environ, env_prefix)
    reading.take_overrides(overrides or {})
    found: T | None = None
    try:
        found = TypeAdapter(cls).validate_python(reading.values)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            reading.add_invalid(item["loc"], item["msg"], item["type"], item.get("input"))
    if reading.problems or found is None:
        raise ConfigError(tuple(reading.problems))
    return found


def describe(cls: type[Any], prefix: str = "") -> list[SettingDoc]:
    """Every setting of a configuration, depth first in the order of the fields; `name[].field` inside lists."""
    found: list[SettingDoc] = []
    for name, hint, field in _fields(cls):
        dotted = f"{prefix}{name}"
        bare, metadata = _bare(hint)
        inner, many = _inner_dataclass(bare)
        if inner is not None:
            found += describe(inner, f"{dotted}[]." if many else f"{dotted}.")
            continue
        found.append(
            SettingDoc(
                name=dotted,
                type=_type_words(bare),
                default=_default_words(field),
                constraint=_constraint_words(metadata),
                doc=next((item.documentation for item in metadata if isinstance(item, Doc)), ""),
            )
        )
    return found


def render_markdown(title: str, settings: list[SettingDoc]) -> str:
    """A section with one table row per setting."""
    rows = [
        f"| `{s.name}` | {_cell(s.type)} | {_cell(s.default)} | {_cell(s.constraint)} | {_cell(s.doc)} |"
        for s in settings
    ]
    head = [f"## {title}", "", "| setting | type | default | allowed | what it is |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def encode(settings: object) -> bytes:
    """Checked settings as JSON for another process of ours."""
    return msgspec.json.encode(settings, enc_hook=_to_text)


def decode(cls: type[T], data: bytes) -> T:
    """Settings from `encode`. Checks types, not constraints: those were checked by `load`."""
    return msgspec.json.decode(data, type=cls, dec_hook=_from_text)


def _to_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"settings cannot hold {type(value).__name__}")


def _from_text(kind: type[Any], value: Any) -> Any:
    if issubclass(kind, Path):
        return Path(value)
    raise NotImplementedError(f"settings cannot hold {kind.__name__}")


class _Reading:
    """Values as they come in, where each came from, and what is wrong with them."""

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        self.values: dict[str, Any] = {}
        self.problems: list[str] = []
        self._sources: dict[str, str] = {}
        self._file = "defaults"

    def take_file(self, path: Path | None) -> bool:
        """False when there is a file and it gives no settings at all."""
        if path is None:
            return True
        self._file = str(path)
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            self.problems.append(f"{path}: cannot be read: {error.strerror or error}")
            return False
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            self.problems.append(f"{path}: is not YAML: {' '.join(str(error).split())}")
            return False
        if content is None:
            return True
        if not isinstance(content, dict):
            self.problems.append(f"{path}: must be a mapping of settings, not {type(content).__name__}")
            return False
        self.values = cast(dict[str, Any], self._known(content, self.cls, "", str(path)))
        return True

    def take_environment(self, environ: Mapping[str, str], prefix: str) -> None:
        for variable in sorted(environ):
            if variable.startswith(prefix) and variable not in _NOT_SETTINGS:
                names = [part.lower() for part in variable[len(prefix) :].split(NESTING)]
                self._set(names, environ[variable], variable, parse=True)

    def take_overrides(self, overrides: Mapping[str, object]) -> None:
        for dotted, value in overrides.items():
            self._set(dotted.split("."), value, "command line", parse=False)

    def add_invalid(self, loc: tuple[int | str, ...], message: str, kind: str, given: object) -> None:
        dotted = _dotted(loc)
        source = self._source_of(dotted)
        if kind in ("missing", "missing_argument"):
            line = f"{dotted}: is missing"
        else:
            said = message.removeprefix("Value error, ")
            shown = "" if isinstance(given, dict) or dataclasses.is_dataclass(given) else f" (given: {given!r})"
            line = f"{dotted}: {said[:1].lower()}{said[1:]}{shown}" if dotted else said
        allowed = self._allowed(dotted)
        line += f"; allowed: {allowed}" if allowed else ""
        self.problems.append(f"{line} [{source}]")

    def _known(self, value: Any, hint: Any, dotted: str, source: str) -> Any:
        """The value without keys that no field has; each of those is a problem."""
        bare, _ = _bare(hint)
        inner, many = _inner_dataclass(bare)
        if inner is None or value is None:
            self._sources[dotted] = source
            return value
        if many and isinstance(value, list):
            return [self._known(item, inner, f"{dotted}[{i}]", source) for i, item in enumerate(value)]
        if not isinstance(value, dict):
            self._sources[dotted] = source
            return value
        hints = {name: hint for name, hint, _ in _fields(inner)}
        kept = {}
        for key, item in value.items():
            child = f"{dotted}.{key}" if dotted else str(key)
            if key in hints:
                kept[key] = self._known(item, hints[key], child, source)
            else:
                self._add_unknown(child, str(key), hints, source)
        return kept

    def _set(self, names: list[str], value: object, source: str, *, parse: bool) -> None:
        cls, place = self.cls, self.values
        for depth, name in enumerate(names):
            hints = {field: hint for field, hint, _ in _fields(cls)}
            dotted = ".".join(names[: depth + 1])
            if name not in hints:
                self._add_unknown(dotted, name, hints, source)
                return
            bare, _ = _bare(hints[name])
            inner, many = _inner_dataclass(bare)
            if depth == len(names) - 1:
                made = self._parsed(str(value), bare, dotted, source) if parse else value
                place[name] = self._known(made, hints[name], dotted, source)
                return
            if inner is None or many:
                self.problems.append(f"{dotted}: has no settings of its own [{source}]")
                return
            if not isinstance(place.get(name), dict):
                place[name] = {}
            cls, place = inner, place[name]

    def _parsed(self, text: str, bare: Any, dotted: str, source: str) -> object:
        if _takes_text(bare):
            return text
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            self.problems.append(f"{dotted}: is not YAML: {' '.join(str(error).split())} [{source}]")
            return None

    def _add_unknown(self, dotted: str, name: str, known: Mapping[str, object], source: str) -> None:
        close = difflib.get_close_matches(name, list(known), n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(sorted(known)) or 'nothing'}"
        self.problems.append(f"{dotted}: is not a setting; {hint} [{source}]")

    def _source_of(self, dotted: str) -> str:
        while dotted:
            if dotted in self._sources:
                return self._sources[dotted]
            dotted = dotted.rpartition(".")[0]
        return self._file

    def _allowed(self, dotted: str) -> str:
        parts = [part.split("[")[0] for part in dotted.split(".")]
        cls: type[Any] | None = self.cls
        for depth, part in enumerate(parts):
            hints = {name: hint for name, hint, _ in _fields(cls)} if cls else {}
            if part not in hints:
                return ""
            bare, metadata = _bare(hints[part])
            cls, _ = _inner_dataclass(bare)
            if depth == len(parts) - 1 and cls is None:
                words = [_type_words(bare), _constraint_words(metadata)]
                return ", ".join(word for word in words if word)
        return ""


def _dotted(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _fields(cls: type[Any]) -> list[tuple[str, Any, dataclasses.Field[Any]]]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return [(field.name, hints[field.name], field) for field in dataclasses.fields(cls) if field.init]


def _bare(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """(type without Annotated, its metadata)."""
    if get_origin(hint) is Annotated:
        inner, *metadata = get_args(hint)
        bare, deeper = _bare(inner)
        return bare, (*deeper, *metadata)
    return hint, ()


def _options(bare: Any) -> list[Any]:
    """The members of a union without None, or the type itself."""
    if get_origin(bare) in (typing.Union, types.UnionType):
        return [_bare(option)[0] for option in get_args(bare) if option is not type(None)]
    return [bare]


def _inner_dataclass(bare: Any) -> tuple[type[Any] | None, bool]:
    """(the dataclass inside, True when it is a list of them)."""
    for option in _options(bare):
        if isinstance(option, type) and dataclasses.is_dataclass(option):
            return option, False
        if get_origin(option) in (tuple, list):
            for argument in get_args(option):
                element = _bare(argument)[0]
                if isinstance(element, type) and dataclasses.is_dataclass(element):
                    return element, True
    return None, False


def _takes_text(bare: Any) -> bool:
    return all(isinstance(option, type) and issubclass(option, (str, Path, enum.Enum)) for option in _options(bare))


def _type_words(bare: Any) -> str:
    if get_origin(bare) in (typing.Union, types.UnionType):
        none = " or nothing" if type(None) in get_args(bare) else ""
        return " or ".join(_type_words(option) for option in _options(bare)) + none
    if isinstance(bare, type) and issubclass(bare, enum.Enum):
        return "one of " + ", ".join(str(item.value) for item in bare)
    if get_origin(bare) is typing.Literal:
        return "one of " + ", ".join(str(item) for item in get_args(bare))
    if get_origin(bare) in (tuple, list):
        element = next((item for item in get_args(bare) if item is not Ellipsis), str)
        return f"list of {_type_words(_bare(element)[0])}"
    if get_origin(bare) in (dict, Mapping):
        return "mapping"
    words = {str: "text", bool: "true or false", Path: "path", int: "int", float: "number"}
    return words.get(bare, getattr(bare, "__name__", str(bare)))


def _default_words(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return _REQUIRED
    if value is None:
        return "nothing"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ", ".join(str(item.value if isinstance(item, enum.Enum) else item) for item in value) or "empty"
    return str(value) if str(value) else "empty"


def _constraint_words(metadata: tuple[Any, ...]) -> str:
    words: list[str] = []
    for item in metadata:
        for part in item if isinstance(item, annotated_types.GroupedMetadata) else (item,):
            words += _constraint(part)
    return ", ".join(words)


def _constraint(item: object) -> list[str]:
    match item:
        case annotated_types.Gt(gt=bound):
            return [f"> {bound}"]
        case annotated_types.Ge(ge=bound):
            return [f"≥ {bound}"]
        case annotated_types.Lt(lt=bound):
            return [f"< {bound}"]
        case annotated_types.Le(le=bound):
            return [f"≤ {bound}"]
        case annotated_types.MultipleOf(multiple_of=step):
            return [f"a multiple of {step}"]
        case annotated_types.MinLen(min_length=least):
            return [f"at least {least} long"] if least else []
        case annotated_types.MaxLen(max_length=most):
            return [f"at most {most} long"]
        case annotated_types.Predicate(func=func):
            return [getattr(func, "__doc__", None) or func.__name__.strip("_").replace("_", " ")]
        case _:
            return []


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
