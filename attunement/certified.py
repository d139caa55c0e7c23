"""Is the kernel that runs the kernel that was proved?"""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

import kernel.limits
import kernel.quantity
import kernel.rules
import kernel.state

CERTIFICATE = "certificate.json"

_PROVED = (kernel.limits, kernel.quantity, kernel.rules, kernel.state)


class UnverifiedKernelError(Exception):
    """The running kernel is not the one that the certificate speaks of."""


def doubts(certificate: Path | None = None) -> tuple[str, ...]:
    """Compare the source of every proved module, as imported, with the certificate.

    Args:
        certificate: The certificate's file, None for the one that ships with the proofs.

    Returns:
        One sentence for each reason to doubt; empty when the running kernel is the one that was proved.
    """
    path = certificate or shipped_certificate()
    if path is None:
        return ("no certificate ships with this installation",)
    try:
        proved = _proved_digests(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return (f"certificate {path} cannot be read: {error}",)
    running = {module.__name__.removeprefix("kernel."): _digest(module.__file__) for module in _PROVED}
    return tuple(
        f"kernel/{name}.py is not the source that was proved"
        for name, digest in sorted(running.items())
        if proved.get(name) != digest
    ) + tuple(
        f"{name} was proved and is not part of the running kernel" for name in sorted(proved.keys() - running)
    )


def shipped_certificate() -> Path | None:
    """Find the certificate beside the proofs, without importing them and their solvers."""
    spec = importlib.util.find_spec("proofs")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / CERTIFICATE
        if path.is_file():
            return path
    return None


def _proved_digests(path: Path) -> Mapping[str, str]:
    sources = json.loads(path.read_text(encoding="utf-8"))["kernel"]["sources"]
    if not (isinstance(sources, dict) and all(isinstance(digest, str) for digest in sources.values())):
        raise ValueError("kernel.sources is no table of digests")
    return sources


def _digest(file: str | None) -> str:
    return "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
