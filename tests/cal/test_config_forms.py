"""No text passes the configuration that whoever takes it in the end would refuse, or fall over."""

import contextlib
import json
import os
import socket
from typing import Any

import attrs
import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attunement.cli import cli as command_line
from attunement.cli_common import FilePath
from attunement.config import loads
from attunement.config_forms import HOST, ORIGIN, PATH, SOCKET, is_host
from attunement.config_option import _members
from attunement.config_schema import ROOT, Config, ConfigError
from attunement.control_protocol import PATH_MAX_BYTES
from attunement.order import OrderError, check_words
from ledger import NoteError, NoteKey, SigningKey

KEY = SigningKey(bytes(32)).verify_key
# What a list's member needs beside the key that is looked at.
BESIDE = {
    "name": "ines",
    "key_path": "ines.pub",
    "kind": "psi",
    "start": 1,
    "length": 1,
    "magnitude": 1,
}


def text_keys(section: Any = Config, path: tuple[str, ...] = ()) -> Any:
    """The path of every key that takes text; "[]" stands for a member of a list."""
    for field in attrs.fields(section):
        here = (*path, field.name)
        if attrs.has(field.type):
            yield from text_keys(field.type, here)
        elif str in _members(field.type):
            yield here
        for member in getattr(field.type, "__args__", ()):
            if attrs.has(member):
                yield from text_keys(member, (*here, "[]"))


def document(path: tuple[str, ...], value: object) -> Any:
    """A configuration that sets one key."""
    if not path:
        return value
    if path[0] == "[]":
        return [{**{name: BESIDE[name] for name in ("name", "key_path")}, path[1]: value}]
    return {path[0]: document(path[1:], value)}


def problems(path, value):
    try:
        loads(json.dumps({ROOT: document(path, value)}))
    except ConfigError as error:
        return error.problems
    return ()


KEYS = list(text_keys())


def test_every_text_is_looked_at():
    assert len(KEYS) > 30
    assert ("governance", "operators", "[]", "name") in KEYS


@pytest.mark.parametrize("path", KEYS, ids=".".join)
@pytest.mark.parametrize("text", ["a\0b", "\0", "", " \t", "a\ud800b"], ids=ascii)
def test_a_text_that_nobody_can_take_is_named_by_its_key(path, text):
    key = ".".join(path).replace(".[]", "[0]")
    said = [one for one in problems(path, text) if one.startswith(f"{ROOT}.{key} is ")]
    assert len(said) == 1
    assert ", must be " in said[0]
    assert said[0].isprintable()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("logging.origin", "a b"),
        ("logging.origin", "a+b"),
        ("logging.origin", "a\nb"),
        ("logging.origin", "a\u00a0b"),
        ("logging.origin", "a\u202eb"),
        ("logging.origin", "x" * 256),
        ("logging.head_store", "redis://x"),
        ("logging.head_store", "sqlite:"),
        ("metrics.host", "a..b"),
        ("metrics.host", "a b"),
        ("metrics.host", "x" * 64),
        ("metrics.host", "[::1]"),
        ("metrics.host", "127.0.0.1:9464"),
        ("serve.host", ".a"),
        ("serve.host", "http://a"),
        ("serve.names", "localhost, a b"),
        ("serve.names", "example.com:8080"),
        ("serve.names", "*.example.com"),
        ("control.socket", "x" * 108),
        ("control.socket", "ä" * 54),
        ("prometheus.auth.username", "a:b"),
        ("prometheus.auth.username", "a\nb"),
        ("governance.operators.[].name", "a\nb"),
        ("governance.operators.[].name", "x" * 401),
    ],
)
def test_a_text_that_its_user_would_refuse_is_named_by_its_key(key, text):
    said = problems(tuple(key.split(".")), text)
    assert [one.split(" ")[0] for one in said] == [f"{ROOT}.{key.replace('.[]', '[0]')}"]
    assert said[0].isprintable()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("logging.origin", "λ.example/log"),
        ("logging.origin", "x" * 255),
        ("logging.head_store", "postgresql://host/db"),
        ("logging.audit_ledger_path", "var/my ledger\n"),
        ("logging.audit_ledger_path", "\udcff"),
        ("metrics.host", "::"),
        ("metrics.host", "fe80::1%eth0"),
        ("metrics.host", "bücher.example"),
        ("metrics.host", "node_7.local."),
        ("serve.names", "localhost,  a.example,"),
        ("control.socket", "x" * 107),
        ("prometheus.auth.username", "ines wagner"),
        ("governance.operators.[].name", "Ines Wagner 3"),
    ],
)
def test_a_text_that_its_user_takes_passes(key, text):
    section, _, name = key.rpartition(".")
    whole = {"prometheus.auth": {"password_path": "secret"}}.get(section, {})
    path = tuple(key.split("."))
    if whole:
        path, text = path[:-1], {name: text, **whole}
    # A surrogate is what a byte of the environment becomes that is no UTF-8: YAML has no other way to say it.
    assert problems(path, text) == ()


