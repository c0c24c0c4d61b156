"""OpenAPI 3.1 of a table of routes, from the same types that decode and encode."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from chassis.auth import AnyOf, Guard
from chassis.routes import JSON, Route, Routes
from contracts.problems import CONTENT_TYPE as PROBLEM_TYPE
from contracts.problems import Problem

_PART = re.compile(r"\{(\w+)(?::[^{}]*(?:\{[^{}]*\}[^{}]*)*)?\}")
_REF = "#/components/schemas/{name}"


def document(routes: Routes) -> dict[str, Any]:
    """The OpenAPI document as plain JSON values."""
    rows = [row for row in routes.rows if row.documented]
    types = [kind for row in rows for kind in (row.body, row.answer, row.query) if kind is not None]
    wanted = _distinct([*types, Problem])
    schemas, components = msgspec.json.schema_components(wanted, ref_template=_REF)
    by_type = dict(zip(map(_identity, wanted), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        operation = _operation(row, by_type, components)
        paths.setdefault(_PART.sub(r"{\1}", row.path), {})[row.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": routes.title, "version": routes.version},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _schemes(rows)},
    }


def _operation(row: Route, schemas: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "summary": row.summary,
        "operationId": f"{row.method.lower()}{re.sub(r'[^a-z0-9]+', '_', row.path.lower())}".rstrip("_"),
        "responses": {
            str(row.status): _response(row, schemas),
            "default": {
                "description": "A problem (RFC 9457)",
                "content": {PROBLEM_TYPE: {"schema": schemas[_identity(Problem)]}},
            },
        },
    }
    parameters = [*_path_parameters(row.path), *_query_parameters(row.query, schemas, components)]
    if parameters:
        made["parameters"] = parameters
    if row.body is not None:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas[_identity(row.body)]}}}
    if row.guard is not None:
        made["security"] = [{guard.scheme: []} for guard in _guards(row.guard)]
    return made


def _response(row: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    if not row.typed:
        return {"description": row.summary, "content": {row.content_type: {}}}
    if row.answer is None:
        return {"description": "Done; there is nothing to say"}
    return {"description": row.summary, "content": {JSON: {"schema": schemas[_identity(row.answer)]}}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in _PART.findall(path)
    ]


def _query_parameters(query: Any, schemas: dict[str, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    if query is None:
        return []
    schema = schemas[_identity(query)]
    if "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    needed = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": part}
        for name, part in schema.get("properties", {}).items()
    ]


def _schemes(rows: Iterable[Route]) -> dict[str, Any]:
    return {guard.scheme: guard.openapi() for row in rows if row.guard for guard in _guards(row.guard)}


def _guards(guard: Guard) -> tuple[Guard, ...]:
    return guard.guards if isinstance(guard, AnyOf) else (guard,)


def _identity(kind: Any) -> str:
    return f"{getattr(kind, '__module__', '')}.{kind!r}"


def _distinct(kinds: list[Any]) -> list[Any]:
    return list({_identity(kind): kind for kind in kinds}.values())
