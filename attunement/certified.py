"""Is the kernel that runs the kernel that was proved?"""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from importlib.abc import SourceLoader
from pathlib import Path
from types import ModuleType
from typing import Any

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
_THEOREMS = frozenset(f"T{number}" for number in range(1, 14))


class UnverifiedKernelError(Exception):
    """The running kernel is not the one that the certificate speaks of."""


def doubts(certificate: Path | None = None) -> tuple[str, ...]:
    """Compare every module of the kernel with the certificate: its source, and what was loaded for it.

    A bytecode file beside the source is trusted by Python if it names the source's size and time; whether it
    was compiled from that source is asked here.

    Args:
        certificate: The certificate's file, None for the one that ships with the proofs.

    Returns:
        One sentence for each reason to doubt; empty when the running kernel is the one that was certified.
    """
    path = certificate or shipped_certificate()
    if path is None:
        return ("no certificate ships with this installation",)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        certified, unproved = told["kernel"], sorted(_THEOREMS - _proved(told["theorems"]))
        return (
            *(doubt for part in _PARTS for doubt in _doubts_of(part, _digests(certified, part))),
            *(f"kernel/{_stem(module)}.py is not what was loaded" for module in _changed_modules()),
            *([f"the certificate does not prove {', '.join(unproved)}"] if unproved else ()),
        )
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


def _proved(theorems: list[dict[str, Any]]) -> set[str]:
    return {theorem["identifier"] for theorem in theorems if theorem["goals"]}


def _changed_modules() -> list[ModuleType]:
    return [module for part in _PARTS.values() for module in part if not _is_its_source(module)]


def _is_its_source(module: ModuleType) -> bool:
    loader = None if module.__spec__ is None else module.__spec__.loader
    if not isinstance(loader, SourceLoader):
        return False
    try:
        compiled = compile(_source(module), module.__file__ or "", "exec", dont_inherit=True)
        return loader.get_code(module.__name__) == compiled
    except (SyntaxError, ImportError):
        # It is another source by now than when it was imported.
        return False


def _named_digest(module: ModuleType) -> tuple[str, str]:
    return _stem(module), hashlib.sha256(_source(module)).hexdigest()


def _stem(module: ModuleType) -> str:
    return Path(module.__file__ or "").stem


def _source(module: ModuleType) -> bytes:
    return Path(module.__file__ or "").read_bytes()
