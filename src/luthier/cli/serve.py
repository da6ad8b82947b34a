"""`luthier serve`: the API on this machine."""

import logging
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.domain.hosts import LOOPBACK
from luthier.errors import ConfigError

if TYPE_CHECKING:
    from luthier.config import Settings

# Seconds. Clients keep connections for their next call; the old one pauses for up to a minute between two of them.
_KEEP_ALIVE = 90
_SHUTDOWN = 10  # seconds that open streams are given at the end


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.", min=0, max=65535)] = 8080,
    require_key: Annotated[
        bool, typer.Option("--require-key", help="Ask callers for a key even while none has been made.")
    ] = False,
    insecure_no_keys: Annotated[
        bool, typer.Option("--insecure-no-keys", help="Ask nobody for a key, wherever callers come from.")
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log each request.")] = False,
) -> None:
    """Start the server: the API for files, fine-tunes, models and completions."""
    from luthier.config import load_settings

    if require_key and insecure_no_keys:
        raise ConfigError("--require-key and --insecure-no-keys contradict each other. Leave one out.")
    settings = load_settings()
    if require_key or insecure_no_keys:
        settings = settings.model_copy(update={"require_key": require_key})
    elif host not in LOOPBACK:
        settings = _with_keys(settings, host, port)
    # Threads of the tensor library that wait in a loop for each other, as is their default, starve a server that
    # shares its cores with a training run: a decoding step took twelve times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    listener = _listen(host, port)
    with listener:
        _run(listener, host, settings, verbose)


def _with_keys(settings: "Settings", host: str, port: int) -> "Settings":
    """Settings for a server that other machines reach: it asks for keys, and there are some.

    Raises:
        ConfigError: nobody has a key, or the settings say that none is asked.
    """
    from luthier.cli.keys import key_service

    if settings.require_key is False:
        raise ConfigError(
            f"LUTHIER_REQUIRE_KEY=false would let anybody in who reaches {host}. Unset it; or, where the network "
            "itself is closed, add --insecure-no-keys."
        )
    with key_service() as keys:
        if not (keys.any_valid() or settings.require_key or settings.oidc_issuer):
            raise ConfigError(
                f"At {host} other machines reach this server, and nobody has a key for it yet. Make one first: "
                "`luthier keys create NAME`. Or keep --host 127.0.0.1 and come in through an SSH tunnel "
                f"(`ssh -L {port}:127.0.0.1:{port} this-machine`)."
            )
    return settings.model_copy(update={"require_key": True})


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that a port in use is told before anything is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise ConfigError(f"'{host}' is no address of this machine.") from None
    listener = socket.socket(family, kind, protocol)
    if socket.SO_REUSEADDR and hasattr(socket, "AF_UNIX"):  # on Windows it would let two servers share the port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"Cannot listen at {host}:{port}: {error.strerror}. If another `luthier serve` runs there, use it; "
            f"otherwise take another port with --port, such as {port + 1 if port < 65535 else 8080}."
        ) from None
    return listener


def _run(listener: socket.socket, host: str, settings: "Settings", verbose: bool) -> None:
    import uvicorn

    from luthier.server.app import create_app

    url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"

    app = create_app(settings)

    class Server(uvicorn.Server):
        """Greets once it really answers, and ends the streams that would go on when it stops."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                _greet(url, settings, asks=app.state.services.access.asks())

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.stopping = True
            await super().shutdown(sockets)

    logging.basicConfig(format="%(levelname)s:     %(message)s", level=logging.INFO if verbose else logging.WARNING)
    config = uvicorn.Config(
        app,
        log_level="info" if verbose else "warning",
        access_log=verbose,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_SHUTDOWN,
    )
    server = Server(config)
    with suppress(KeyboardInterrupt):  # uvicorn raises it again after it has shut down
        server.run(sockets=[listener])
    if not server.started:
        raise SystemExit(3)  # uvicorn has told why
    render.say("Stopped. Running fine-tunes go on from their last checkpoint at the next start.")


def _greet(url: str, settings: "Settings", *, asks: bool) -> None:
    from luthier import __version__

    key = "sk-…" if asks else "sk-any"
    keys = "callers need one: luthier keys" if asks else "none is asked; luthier keys create NAME changes that"
    render.say(f"Luthier {__version__} is ready at {url}", style="bold green")
    render.say(
        f"  state        {settings.home}\n"
        f"  weights      {settings.models_dir}\n"
        f"  keys         {keys}\n"
        f"  old client   export OPENAI_API_BASE={url}/v1 OPENAI_API_KEY={key}\n"
        f"  new clients  export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}\n"
        f"  Azure's      the endpoint is {url}, with that key and any api-version\n"
        f"  try          luthier tune FILE, or luthier --help\n"
        f"Ctrl-C stops it."
    )
