"""The command that serves the web page."""

import socket
from pathlib import Path

import click

from attunement.cli_common import EXIT_ERROR, complain, config_option, configuration
from attunement.config_forms import HOST, is_host
from attunement.control_protocol import socket_path

_BACKLOG = 128


@click.command("serve")
@config_option
@click.option("--host", help="Address to listen at, instead of the configuration's.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port, instead of the configuration's.")
def serve_command(config_path: Path | None, host: str | None, port: int | None) -> int:
    """Serve the page that shows what α is doing and why, beside a running loop or over a ledger.

    Read-only unless serve.token_path names a token; an order counts by its signatures alone.

    Example: lambda-attunement serve --config attunement.yaml
    """
    # Imported here: the server's libraries take longer to load than most commands run.
    from attunement.dashboard.guard import Door, hosts_of, read_token
    from attunement.dashboard.journal_index import JournalIndex
    from attunement.dashboard.serving import PageServer

    if host and not is_host(host):
        raise click.UsageError(f"--host is {host!a}, must be {HOST.words}")
    config = configuration(config_path)
    address = config.serve.host if host is None else host
    door = Door(hosts_of(address, config.serve.names), read_token(config.serve.token_path))
    index = JournalIndex(Path(config.logging.audit_ledger_path))
    wanted = config.serve.port if port is None else port
    try:
        listener = _listen(address, wanted)
    except OSError as error:
        index.close()
        said = f"cannot listen at {_shown(address)}:{wanted}: {error.strerror or error}"
        return complain(f"{said}; choose another by --port or serve.port", EXIT_ERROR)
    click.echo(f"http://{_shown(address)}:{listener.getsockname()[1]}/")
    shown = None if config_path is None else str(config_path)
    with listener:
        PageServer(socket_path(config), index, door, shown).run(sockets=[listener])
    index.close()
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # From here on a browser that was told the address is waited for, not refused.
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
