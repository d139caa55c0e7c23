"""The pages of this repository: what they name is there, and what they show is as it is today."""

import importlib.util
import pkgutil
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import click
import pytest

from attunement.cli import cli
from optimizers.registry import NAMES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("runbooks/**/*.md")])
FIGURES = ROOT / "docs" / "figures"
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def named(page):
    return [unquote(name) for name in LINK.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page):
    for name in named(page):
        if "://" not in name:
            assert (page.parent / name).exists(), name


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_heading_that_a_page_names_is_there(page):
    for name, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        assert unquote(anchor) in anchors(page.parent / unquote(name) if name else page), (name, anchor)


def test_the_readme_leads_to_every_page():
    led_to = {(ROOT / name).resolve() for name in named(ROOT / "README.md")}
    assert {page for page in PAGES if page.parent == ROOT / "docs"} <= led_to


@pytest.mark.parametrize("page", ["LAMBDA_ATTUNEMENT.md", "optimizers.md"])
def test_every_optimizer_is_told_of(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    ours = {name for name in NAMES if not name.startswith("adversary:")}
    assert ours == ours & set(re.findall(r"^\| `?([\w-]+)", text, re.MULTILINE))


def test_what_the_design_names_of_the_code_exists():
    text = (ROOT / "docs" / "LAMBDA_ATTUNEMENT.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`((?:attunement|kernel|ledger|optimizers)\.[\w.]+)", text))
    assert len(names) > 10
    for name in names:
        assert pkgutil.resolve_name(name) is not None
    for path in re.findall(r"`((?:attunement|kernel|ledger|optimizers|proofs|benchmarks)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path


def test_every_picture_is_shown_on_a_page():
    shown = {(page.parent / name).resolve() for page in PAGES for name in named(page) if "://" not in name}
    pictures = {*FIGURES.glob("*.png"), *FIGURES.glob("*.svg")}
    assert pictures <= shown, sorted(one.name for one in pictures - shown)


def terminal_commands(monkeypatch):
    pytest.importorskip("playwright.sync_api")
    monkeypatch.setattr(sys, "path", [str(FIGURES), *sys.path])
    spec = importlib.util.spec_from_file_location("make_terminal", FIGURES / "make_terminal.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.COMMANDS


def test_the_terminal_of_the_readme_shows_commands_as_they_are_today(monkeypatch):
    drawn = (FIGURES / "terminal.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(drawn)
    text = "".join(root.itertext()).replace("\N{NO-BREAK SPACE}", " ")
    assert not re.findall(r"url\(['\"]?https?:|href=", drawn)
    for command in terminal_commands(monkeypatch):
        words, found = shlex.split(command), cli
        while isinstance(found, click.Group):
            found = found.commands[words.pop(0)]
        options = {name for parameter in found.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
        assert f"lambda-attunement {command}"[:80] in text
