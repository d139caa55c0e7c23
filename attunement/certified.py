"""Is the kernel that runs the kernel that was proved?"""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import kernel
import kernel.limits
import kernel.quantity
import kernel.rules
import kernel.safety_kernel
import kernel.state

CERTIFICATE = "certificate.json"

# What was proved, and the shell around it, which was tested.
_PARTS = {
    "sources": (kernel.limits, kernel.quantity, kernel.rules, kernel.state),
    "shell": (kernel, kernel.safety_kernel),
}
_HELD = {"sources": "proved", "shell": "tested with it"}


class UnverifiedKernelError(Exception):
    """The running kernel is not the one that the certificate speaks of."""


def doubts(certificate: Path | None = None) -> tuple[str, ...]:
    """Compare the source of every module of the kernel, as imported, with the certificate.

    Args:
        certificate: The certificate's file, None for the one that ships with the proofs.

    Returns:
        One sentence for each reason to doubt; empty when the running kernel is the one that was certified.
    """
    path = certificate or shipped_certificate()
    if path is None:
        return ("no certificate ships with this installation",)
    try:
        certified = json.loads(path.read_text(encoding="utf-8"))["kernel"]
        return tuple(doubt for part in _PARTS for doubt in _doubts_of(part, _digests(certified, part)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return (f"certificate {path} cannot be read: {error}",)


def shipped_certificate() -> Path | None:
    """Find the certificate beside the proofs, without importing them and their solvers."""
    spec = importlib.util.find_spec("proofs")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / CERTIFICATE
        if path.is_file():
            return path
    return None


def _doubts_of(part: str, certified: Mapping[str, str]) -> tuple[str, ...]:
    held = _HELD[part]
    running = dict(map(_named_digest, _PARTS[part]))
    return tuple(
        f"kernel/{name}.py is not the source that was {held}"
        for name, digest in sorted(running.items())
        if certified.get(name) != digest
    ) + tuple(
        f"{name} was {held} and is not part of the running kernel"
        for name in sorted(certified.keys() - running)
    )


def _digests(certified: Mapping[str, object], part: str) -> Mapping[str, str]:
    digests = certified[part]
    if not (isinstance(digests, dict) and all(isinstance(digest, str) for digest in digests.values())):
        raise ValueError(f"kernel.{part} is no table of digests")
    return digests


def _named_digest(module: ModuleType) -> tuple[str, str]:
    path = Path(module.__file__ or "")
    return path.stem, hashlib.sha256(path.read_bytes()).hexdigest()