@given(st.text(st.characters(), max_size=20) | st.text("a +\n\u00a0λ\u200b", max_size=6))
def test_an_origin_passes_if_and_only_if_a_note_can_be_signed_under_it(text):
    try:
        taken = NoteKey(text, KEY) is not None
    except NoteError:
        taken = False
    assert ORIGIN.fits(text) == taken


@given(st.text(st.characters(), max_size=20))
@example("a\0b")
@example("\ud800")
def test_a_path_that_passes_can_be_asked_for(text):
    try:
        with contextlib.suppress(OSError):
            os.lstat(text)
    except ValueError:
        assert not PATH.fits(text)
        assert not SOCKET.fits(text)


@given(st.text(st.characters(), max_size=80) | st.from_regex(r"[a-z0-9._:%\[\] -]{1,70}", fullmatch=True))
@example("a..b")
@example("x" * 64)
def test_a_host_that_passes_can_be_asked_for(text):
    assert HOST.fits(text) == is_host(text)
    if is_host(text) and ":" not in text:
        # What bind() and getaddrinfo() do to a name before they look for it.
        text.encode("idna")


def test_a_socket_has_the_length_that_the_system_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        one.bind("x" * PATH_MAX_BYTES)
        with pytest.raises(OSError, match="too long"):
            other.bind("x" * (PATH_MAX_BYTES + 1))


@pytest.mark.parametrize("text", ["", "a\nb", "x" * 401, "Ines", "λ"])
def test_an_operators_name_can_stand_in_an_order(text):
    try:
        check_words(text, "a reason")
    except OrderError:
        assert problems(("governance", "operators", "[]", "name"), text)
    else:
        assert not problems(("governance", "operators", "[]", "name"), text)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://a b/", "without spaces"),
        ("http://a/ü", "of ASCII"),
        ("http://a\n.example/", r"a\n.example"),
        ("http://a..b/", "must be a host"),
        ("http://a\0b/", "without NUL"),
        ("http://a/?x=1", "must have no query"),
        ("http://a/#x", "must have no query"),
    ],
)
def test_an_address_that_cannot_be_asked_is_named(url, said):
    body = {
        "engine": {"kind": "prometheus"},
        "prometheus": {
            "url": url,
            "clock": "c",
            "coherence": {"promql": "q"},
            "apply_url": "http://127.0.0.1/alpha?unit=1",
        },
    }
    with pytest.raises(ConfigError) as caught:
        loads(json.dumps({ROOT: body}))
    (problem,) = caught.value.problems
    assert problem.startswith(f"{ROOT}.prometheus.url is ")
    assert said in problem
    assert problem.isprintable()


def test_the_command_line_names_the_key(cli):
    for key, text in (
        ("logging.origin", "a b"),
        ("logging.audit_ledger_path", r"a\0b"),
        ("source.folder", r"a\0b"),
        ("metrics.host", "a..b"),
    ):
        for command in (("config", "check"), ("run",)):
            code, out, err = cli(*command, "--set", f'{key}="{text}"')
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert err.startswith(f"error: {ROOT}.{key} is ")


def commands(command: Any = command_line, words: tuple[str, ...] = ()) -> Any:
    """Every command with its words."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*words, name))
    else:
        yield words, command


PATHS = [
    (words, option)
    for words, command in commands()
    for option in command.params
    if isinstance(option.type, click.Path)
]


@pytest.mark.parametrize(
    ("words", "option"), PATHS, ids=[" ".join((*words, option.name)) for words, option in PATHS]
)
def test_no_path_of_a_command_may_hold_nul(cli, words, option):
    assert isinstance(option.type, FilePath)
    given_as = [option.opts[0]] if isinstance(option, click.Option) else []
    code, out, err = cli(*words, *given_as, "a\0b")
    assert (code, out) == (2, "")
    assert r"'a\x00b' is no path, must be a path" in err


def test_serve_is_not_given_a_host_that_is_none(cli, site):
    code, _, err = cli("serve", "--config", site.config(), "--host", "a..b")
    assert (code, "--host is 'a..b', must be a host name or an address" in err) == (2, True)
