"""The OpenAPI document: paths by the framework, schemas exactly as requests are checked.

Litestar leaves out limits of list elements and whether further fields are refused; msgspec, which does the checking, says both.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.openapi.plugins import JsonRenderPlugin

from serving import schemas


def document(app: Litestar) -> dict[str, Any]:
    """The document of an application."""
    return exact(app.openapi_schema.to_schema())


def exact(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the schemas of every struct as msgspec has them."""
    kinds = [each for each in vars(schemas).values() if isinstance(each, type) and issubclass(each, msgspec.Struct) and each is not msgspec.Struct]
    _, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    return {**document, "components": {**document.get("components", {}), "schemas": components}}


class ExactJson(JsonRenderPlugin):
    """Serves the exact document."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The document as bytes."""
        return self.render_json(request, exact(openapi_schema))
