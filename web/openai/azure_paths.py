"""Azure OpenAI's paths: the same calls as under ``/v1``, where the model may stand in the path.

https://learn.microsoft.com/en-us/azure/ai-services/openai/reference. ``api-version`` is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import request

_DEPLOYMENT = "spool.deployment"
_PATH = re.compile(r"/openai/(?:deployments/(?P<deployment>[^/]{1,200})/)?(?:v1/)?(?P<rest>.*)", re.DOTALL)

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class AzurePaths:
    """The WSGI middleware that leads Azure's paths to those of ``/v1``."""

    def __init__(self, app: Application) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        match = _PATH.fullmatch(environ.get("PATH_INFO", ""))
        if match is not None:
            environ["PATH_INFO"] = f"/v1/{match['rest']}"
            if match["deployment"]:
                # WSGI's texts are bytes in Latin-1.
                environ[_DEPLOYMENT] = match["deployment"].encode("latin-1").decode(errors="replace")
        return self._app(environ, start_response)


def with_deployment(data: Any) -> Any:
    """The body of a request, with the deployment in its path as the model."""
    deployment = request.environ.get(_DEPLOYMENT)
    return {**data, "model": deployment} if deployment and isinstance(data, dict) else data
