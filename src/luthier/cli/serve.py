"""`luthier serve`: the API on this machine."""

import logging
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.errors import ConfigError

if TYPE_CHECKING:
    from luthier.config import Settings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Seconds. Clients keep connections for their next call; the old one pauses for up to a minute between two of them.
_KEEP_ALIVE = 90
_SHUTDOWN = 10  # seconds that open streams are given at the end


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.", min=0, max=65535)] = 8080,
    insecure_no_keys: Annotated[
        bool,
        typer.Option("--insecure-no-keys", help="Listen beyond this machine although no key is asked of callers."),
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log each request.")] = False,
) -> None:
    """Start the server: the API for files, fine-tunes, models and completions."""
    if host not in _LOOPBACK and not insecure_no_keys:
        raise ConfigError(
            f"Luthier asks no key of its callers yet, so at {host} anybody who reaches this machine could read your "
            "data and train on it. Keep --host 127.0.0.1 and come in through an SSH tunnel "
            f"(`ssh -L {port}:127.0.0.1:{port} this-machine`) or a reverse proxy that checks who calls; where the "
            "network itself is closed, add --insecure-no-keys."
        )
    # Threads of the tensor library that wait in a loop for each other, as is their default, starve a server that
    # shares its cores with a training run: a decoding step took twelve times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    listener = _listen(host, port)
    with listener:
        _run(listener, host, verbose)


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


def _run(listener: socket.socket, host: str, verbose: bool) -> None:
    import uvicorn

    from luthier.config import load_settings
    from luthier.server.app import create_app

    settings = load_settings()
    url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"

    app = create_app(settings)

    class Server(uvicorn.Server):
        """Greets once it really answers, and ends the streams that would go on when it stops."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                _greet(url, settings)

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


def _greet(url: str, settings: "Settings") -> None:
    from luthier import __version__

    render.say(f"Luthier {__version__} is ready at {url}", style="bold green")
    render.say(
        f"  state        {settings.home}\n"
        f"  weights      {settings.models_dir}\n"
        f"  old client   export OPENAI_API_BASE={url}/v1 OPENAI_API_KEY=sk-any\n"
        f"  new clients  export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=sk-any\n"
        f"  Azure's      the endpoint is {url}, with any key and api-version\n"
        f"  try          luthier tune FILE, or luthier --help\n"
        f"Ctrl-C stops it."
    )
