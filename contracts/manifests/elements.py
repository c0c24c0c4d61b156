"""XML as a tree of values that is written again as it was read. Pure.

Laws: names keep their prefixes and attributes their order, so that what `parse` does not know passes through; there is no
document type, hence no entity but XML's own five; comments, processing instructions and the white space between elements
carry no meaning in an MPD and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from contracts.manifests.bad import MAX_PARTS, BadManifest, bounded

MAX_DEPTH = 32
XML_NAMESPACE = "http://www.w3.org/XML/1998/namespace"
Attributes = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Element:
    """An element with its name and attributes as they are written; text stands among its children as strings."""

    name: str
    attributes: Attributes = ()
    children: tuple[Element | str, ...] = ()
    namespace: str = ""

    @property
    def local(self) -> str:
        """The name without its prefix."""
        return self.name.rpartition(":")[2]

    @property
    def text(self) -> str:
        return "".join(child for child in self.children if isinstance(child, str)).strip()

    def elements(self) -> Iterator[Element]:
        return (child for child in self.children if isinstance(child, Element))

    def get(self, name: str, otherwise: str = "") -> str:
        """An attribute's value, by its name as it is written."""
        return next((value for found, value in self.attributes if found == name), otherwise)

    def having(self, name: str, value: str) -> Self:
        """The same with an attribute set, in its place when it was there."""
        if any(found == name for found, _ in self.attributes):
            return replace(self, attributes=tuple((n, value if n == name else v) for n, v in self.attributes))
        return replace(self, attributes=(*self.attributes, (name, value)))

    def holding(self, children: tuple[Element | str, ...]) -> Self:
        """The same with other children."""
        return replace(self, children=children)


def parse(document: bytes) -> Element:
    """The root of a document. Raises BadManifest for what is not well-formed, too large, too deep, or has a document type."""
    reading = _Reading()
    parser = expat.ParserCreate()
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.characters
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(bounded(document), True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise BadManifest(f"it is not XML: {error}") from error
    assert reading.root is not None, "expat ends a document without a root with an error"
    return reading.root


def write(root: Element) -> str:
    """The document in UTF-8's characters, elements indented."""
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + "".join(_written(root, 0))


@dataclass(slots=True)
class _Open:
    name: str
    attributes: Attributes
    scope: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def closed(self) -> Element:
        prefix, colon, _ = self.name.partition(":")
        namespace = self.scope.get(prefix if colon else "", "")
        children = self.children
        if any(isinstance(child, Element) for child in children):
            children = [child for child in children if isinstance(child, Element) or child.strip()]
        return Element(self.name, self.attributes, tuple(children), namespace)


class _Reading:
    """What expat tells, put together."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[_Open] = []
        self._count = 0

    def start(self, name: str, flat: list[str]) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise BadManifest(f"it has more than {MAX_PARTS} elements")
        if len(self._open) >= MAX_DEPTH:
            raise BadManifest(f"its elements are nested more than {MAX_DEPTH} deep")
        attributes = tuple(zip(flat[::2], flat[1::2], strict=True))
        outer = self._open[-1].scope if self._open else {"xml": XML_NAMESPACE, "xmlns": ""}
        declared = {n.partition(":")[2]: v for n, v in attributes if n.partition(":")[0] == "xmlns"}
        scope = {**outer, **declared} if declared else outer
        for written in (name, *(attribute for attribute, _ in attributes)):
            prefix, colon, _ = written.partition(":")
            if colon and prefix not in scope:
                raise BadManifest(f"the prefix of {written[:60]!r} is not declared")
        self._open.append(_Open(name, attributes, scope))

    def end(self, _name: str) -> None:
        element = self._open.pop().closed()
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element

    def characters(self, text: str) -> None:
        self._open[-1].children.append(text)


def _refuse_doctype(name: str, *_declared: object) -> None:
    raise BadManifest(f"it has a document type ({name[:60]}): entities are not expanded here")


def _written(element: Element, depth: int) -> Iterator[str]:
    indent = "  " * depth
    yield f"{indent}<{element.name}" + "".join(f" {name}={quoteattr(value)}" for name, value in element.attributes)
    if not element.children:
        yield "/>\n"
    elif all(isinstance(child, Element) for child in element.children):
        yield ">\n"
        for child in element.elements():
            yield from _written(child, depth + 1)
        yield f"{indent}</{element.name}>\n"
    else:
        yield ">" + "".join(_inline(child) for child in element.children) + f"</{element.name}>\n"


def _inline(child: Element | str) -> str:
    """Mixed content is written without indenting: white space counts in it."""
    if isinstance(child, str):
        return escape(child, {"\r": "&#13;"})
    return "".join(_written(child, 0)).rstrip("\n")
