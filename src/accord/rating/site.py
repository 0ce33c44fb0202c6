"""A study as it is served: who asks, what a request may hold, how a page is made."""

import asyncio
from collections.abc import Mapping
from hmac import compare_digest
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from accord.rating.admin import Overview
from accord.rating.annotators import Annotator, read_annotators, token_digest
from accord.rating.refusals import RefusalError, not_found, revoked
from accord.rating.security import (
    COOKIE,
    COOKIE_SECONDS,
    Addresses,
    RateLimit,
    check_form_token,
    check_host,
    check_origin,
    form_token,
    read_body,
    session_cookie,
)
from accord.rating.store import Store
from accord.rating.study import Study, load_study

AT_ONCE, PER_SECOND = 100, 25.0
"""Requests of one link: nobody is that fast, but a queue of answers kept without a network is."""
STRANGERS_AT_ONCE, STRANGERS_PER_SECOND = 50, 5.0
"""Requests of one address with links that are nobody's."""
BODY_SECONDS = 20.0
"""How long a request's body may take to arrive."""
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
CONTENT_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png"}


class Asset(NamedTuple):
    content: bytes
    content_type: str


class Site:
    """A study as it is served: what every route needs."""

    def __init__(self, store: Store, where: Addresses) -> None:
        self.store = store
        self.study: Study = load_study(store)
        self.reload()
        self.where = where
        self.assets = load_assets()
        self.templates = jinja2.Environment(
            loader=jinja2.PackageLoader("accord.rating"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
            auto_reload=False,
        )
        self.overview = Overview(store, self.study)
        self.per_link = RateLimit(at_once=AT_ONCE, per_second=PER_SECOND)
        self.per_stranger = RateLimit(at_once=STRANGERS_AT_ONCE, per_second=STRANGERS_PER_SECOND)

    def reload(self) -> None:
        """Read again whose links there are: kept, so that saving an answer reads nothing. One process has the study."""
        with self.store.snapshot() as connection:
            self._annotators = {token_digest(found.token): found for found in read_annotators(connection)}

    # -- who asks ---------------------------------------------------------------------------------------------------

    def annotator(self, request: Request) -> Annotator:
        """Whose link was used.

        Raises:
            RefusalError: nobody's, a revoked one, or one that asks too often.
        """
        check_host(request)
        found = self._annotators.get(token_digest(request.path_params["token"]))
        if found is None:
            raise self._stranger(request)
        self.per_link.check(found.id)
        if found.is_revoked:
            raise revoked()
        return found

    def require_admin(self, request: Request) -> None:
        check_host(request)
        if not compare_digest(request.path_params["secret"].encode(), self.study.secret.encode()):
            raise self._stranger(request)
        self.per_link.check("admin")

    def _stranger(self, request: Request) -> RefusalError:
        self.per_stranger.check(request.client.host if request.client else "")
        return not_found()

    # -- answers ------------------------------------------------------------------------------------------------------

    def page(
        self, template: str, context: Mapping[str, Any], *, path: str | None = None, status: int = 200
    ) -> Response:
        """A page; with `path` also the cookie of that link."""
        response = HTMLResponse(self.templates.get_template(template).render(context), status_code=status)
        if path is not None:
            response.set_cookie(
                COOKIE,
                session_cookie(self.study.key, path),
                max_age=COOKIE_SECONDS,
                path=path,
                secure=self.where.is_https,
                httponly=True,
                samesite="strict",
            )
        return response

    def message(self, title: str, text: str, *, status: int = 200) -> Response:
        return self.page("message.html", {"title": title, "text": text}, status=status)

    def token(self, path: str, form: str) -> str:
        return form_token(self.study.key, path, form)

    def check_token(self, request: Request, path: str, form: str, token: str) -> None:
        check_form_token(request, self.study.key, path, form, token)

    async def json_body(self, request: Request, kind: type[Any]) -> Any:
        """The body of a state-changing request from a script of ours."""
        check_origin(request, self.where.origins)
        async with asyncio.timeout(BODY_SECONDS):
            raw = await read_body(request, JSON)
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise RefusalError(400, "malformed", f"The request is not as expected: {error}.") from None

    async def form_body(self, request: Request) -> dict[str, str]:
        """The fields of a form of ours; of several with one name the last."""
        check_origin(request, self.where.origins)
        async with asyncio.timeout(BODY_SECONDS):
            raw = await read_body(request, FORM)
        try:
            return dict(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=100, errors="strict"))
        except ValueError as error:
            raise RefusalError(400, "malformed", f"The form is not as expected: {error}.") from None


def load_assets() -> dict[str, Asset]:
    """The shipped files under /static/, read once: no path of a request ever reaches the file system."""
    folder = resources.files("accord.rating") / "static"
    assets = {}
    for file in folder.iterdir():
        content_type = CONTENT_TYPES.get("." + file.name.rpartition(".")[2])
        if content_type is not None:
            assets[file.name] = Asset(file.read_bytes(), content_type)
    return assets
