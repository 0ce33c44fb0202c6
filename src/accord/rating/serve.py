"""Serving a study until somebody stops the program."""

import gc
import socket
import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from accord.errors import ConfigError
from accord.ranges import check_numbers
from accord.rating.annotators import invite_until, read_annotators
from accord.rating.app import build_app
from accord.rating.security import Addresses, addresses, is_loopback
from accord.rating.settings import ServeSettings
from accord.rating.store import Store
from accord.rating.study import Study, load_study

CLOSING_SECONDS = 5
"""How long requests that are being answered may take when the program is asked to stop."""
KEEP_ALIVE_SECONDS = 75
"""How long a browser's connection may lie idle: longer than most people think about a question."""


class Served(NamedTuple):
    """What to tell whoever started the server: the admin page, each good link by annotator, what to beware of."""

    admin: str
    links: dict[str, str]
    warnings: list[str]


def check_address(settings: ServeSettings) -> None:
    """Before anything is written, whether the settings say where to serve.

    Raises:
        ConfigError: no port, no public URL, or none where one is needed.
    """
    check_numbers(settings)
    addresses(settings, settings.port)


def serve_study(
    store: Store, settings: ServeSettings, *, n_annotators: int, announce: Callable[[Served], None]
) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is called once the server can be reached.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    import uvicorn

    with _listen(settings) as listener:
        where = addresses(settings, listener.getsockname()[1])
        store.write_now(lambda connection: invite_until(connection, n_annotators))
        config = uvicorn.Config(
            build_app(store, where),
            log_level="warning",
            access_log=False,  # its lines would hold the links
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=CLOSING_SECONDS,
        )
        announce(describe_server(store, where, settings))
        gc.collect()
        gc.freeze()  # else every full collection walks all imported modules, and all who are saving wait for it
        uvicorn.Server(config).run(sockets=[listener])


def describe_server(store: Store, where: Addresses, settings: ServeSettings) -> Served:
    """The links under which a study is served."""
    with store.snapshot() as connection:
        links = {
            annotator.name: f"{where.base}/a/{annotator.token}"
            for annotator in read_annotators(connection)
            if not annotator.is_revoked
        }
        n_needed = _n_annotators_needed(connection, load_study(store))
    warnings = []
    if not is_loopback(settings.host):
        warnings.append(f"listening on {settings.host}: everybody who can reach this machine can reach the study.")
        if not where.is_https:
            warnings.append("links and answers travel unencrypted; put a proxy with https before it (--public-url).")
    if len(links) < n_needed:
        warnings.append(
            f"{n_needed} annotators are needed for all texts to be rated as often as asked for, because each of them "
            f"meets a prompt once; there are {len(links)} links. Make more with --annotators or on the admin page."
        )
    return Served(f"{where.base}/admin/{load_study(store).secret}", links, warnings)


def _n_annotators_needed(connection: sqlite3.Connection, study: Study) -> int:
    """Pages of the prompt that has most, times annotators an item."""
    n_pages = connection.execute(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM sheets WHERE kind = 'rate' GROUP BY prompt)"
    ).fetchone()[0]
    return int(n_pages) * study.settings.annotators_per_item


def _listen(settings: ServeSettings) -> socket.socket:
    """A socket that already takes connections, so that a link works as soon as it is printed."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror or error}. Choose another --port "
            "or --host; --port 0 takes a free one."
        ) from None
