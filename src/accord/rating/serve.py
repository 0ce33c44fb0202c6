"""Serving a study until somebody stops the program."""

import gc
import socket
from collections.abc import Callable
from typing import NamedTuple

from accord.errors import ConfigError
from accord.ranges import check_numbers
from accord.rating.annotators import invite_until, read_annotators
from accord.rating.app import build_app
from accord.rating.security import Addresses, addresses, is_loopback
from accord.rating.settings import ServeSettings
from accord.rating.store import Store
from accord.rating.study import load_study

CLOSING_SECONDS = 5
"""How long requests that are being answered may take when the program is asked to stop."""
KEEP_ALIVE_SECONDS = 75
"""How long a browser's connection may lie idle: longer than most people think about a question."""


class Served(NamedTuple):
    """What to tell whoever started the server: the admin page, each good link by annotator, a warning or None."""

    admin: str
    links: dict[str, str]
    warning: str | None


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
    warning = None
    if not is_loopback(settings.host):
        warning = f"listening on {settings.host}: everybody who can reach this machine can reach the study."
        if not where.is_https:
            warning += " Links and answers travel unencrypted; put a proxy with https before it (--public-url)."
    return Served(f"{where.base}/admin/{load_study(store).secret}", links, warning)


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
