"""What everything is compared with.

Starlette on uvicorn that answers with given bytes and does nothing else.
"""

from __future__ import annotations

import os
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

DOCUMENT = bytes.fromhex(os.environ["BARE_DOCUMENT"])


async def phase(_: Request) -> Response:
    return Response("COMPLETED", media_type="text/plain")


async def job(_: Request) -> Response:
    return Response(DOCUMENT, media_type="text/xml")


async def create(request: Request) -> Response:
    await request.body()
    return Response(status_code=303, headers={"location": "http://127.0.0.1/x"})


APP = Starlette(
    routes=[
        Route("/{application}/async/{job_id}/phase", phase),
        Route("/{application}/async/{job_id}", job),
        Route("/{application}/async", create, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(APP, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="error", server_header=False)
