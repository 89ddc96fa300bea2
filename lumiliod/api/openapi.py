"""The API describes itself: OpenAPI 3.1 from the contract's types and the routes, and a page to read it."""

import re
from collections.abc import Callable, Iterable
from html import escape
from http import HTTPStatus
from typing import Any

import msgspec
from quart import Quart
from werkzeug.routing import Rule

from lumiliod import __version__
from lumiliod.api.errors import MEDIA_TYPE
from lumiliod.api.routes import Operation, operation_of
from lumiliod.contract.events import MEDIA_TYPE as EVENTS
from lumiliod.contract.problems import Problem

_PLACEHOLDER = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")
_SCHEMAS = "#/components/schemas/{name}"


def document(app: Quart) -> dict[str, Any]:
    """Return the OpenAPI document of every route of ``app``, JSON-encodable.

    Raises:
        TypeError: a route was not described.
    """
    routes = [(rule, app.view_functions[rule.endpoint]) for rule in app.url_map.iter_rules()]
    types = {Problem, *(kind for _, view in routes for kind in _types(operation_of(view)))}
    schemas = msgspec.json.schema_components(sorted(types, key=lambda kind: kind.__name__), ref_template=_SCHEMAS)[1]
    paths: dict[str, dict[str, Any]] = {}
    for rule, view in routes:
        path = _PLACEHOLDER.sub(r"{\g<name>}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(path, {})[method.lower()] = _operation(rule, view)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lumilio",
            "version": __version__,
            "description": "A photo, video and audio library. Every error is a problem (RFC 9457).",
        },
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": schemas},
    }


def _types(operation: Operation) -> Iterable[type[msgspec.Struct]]:
    """Yield the contract types an operation names."""
    for kind in (operation.body, *operation.answers.values(), *operation.events.values()):
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield kind


def _operation(rule: Rule, view: Callable[..., Any]) -> dict[str, Any]:
    operation = operation_of(view)
    summary = " ".join((view.__doc__ or "").split())
    told: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_"),
        "tags": [rule.endpoint.split(".")[0]],
        "summary": summary,
        "parameters": [*_placeholders(rule), *_query(operation.query), *_headers(operation)],
        "responses": {str(status): _answer(status, kind, operation) for status, kind in operation.answers.items()},
    }
    told["responses"]["default"] = {
        "description": "Something went wrong.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS.format(name="Problem")}}},
    }
    if operation.body is not None:
        schema = {"$ref": _SCHEMAS.format(name=operation.body.__name__)}
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    elif operation.accepts:
        content = {media_type: {"schema": schema} for media_type, schema in operation.accepts.items()}
        told["requestBody"] = {"required": True, "content": content}
    return told


def _answer(status: int, kind: Any, operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if kind == EVENTS:
        told["content"] = {EVENTS: {"schema": {"type": "string"}, "x-events": _events(operation)}}
    elif isinstance(kind, str):
        told["content"] = {kind: {}}
    elif kind is not None:
        told["content"] = {"application/json": {"schema": {"$ref": _SCHEMAS.format(name=kind.__name__)}}}
    return told


def _events(operation: Operation) -> dict[str, Any]:
    """Name the type of each event's data: OpenAPI 3.1 has no words for events."""
    return {name: {"$ref": _SCHEMAS.format(name=kind.__name__)} for name, kind in operation.events.items()}


def _placeholders(rule: Rule) -> Iterable[dict[str, Any]]:
    for match in _PLACEHOLDER.finditer(rule.rule):
        schema = {"type": "string", "format": "uuid"} if match["converter"] == "uuid" else {"type": "string"}
        yield {"name": match["name"], "in": "path", "required": True, "schema": schema}


def _query(kind: type[msgspec.Struct]) -> Iterable[dict[str, Any]]:
    components = msgspec.json.schema_components([kind], ref_template=_SCHEMAS)[1]
    properties: dict[str, Any] = components[kind.__name__].get("properties", {})
    for name, schema in properties.items():
        yield {"name": name, "in": "query", "required": False, "schema": schema}


def _headers(operation: Operation) -> Iterable[dict[str, Any]]:
    for name, description in operation.headers.items():
        yield {
            "name": name,
            "in": "header",
            "required": False,
            "description": description,
            "schema": {"type": "string"},
        }


_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { overflow: auto; padding: .75rem; border-radius: .4rem;
      background: color-mix(in srgb, currentColor 8%, transparent); }
summary { cursor: pointer; padding: .3rem 0; }
b { display: inline-block; min-width: 3.5rem; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top; }
"""


def page(described: dict[str, Any]) -> str:
    """Render a document of :func:`document` as one HTML page without scripts or outside resources."""
    info = described["info"]
    routes = "\n".join(
        _route(path, method, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "\n".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>{_json(schema)}</details>'
        for name, schema in sorted(described["components"]["schemas"].items())
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>\n'
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])} "
        f'The same as data: <a href="openapi.json">openapi.json</a>.</p>\n'
        f"<h2>Routes</h2>\n{routes}\n<h2>Types</h2>\n{schemas}\n</body></html>\n"
    )


def _route(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code><td>{p['in']}<td>{escape(_kind(p['schema']))}</tr>"
        for p in operation["parameters"]
    )
    taken = "".join(
        f"<li>body <code>{escape(media)}</code> {_type_link(content)}"
        for media, content in operation.get("requestBody", {}).get("content", {}).items()
    )
    given = "".join(
        f"<li>{status} {escape(told['description'])} "
        + " ".join(f"<code>{escape(m)}</code> {_type_link(c)}" for m, c in told.get("content", {}).items())
        for status, told in operation["responses"].items()
    )
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
        f"</summary><table>{rows}</table><ul>{taken}{given}</ul></details>"
    )


def _type_link(content: dict[str, Any]) -> str:
    name = content.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
    return f'<a href="#{escape(name)}">{escape(name)}</a>' if name else ""


def _kind(schema: dict[str, Any]) -> str:
    kinds = [part.get("type", "") for part in schema.get("anyOf", [schema])]
    return " or ".join(str(kind) for kind in kinds if kind and kind != "null")


def _json(value: Any) -> str:
    return f"<pre>{escape(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())}</pre>"
