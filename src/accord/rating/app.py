"""The routes of a study: annotators' pages below /a/, the admin page below /admin/, nothing else.

Refusals are JSON ({"error": sentence, "reason": word}) where a program asks, a page where a person does. Statuses: 403
another origin, no cookie or no form token; 404 no such link, page or text; 405 method; 410 link revoked or study
closed; 413 too long; 415 type; 421 host; 422 no such question or label; 429 too many at once; 503 paused or not saved:
ask again.
"""

import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from accord.rating import admin
from accord.rating.annotators import Annotator, consent
from accord.rating.answers import progress_of, require_open, save_answer, skip_task
from accord.rating.assignment import assign_next
from accord.rating.export import export_csv, export_jsonl
from accord.rating.pages import annotator_urls, read_traits, task_context, task_url
from accord.rating.refusals import RefusalError, closed, not_found
from accord.rating.security import Addresses, Guard, check_host
from accord.rating.site import JSON, Site
from accord.rating.store import Store
from accord.rating.study import study_state

logger = logging.getLogger("accord")

MAX_DIGITS = 9
"""Of a page's number."""
STATUS_TEXTS = {404: "There is no such page.", 405: "That cannot be done here."}

Endpoint = Callable[[Request], Awaitable[Response]]


class AnswerBody(msgspec.Struct, frozen=True):
    """PUT answers. `sent`: the browser's own mark of this answer, by which the same one sent twice is known."""

    item: str
    question: str
    label: str | None
    csrf: str
    sent: float | str | None = None


class SkipBody(msgspec.Struct, frozen=True):
    """POST skip."""

    reason: str
    csrf: str


def build_app(store: Store, where: Addresses) -> ASGIApp:
    """The application of one study."""
    site = Site(store, where)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await store.finish()

    app = Starlette(routes=_routes(site), lifespan=lifespan)
    app.router.redirect_slashes = False
    app.add_exception_handler(HTTPException, _http_error(site))
    return Guard(app, where.hosts)


def _routes(site: Site) -> list[Route]:
    """Every route, with who may use it; `as_json`: refusals are for a program."""

    def route(
        path: str, endpoint: Callable[[Site, Request], Awaitable[Response]], *methods: str, as_json: bool = False
    ) -> Route:
        return Route(path, _answering(site, endpoint, as_json=as_json), methods=list(methods))

    return [
        route("/", root, "GET"),
        route("/static/{name}", static, "GET"),
        route("/a/{token}", start, "GET"),
        route("/a/{token}/welcome", welcome, "GET", "POST"),
        route("/a/{token}/tasks/{number}", task, "GET"),
        route("/a/{token}/tasks/{number}/skip", skip, "POST", as_json=True),
        route("/a/{token}/answers", answer, "PUT", as_json=True),
        route("/a/{token}/done", done, "GET"),
        route("/admin/{secret}", admin_page, "GET"),
        route("/admin/{secret}/export.jsonl", jsonl, "GET"),
        route("/admin/{secret}/export.csv", csv, "GET"),
        route("/admin/{secret}/{action}", act, "POST"),
    ]


def _answering(site: Site, endpoint: Callable[[Site, Request], Awaitable[Response]], *, as_json: bool) -> Endpoint:
    """`endpoint` with its refusals turned into responses."""

    @wraps(endpoint)
    async def answering(request: Request) -> Response:
        try:
            return await endpoint(site, request)
        except RefusalError as refusal:
            found = refusal
        except TimeoutError:
            found = RefusalError(408, "too_slow", "The request took too long to arrive.", {"Connection": "close"})
        except sqlite3.Error as error:
            logger.error("The study's file: %s", error)
            text = "The answer could not be saved now. It is tried again."
            found = RefusalError(503, "not_saved", text, {"Retry-After": "2"})
        return _refusal_response(site, found, as_json=as_json)

    return answering


def _refusal_response(site: Site, refusal: RefusalError, *, as_json: bool) -> Response:
    if as_json:
        response = _json({"error": refusal.text, "reason": refusal.word}, status=refusal.status)
    else:
        response = site.message(site.study.form.title, refusal.text, status=refusal.status)
    response.headers.update(refusal.headers)
    return response


