"""The interface described: `/openapi.json`, and `/docs` to try it out."""

import asyncio

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse

_DESCRIPTION = "/openapi.json"


def install(app: FastAPI) -> None:
    """Add both pages. The description takes a second to make, once: nobody's stream waits for it
    meanwhile."""

    @app.get(_DESCRIPTION, include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(app.openapi))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(openapi_url=_DESCRIPTION, title=app.title)
