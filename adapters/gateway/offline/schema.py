"""The smallest value that satisfies a JSON Schema: the offline model's structured answers."""

from collections.abc import Mapping
from typing import Any

_MAX_DEPTH = 12
_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "email": "nobody@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_FILLER = "An offline model cannot judge this. "


def instance(schema: Mapping[str, Any]) -> Any:
    """Return a minimal valid instance; the same schema always gives the same one."""
    return _make(schema, schema, 0)


def _make(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    schema = _resolve(schema, root)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    if (options := schema.get("anyOf") or schema.get("oneOf")) and depth < _MAX_DEPTH:
        return _make(options[0], root, depth + 1)
    return _typed(schema, root, depth)


def _typed(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    match _type(schema):
        case "object":
            return _object(schema, root, depth)
        case "array":
            count = schema.get("minItems", 0) if depth < _MAX_DEPTH else 0
            return [_make(schema.get("items", {}), root, depth + 1) for _ in range(count)]
        case "string":
            return _string(schema)
        case "integer" | "number" as kind:
            return _number(schema, kind)
        case "boolean":
            return False
    return None


def _resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = root
        for part in reference[2:].split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        return {**_resolve(target, root), **{k: v for k, v in schema.items() if k != "$ref"}}
    merged: dict[str, Any] = {}
    for part in schema.get("allOf", ()):
        merged |= _resolve(part, root)
    return {**merged, **schema}


def _type(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind is None and "properties" in schema:
        return "object"
    return kind


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    return {
        name: _make(properties.get(name, {}), root, depth + 1)
        for name in schema.get("required", ())
    }


def _string(schema: Mapping[str, Any]) -> str:
    if known := _FORMATS.get(schema.get("format", "")):
        return known
    minimum: int = schema.get("minLength", 0)
    text = _FILLER * max(1, -(-minimum // len(_FILLER)))
    maximum: int = schema.get("maxLength", max(minimum, len(_FILLER.strip())))
    return text[:maximum] if maximum < len(text) else text


def _number(schema: Mapping[str, Any], kind: str) -> int | float:
    step = schema.get("multipleOf", 1)
    minimum = schema.get("minimum", 0 if schema.get("maximum", 0) >= 0 else schema["maximum"])
    if "exclusiveMinimum" in schema:
        above = schema["exclusiveMinimum"]
        minimum = above + (1 if kind == "integer" else _half_way(above, schema))
    value = -(-minimum // step) * step if kind == "integer" or "multipleOf" in schema else minimum
    return int(value) if kind == "integer" else value


def _half_way(low: float, schema: Mapping[str, Any]) -> float:
    high = schema.get("maximum", schema.get("exclusiveMaximum", low + 2))
    return float((high - low) / 2)