def _http_error(site: Site) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What the router itself refuses: no such route, no such method."""

    async def handle(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        text = STATUS_TEXTS.get(error.status_code, error.detail)
        response = site.message(site.study.form.title, text, status=error.status_code)
        response.headers.update(error.headers or {})
        return response

    return handle


def _json(content: Any, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status_code=status, media_type=JSON)


# -- pages for everybody ----------------------------------------------------------------------------------------


async def root(site: Site, request: Request) -> Response:
    check_host(request)
    return site.message(
        "A rating study", "Here people rate texts. If you were invited, please use the personal link you were given."
    )


async def static(site: Site, request: Request) -> Response:
    check_host(request)
    asset = site.assets.get(request.path_params["name"])
    if asset is None:
        raise not_found("There is no such file.")
    return Response(asset.content, media_type=asset.content_type, headers={"Cache-Control": "no-cache"})


# -- annotators -------------------------------------------------------------------------------------------------


async def start(site: Site, request: Request) -> Response:
    """To where this annotator is: welcome, the first unfinished page, or the end."""
    annotator = site.annotator(request)
    return RedirectResponse(await _whereabouts(site, annotator), status_code=303)


async def _whereabouts(site: Site, annotator: Annotator) -> str:
    urls = annotator_urls(annotator)
    if not annotator.has_consented:
        return urls["welcome"]
    number = await _next_number(site, annotator)
    return urls["done"] if number is None else task_url(annotator, number)


async def _next_number(site: Site, annotator: Annotator) -> int | None:
    """The first unfinished page, newly given if need be; None where there is none, or the study is closed.

    Raises:
        RefusalError: the study is paused, and there is no page to go on with.
    """
    with site.store.snapshot() as connection:
        state = study_state(connection)
        found = _unfinished(connection, annotator)
    if found is not None or state == "closed":
        return None if state == "closed" else found

    def give(connection: sqlite3.Connection) -> int | None:
        require_open(connection, annotator.id)
        return assign_next(connection, site.study, annotator.id)

    return await site.store.write(give)


def _unfinished(connection: sqlite3.Connection, annotator: Annotator) -> int | None:
    row = connection.execute(
        "SELECT min(number) FROM tasks WHERE annotator = ? AND state = 'open'", (annotator.id,)
    ).fetchone()
    return None if row[0] is None else int(row[0])


async def welcome(site: Site, request: Request) -> Response:
    annotator = site.annotator(request)
    with site.store.snapshot() as connection:
        if study_state(connection) == "closed" and not annotator.has_consented:
            raise closed()
    urls = annotator_urls(annotator)
    context = {
        "form": site.study.form,
        "csrf": site.token(urls["start"], "welcome"),
        "url": urls["welcome"],
        "given": {**annotator.traits, **({"consent": "yes"} if annotator.has_consented else {})},
        "errors": {},
    }
    if request.method != "POST":
        return site.page("welcome.html", context, path=urls["start"])
    given = await site.form_body(request)
    site.check_token(request, urls["start"], "welcome", given.get("csrf", ""))
    traits, errors = read_traits(site.study.form, given)
    if given.get("consent") != "yes":
        errors["consent"] = "To take part, say that you have read this and agree."
    if errors:
        return site.page("welcome.html", {**context, "given": given, "errors": errors}, path=urls["start"], status=422)

    def agree(connection: sqlite3.Connection) -> None:
        require_open(connection, annotator.id)
        consent(connection, annotator.id, traits)

    await site.store.write(agree)
    site.reload()
    return RedirectResponse(urls["start"], status_code=303)


async def task(site: Site, request: Request) -> Response:
    annotator = site.annotator(request)
    number = _page_number(request)
    urls = annotator_urls(annotator)
    with site.store.snapshot() as connection:
        n_given = connection.execute("SELECT count(*) FROM tasks WHERE annotator = ?", (annotator.id,)).fetchone()[0]
        state = study_state(connection)
        if annotator.has_consented and 1 <= number <= n_given and state != "closed":
            context = {
                **task_context(connection, site.study.form, annotator, number),
                "csrf": site.token(urls["start"], "task"),
                "paused": state == "paused",
            }
            return site.page("task.html", context, path=urls["start"])
    url = await _whereabouts(site, annotator)
    if url == task_url(annotator, number):  # just given
        return await task(site, request)
    return RedirectResponse(url, status_code=303)


def _page_number(request: Request) -> int:
    """
    Raises:
        RefusalError: no number, or one that no page has.
    """
    text = request.path_params["number"]
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise not_found("There is no such page among yours.")
    return int(text)


async def answer(site: Site, request: Request) -> Response:
    annotator = site.annotator(request)
    body: AnswerBody = await site.json_body(request, AnswerBody)
    site.check_token(request, annotator_urls(annotator)["start"], "task", body.csrf)

    def save(connection: sqlite3.Connection) -> Any:
        return save_answer(
            connection,
            site.study.form,
            annotator.id,
            item=body.item,
            question=body.question,
            label=body.label,
            sent=None if body.sent is None else str(body.sent)[:64],
        )

    saved = await site.store.write(save)
    return _json({"saved": True, **saved._asdict()})


async def skip(site: Site, request: Request) -> Response:
    annotator = site.annotator(request)
    number = _page_number(request)
    body: SkipBody = await site.json_body(request, SkipBody)
    site.check_token(request, annotator_urls(annotator)["start"], "task", body.csrf)
    saved = await site.store.write(lambda connection: skip_task(connection, annotator.id, number, body.reason))
    return _json({"saved": True, **saved._asdict()})


async def done(site: Site, request: Request) -> Response:
    """The completion code, once every page is finished."""
    annotator = site.annotator(request)
    urls = annotator_urls(annotator)
    url = await _whereabouts(site, annotator)
    if url != urls["done"]:
        return RedirectResponse(url, status_code=303)
    with site.store.snapshot() as connection:
        is_closed = study_state(connection) == "closed"
        is_unfinished = _unfinished(connection, annotator) is not None
        answered, _ = progress_of(connection, annotator.id)
    if is_closed and (is_unfinished or not answered):
        raise closed()
    if not answered:
        return site.message(
            site.study.form.title, "There is nothing to rate at present: others have rated everything. Thank you!"
        )
    return site.page(
        "done.html",
        {"form": site.study.form, "code": annotator.code, "urls": {**urls, "previous": task_url(annotator, answered)}},
        path=urls["start"],
    )


# -- admin ------------------------------------------------------------------------------------------------------


async def admin_page(site: Site, request: Request) -> Response:
    site.require_admin(request)
    start_url = f"/admin/{site.study.secret}"
    found = await run_in_threadpool(site.overview.read, is_refresh="refresh" in request.query_params)
    context = {
        **found,
        "annotators": [_with_link(site, row) for row in found["annotators"]],
        "csrf": site.token(start_url, "admin"),
        "urls": admin.admin_urls(start_url),
    }
    return site.page("admin.html", context, path=start_url)


def _with_link(site: Site, row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "link": f"{site.where.base}/a/{row['token']}"}


async def act(site: Site, request: Request) -> Response:
    site.require_admin(request)
    start_url = f"/admin/{site.study.secret}"
    action = admin.ACTIONS.get(request.path_params["action"])
    if action is None:
        raise not_found("There is no such action.")
    given = await site.form_body(request)
    site.check_token(request, start_url, "admin", given.get("csrf", ""))

    def change(connection: sqlite3.Connection) -> None:
        action.change(connection, given.get("annotator", ""))

    await site.store.write(change, is_forgetting=action.is_forgetting)
    site.reload()
    return RedirectResponse(start_url, status_code=303)


async def jsonl(site: Site, request: Request) -> Response:
    site.require_admin(request)
    content = await run_in_threadpool(export_jsonl, site.store)
    return _download(content, "ratings.jsonl", "application/jsonl")


async def csv(site: Site, request: Request) -> Response:
    site.require_admin(request)
    content = await run_in_threadpool(export_csv, site.store)
    return _download(content, "ratings.csv", "text/csv; charset=utf-8")


def _download(content: bytes, name: str, media_type: str) -> Response:
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
