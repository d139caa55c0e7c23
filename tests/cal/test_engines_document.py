"""The configurations in docs/engines.md are accepted as they stand."""

import re
from pathlib import Path

import pytest

from attunement.config import loads

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def test_the_watched_system_of_the_document_is_accepted():
    (whole,) = [block for block in BLOCKS if block.startswith("version")]
    config = loads(whole)
    assert config.engine.kind == "prometheus"
    assert config.prometheus.entropy_rate.reduce == "rise"
    assert config.prometheus.apply_auth.token_path == "/run/secrets/shop-token"


def test_the_isolated_optimizer_of_the_document_is_accepted():
    (whole,) = [block for block in BLOCKS if block.startswith("attunement:\n  optimizer")]
    config = loads(whole)
    assert (config.optimizer.name, config.optimizer.isolate) == ("half-step", True)


@pytest.mark.parametrize("named", re.findall(r"\]\(\.\./([^)]+)\)", TEXT))
def test_every_file_that_the_document_names_is_there(named):
    assert (Path(__file__).resolve().parents[2] / named).is_file()
