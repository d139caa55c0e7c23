"""Golden vectors of others: C2SP, golang/mod, tessera, sigsum, torchwood, sunlight and merkle."""

import hashlib
import json
import re
import struct
from pathlib import Path

import pytest

from ledger import (
    Checkpoint,
    KeyFileError,
    NoteError,
    NoteKey,
    NoteSigner,
    ProofError,
    SigningKey,
    open_checkpoint,
)
from ledger.checkpoint import parse_decimal
from ledger.evidence import TlogProof, manifest_of
from ledger.keys import VerifyKey, decode_base64, encode_base64
from ledger.merkle import (
    EMPTY_ROOT,
    RightEdge,
    leaf_hash,
    node_hash,
    prove_consistency,
    prove_inclusion,
    subtree_root,
    verify_consistency,
    verify_inclusion,
)
from ledger.note import Note, parse_signatures, signature_line
from ledger.tiles import Tile, TileReader, encode_bundle_entry, parse_path, partials, split_bundle
from ledger.tree import Tree

VECTORS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "tlog" / "VECTORS.md"

PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
PETER_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"  # noqa: E501
ENOCH_LINE = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"  # noqa: E501
SUMDB_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SUMDB = """go.sum database tree
35225469
vt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=

— sum.golang.org Az3grpukl5AXaVfYkLiDGORx/DN2nlcS5kZHR5uYOBV2KA2HgXpD+gu9HHONebHLAyaKbbTM75QTtPydhKCExixSfwQ=
"""
TESSERA_KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
TESSERA_SKEY = "PRIVATE+KEY+example.com/log/testdata+33d7b496+AeymY/SZAX0jZcJ8enZ5FY1Dz+wTML2yWSkK+9DSF3eg"
TESSERA_ENTRIES = (
    b"one two three four five six seven eit nain ten ileven twelf threeten fourten fivten".split()
)
TESSERA_BUNDLE = (
    "00036f6e65000374776f000574687265650004666f757200046669766500037369780005736576656e000365697400046e61696e"
    "000374656e0006696c6576656e00057477656c660008746872656574656e0007666f757274656e000666697674656e"
)
TESSERA_15 = """example.com/log/testdata
15
rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=

— example.com/log/testdata M9e0luh4jTG+UMBqOUo9/q+yAEvx1ilBEniMvjf1zfcBOhg+CKubMt53MvIt/uEWP6zdkdIQzd/fmwlM/dlPWF74ewI=
"""  # noqa: E501
COSIGNED_BY_2 = """milan2026h1.example.org
300
lCkHUpkmVBEms2r2T1K6Og69+wUuuN3MIEW1/ezu2v0=

— witness2.example.org LlW4lgAAAABpVGeAN/uFWqfjdU94rrKxFycCggM0Sa1L5tOJCJdYBwJ41CQsgKWA6B0+vywok3cPI3JIzuPeR+VotuYe/eNy0+30Dw==
"""  # noqa: E501
COSIGNED = """rome2026h1.example.org
300
lCkHUpkmVBEms2r2T1K6Og69+wUuuN3MIEW1/ezu2v0=

— rome2026h1.example.org kVB1JgAAAZtxtEwABAMARzBFAiEAi+mTa2xjL1IdWpH82OeciGsGvwRAP+f1WkfKaSZCfFECIHoNPZ/Q3y6UNzvKOO9cuLr6V16vPNfhwhle9f6r5H/Z
— witness.example.org uKLPIAAAAABpVGeAhm2bOvKc3LaB9PFN1ruG19Y5yqslmcAAbhftnn1Zznmo0LXFZq4LGvqKqLX8jWlwLKasxEGTLIqAVusneCBmBw==
"""  # noqa: E501
WITNESS = "witness.example.org+b8a2cf20+BFLN3yikSfFkVAJtrnh/CiY3Zozkoy7clp+P7XB28qUN"
WITNESS_2 = "witness2.example.org+2e55b896+BIZ7fpceQWd60IfqQeS9IAnmNOCZjMDne8lZuguz/bi9"

CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    bytes.fromhex(root)
    for root in (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]


def signer_of(skey):
    """A signer from Go's text form of a private key."""
    name, _, seed = skey.removeprefix("PRIVATE+KEY+").split("+", 2)
    return NoteSigner(name, SigningKey(decode_base64(seed)[1:]))


def note(*lines, text=TEXT):
    return (text + "\n" + "".join(lines)).encode()


@pytest.mark.parametrize(
    "vkey",
    [
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        PETER,
        ENOCH,
        SUMDB_KEY,
        TESSERA_KEY,
        WITNESS,
        WITNESS_2,
        "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    ],
)
def test_vkeys_are_read_and_written(vkey):
    assert str(NoteKey.parse(vkey)) == vkey
    for place in range(len(vkey)):
        with pytest.raises(NoteError):
            NoteKey.parse(vkey[:place])
        with pytest.raises(NoteError):
            NoteKey.parse(vkey[place + 1 :])
        with pytest.raises(NoteError):
            NoteKey.parse(vkey[:place] + chr(ord(vkey[place]) + 1) + vkey[place + 1 :])


def test_the_key_part_may_hold_a_plus_sign():
    vkey = "example.org/key+57bfe580+BAFFLINGNESS+AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    assert str(NoteKey.parse(vkey)) == vkey


@pytest.mark.parametrize(
    "vkey",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "",
        "a+b",
        "a+00000000+",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_bad_vkeys_are_refused(vkey):
    with pytest.raises(NoteError):
        NoteKey.parse(vkey)


def test_a_note_of_two_signers_is_signed_byte_for_byte():
    peter, enoch = NoteKey.parse(PETER), NoteKey.parse(ENOCH)
    data = note(PETER_LINE, ENOCH_LINE)
    assert signer_of(PETER_SKEY).sign(TEXT) == note(PETER_LINE)
    parsed = Note.parse(data)
    assert parsed.text == TEXT
    assert set(parsed.signers([peter, enoch])) == {peter, enoch}
    assert set(parsed.signers([peter])) == {peter}
    assert parsed.signers([NoteKey.parse(SUMDB_KEY)]) == {}
    assert set(Note.parse(note(PETER_LINE, PETER_LINE)).signers([peter])) == {peter}


def test_other_notes_of_the_specification():
    example = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"  # noqa: E501
    key = NoteKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    assert list(Note.parse(example.encode()).signers([key])) == [key]
    poem = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n"
    line = "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"  # noqa: E501
    assert Note.parse(note(line, text=poem)).text == poem


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode() + b"\n",
        note(PETER_LINE)[:-1],
        b"\x01" + note(PETER_LINE),
        b"\xff" + note(PETER_LINE),
        note(PETER_LINE.replace("PeterNeumann", "Bad Name")),
        note(PETER_LINE.replace("PeterNeumann", "Bad\u2003Name")),
        note(PETER_LINE.replace("PeterNeumann", "Bad+Name")),
        note(PETER_LINE, "more\n"),
        note(*[PETER_LINE] * 101),
        note(PETER_LINE.replace("=\n", "\n")),
        note(PETER_LINE.replace("AM=\n", "AN=\n")),
        note("— PeterNeumann x08gow==\n"),
        note("— PeterNeumann\n"),
        note("- PeterNeumann x08go/Zi\n"),
        bytes(2**20 + 1),
    ],
)
def test_malformed_notes_are_refused(data):
    with pytest.raises(NoteError):
        Note.parse(data)


def test_a_bad_signature_of_a_known_key_refuses_the_whole_note():
    peter, enoch = NoteKey.parse(PETER), NoteKey.parse(ENOCH)
    bad = ENOCH_LINE.replace("BzmZa0", "BzmZa1")
    with pytest.raises(NoteError, match="not a signature of this note by EnochRoot"):
        Note.parse(note(PETER_LINE, bad)).signers([peter, enoch])
    assert set(Note.parse(note(PETER_LINE, bad)).signers([peter])) == {peter}
    with pytest.raises(NoteError):
        Note.parse(note(PETER_LINE, PETER_LINE.replace("/ZJ", "/ZK"))).signers([peter])
    assert len(Note.parse(note(*[PETER_LINE] * 100)).signatures) == 100


def test_two_keys_of_one_name_and_hash_are_ambiguous(monkeypatch):
    peter = NoteKey.parse(PETER)
    twin = NoteKey("PeterNeumann", SigningKey(bytes(32)).verify_key)
    monkeypatch.setattr(NoteKey, "key_hash", peter.key_hash)
    with pytest.raises(NoteError, match="two keys have the name PeterNeumann"):
        Note.parse(note(PETER_LINE)).signers([peter, twin])


def test_a_checkpoint_whose_origin_is_not_the_name_of_its_key():
    key = NoteKey.parse(SUMDB_KEY)
    signed = open_checkpoint(SUMDB.encode(), key, origin="go.sum database tree")
    assert (signed.checkpoint.size, signed.note) == (35225469, SUMDB.encode())
    with pytest.raises(NoteError, match=r"origin is 'go.sum database tree', must be 'sum.golang.org'"):
        open_checkpoint(SUMDB.encode(), key)
    with pytest.raises(NoteError, match="not signed by PeterNeumann"):
        open_checkpoint(SUMDB.encode(), NoteKey.parse(PETER))


@pytest.mark.parametrize(
    "text",
    [
        "origin\n1\n",
        "\n1\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n",
        "origin\n01\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n",
        "origin\n+1\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n",
        "origin\n1_0\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n",
        "origin\n٣\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n",
        "origin\n-1\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n",
        "origin\n99999999999999999999\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n",
        "origin\n1\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJC==\n",
        "origin\n1\nvt5T\n",
        "origin\n1\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n\nmore\n",
        "origin\n1\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=",
    ],
)
def test_malformed_checkpoints_are_refused(text):
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


def test_a_checkpoint_keeps_its_extension_lines():
    text = "origin\n1\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\none\ntwo words\n"
    assert Checkpoint.parse(text).extensions == ("one", "two words")
    assert Checkpoint.parse(text).text == text
    assert [parse_decimal(text) for text in ("0", "12", "", "00", " 1", "1\n")] == [
        0,
        12,
        None,
        None,
        None,
        None,
    ]


def test_a_whole_small_log_of_another_implementation():
    key, tree, edge = NoteKey.parse(TESSERA_KEY), Tree(), RightEdge()
    assert edge.root() == EMPTY_ROOT
    for entry in TESSERA_ENTRIES:
        assert tree.add(entry, leaf_hash(entry)) == []
        edge.append(leaf_hash(entry))
    contents = {tile.path: data for tile, data in tree.partial()}
    assert list(contents) == ["tile/entries/000.p/15", "tile/0/000.p/15"]
    assert contents["tile/entries/000.p/15"] == bytes.fromhex(TESSERA_BUNDLE)
    assert hashlib.sha256(contents["tile/0/000.p/15"]).hexdigest() == (
        "93593af14d2cce39867d2e73fe4ca400a38581605c5c4501a03e752d9b51a130"
    )
    assert split_bundle(contents["tile/entries/000.p/15"]) == TESSERA_ENTRIES
    signed = open_checkpoint(TESSERA_15.encode(), key)
    assert signed.checkpoint.root == tree.root() == edge.root()
    assert signer_of(TESSERA_SKEY).sign(signed.checkpoint.text) == TESSERA_15.encode()


def test_every_size_of_that_log():
    if not VECTORS.exists():
        pytest.skip("the vectors are not here")
    rows = re.findall(r"^(\d+) (\S{43}=) (M9e0l\S+)$", VECTORS.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(size) for size, _, _ in rows] == list(range(16))
    tree, signer = RightEdge(), signer_of(TESSERA_SKEY)
    for (size, root, signature), entry in zip(rows, [*TESSERA_ENTRIES, b""], strict=True):
        assert encode_base64(tree.root()) == root
        signed = signer.sign(Checkpoint(signer.name, int(size), tree.root()).text)
        assert signed.decode().endswith(f"— {signer.name} {signature}\n")
        tree.append(leaf_hash(entry))


def test_a_checkpoint_of_sigsum_is_signed_byte_for_byte():
    key = SigningKey(bytes([0x11]) + bytes(31))
    assert key.verify_key.raw.hex() == "66e0b858e462a609e66fe71370c816d8846ff103d5499a22a7fec37fdbc424a7"
    name = f"sigsum.org/v1/tree/{hashlib.sha256(key.verify_key.raw).hexdigest()}"
    root = decode_base64("HA5HAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    line = f"— {name} gJ2ho0n8F8olcerUF1FFdv235A/5as/coWrpLrtE7ovMeP5whgwouYExowG/lTznxu6OUGjjt5yJQ6bXtTcf718MqAQ=\n"  # noqa: E501
    assert NoteSigner(name, key).sign(Checkpoint(name, 10, root).text).decode().endswith(f"\n\n{line}")


@pytest.mark.parametrize(("vkey", "data"), [(WITNESS, COSIGNED), (WITNESS_2, COSIGNED_BY_2)])
def test_cosignatures_of_witnesses(vkey, data):
    key = NoteKey.parse(vkey)
    (signature,) = Note.parse(data.encode()).signers([key]).values()
    assert signature.timestamp == 1767139200
    with pytest.raises(NoteError, match="not a signature"):
        Note.parse(data.replace("\n300\n", "\n301\n").encode()).signers([key])


def test_the_time_of_a_cosignature():
    data = decode_base64(
        "ZGhGuQAAAABm/qTPeyKXD+R2rzyQsxPiP8mXum7qq/iF0u4vanlqJyocWODBt97w9uL+"
        "8qT7S5gxEHWWOworDcFiEBYJXORmnFBOBA=="
    )
    (signature,) = parse_signatures(signature_line("w", data))
    assert signature.timestamp == 1727964367
    (plain,) = parse_signatures(PETER_LINE)
    with pytest.raises(NoteError, match="carries no time"):
        _ = plain.timestamp


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: b"\xff" + data[1:], lambda data: data[8:]]
)
def test_a_cosignature_of_the_wrong_length_or_an_impossible_time_does_not_hold(change):
    key = NoteKey.parse(WITNESS)
    (signature,) = Note.parse(COSIGNED.encode()).signers([key]).values()
    assert key.verifies(Note.parse(COSIGNED.encode()).text, signature.data)
    assert not key.verifies(Note.parse(COSIGNED.encode()).text, change(signature.data))


def test_no_signature_lines_are_malformed():
    for lines in ("", PETER_LINE[:-1]):
        with pytest.raises(NoteError):
            parse_signatures(lines)


def ct_node(level, index):
    return subtree(CT_LEAVES[index << level : (index + 1) << level])


def subtree(leaves):
    """MTH as RFC 6962 writes it, by recursion."""
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(subtree(leaves[:split]), subtree(leaves[split:]))


def test_the_hashes_of_rfc_6962():
    assert encode_base64(leaf_hash(b"hello world")) == "TszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0="
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    edge = RightEdge()
    for leaf, root in zip(CT_LEAVES, CT_ROOTS, strict=True):
        edge.append(leaf_hash(leaf))
        assert edge.root() == root == subtree_root(ct_node, 0, edge.size)


def test_proofs_of_another_implementation():
    if not VECTORS.exists():
        pytest.skip("the vectors are not here")
    found = re.findall(r'^\{"((?:inclusion|consistency)/\d)":(\{.*\})\}$', VECTORS.read_text(), re.MULTILINE)
    assert len(found) == 10
    for name, text in found:
        case = {
            key: decode_base64(value) if isinstance(value, str) else value
            for key, value in json.loads(text).items()
        }
        proof = [decode_base64(value) for value in case["proof"] or []]
        if name.startswith("inclusion"):
            verify_inclusion(case["leafHash"], case["leafIdx"], case["treeSize"], case["root"], proof)
            assert prove_inclusion(ct_node, case["leafIdx"], case["treeSize"]) == proof
        else:
            verify_consistency(case["size1"], case["size2"], case["root1"], case["root2"], proof)
            assert prove_consistency(ct_node, case["size1"], case["size2"]) == proof


def spoiled(proof):
    """Proofs that must not hold, made from one that does."""
    other = bytes(32)
    yield [*proof, other]
    yield [*proof, b""]
    yield [other, *proof]
    for place in range(len(proof)):
        yield [*proof[:place], *proof[place + 1 :]]
        yield [*proof[:place], bytes([proof[place][0] ^ 1]) + proof[place][1:], *proof[place + 1 :]]
        yield [*proof[:place], proof[place][:-1], *proof[place + 1 :]]
        yield [*proof[:place], proof[place], *proof[place:]]
    if len(proof) > 1:
        yield proof[::-1]


def test_every_inclusion_proof_holds_and_nothing_near_it():
    for size in range(1, 9):
        root = CT_ROOTS[size - 1]
        for index in range(size):
            leaf, proof = leaf_hash(CT_LEAVES[index]), prove_inclusion(ct_node, index, size)
            verify_inclusion(leaf, index, size, root, proof)
            for bad in spoiled(proof):
                with pytest.raises(ProofError):
                    verify_inclusion(leaf, index, size, root, bad)
            for arguments in [
                (leaf, index + 1, size, root),
                (leaf, index, size, bytes(32)),
                (leaf, index, size, b""),
                (b"", index, size, root),
                (leaf, -1, size, root),
                (leaf, size, size, root),
                (leaf, index, 0, root),
            ]:
                with pytest.raises(ProofError):
                    verify_inclusion(*arguments, proof)


def test_every_consistency_proof_holds_and_nothing_near_it():
    roots = [EMPTY_ROOT, *CT_ROOTS]
    for new in range(1, 9):
        for old in range(new + 1):
            proof = prove_consistency(ct_node, old, new)
            verify_consistency(old, new, roots[old], roots[new], proof)
            for bad in spoiled(proof):
                with pytest.raises(ProofError):
                    verify_consistency(old, new, roots[old], roots[new], bad)
            for arguments in [
                (old, new, bytes(32), roots[new]),
                (old, new, b"", roots[new]),
                (old, new, roots[old], b""),
                (-1, new, roots[old], roots[new]),
                (new + 1, new, roots[old], roots[new]),
            ]:
                with pytest.raises(ProofError):
                    verify_consistency(*arguments, proof)
            if old > 0:
                with pytest.raises(ProofError):
                    verify_consistency(old, new, roots[old], bytes(32), proof)
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    with pytest.raises(ProofError):
        verify_consistency(0, 0, EMPTY_ROOT, bytes(32), [])
    with pytest.raises(ProofError, match="empty"):
        verify_consistency(3, 5, roots[3], roots[5], [])


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (0, 0)])
def test_proofs_that_cannot_be_made(index, size):
    with pytest.raises(ProofError):
        prove_inclusion(ct_node, index, size)
    with pytest.raises(ProofError):
        prove_consistency(ct_node, size + 1, size)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(63, 123456078, 5), "tile/63/x123/x456/078.p/5"),
        (Tile(None, 7, 255), "tile/entries/007.p/255"),
    ],
)
def test_tile_paths(tile, path):
    assert tile.path == path
    assert parse_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/123/456/078",
        "tile/-1/000",
        "tile/64/000",
        "tile/00/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/01",
        "tile/0/x000/000",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/000\n",
        "tile/0/٠٠٠",
        "tile/8/0/000",
        "",
    ],
)
def test_paths_that_are_no_tiles(path):
    with pytest.raises(ProofError):
        parse_path(path)


@pytest.mark.parametrize("figures", [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)])
def test_tiles_that_cannot_be(figures):
    with pytest.raises(ProofError):
        Tile(*figures)


def test_the_partial_tiles_of_a_size():
    assert [(tile.level, tile.index, tile.width) for tile in partials(70_000)] == [
        (None, 273, 112),
        (0, 273, 112),
        (1, 1, 17),
        (2, 0, 1),
    ]
    assert list(partials(256)) == [Tile(1, 0, 1)]
    assert list(partials(0)) == []


def test_a_tree_of_three_levels_of_tiles(tmp_path):
    tree, size = Tree(), 65_536 + 300
    for number in range(size):
        entry = struct.pack(">I", number)
        for tile, data in tree.add(entry, leaf_hash(entry)):
            (tmp_path / tile.path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / tile.path).write_bytes(data)
    for tile, data in tree.partial():
        (tmp_path / tile.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / tile.path).write_bytes(data)
    assert (tmp_path / "tile/2/000.p/1").exists()
    reader = TileReader(tmp_path, size)
    assert reader.root(size) == tree.root()
    for index in (0, 255, 256, 65_535, 65_536, size - 1):
        proof = prove_inclusion(reader.node, index, size)
        assert reader.entry(index) == struct.pack(">I", index)
        verify_inclusion(leaf_hash(struct.pack(">I", index)), index, size, tree.root(), proof)
    for old in (1, 256, 65_535, 65_536, 65_537, size):
        verify_consistency(
            old, size, reader.root(old), tree.root(), prove_consistency(reader.node, old, size)
        )


@pytest.mark.parametrize("bundle", [b"\0", b"\0\5abcd", b"\0\1a\0\2b"])
def test_bundles_that_end_too_soon(bundle):
    with pytest.raises(ProofError, match="ends within entry"):
        split_bundle(bundle)
    assert split_bundle(encode_bundle_entry(b"ab") + encode_bundle_entry(b"")) == [b"ab", b""]


PROOF = f"c2sp.org/tlog-proof@v1\nindex 0\n\n{TESSERA_15}"


def test_a_tlog_proof_is_read_and_written():
    for text in (PROOF, PROOF.replace("index 0\n", f"extra AAEC\nindex 3\n{encode_base64(bytes(32))}\n")):
        assert TlogProof.parse(text.encode()).encode() == text.encode()
    assert TlogProof.parse(text.encode()) == TlogProof(3, (bytes(32),), TESSERA_15.encode(), b"\0\1\2")


def test_a_tlog_proof_of_another_log_holds():
    key, tree = NoteKey.parse(TESSERA_KEY), Tree()
    for entry in TESSERA_ENTRIES:
        tree.add(entry, leaf_hash(entry))
    hashes = prove_inclusion(
        lambda level, index: subtree(TESSERA_ENTRIES[index << level : index + 1 << level]), 4, 15
    )
    proof = TlogProof(4, tuple(hashes), TESSERA_15.encode())
    assert proof.verify(b"five", key).checkpoint.size == 15
    with pytest.raises(ProofError):
        proof.verify(b"six", key)
    with pytest.raises(NoteError):
        proof.verify(b"five", NoteKey.parse(PETER))


@pytest.mark.parametrize(
    "data",
    [
        PROOF.replace("@v1", "@v2"),
        PROOF.replace("index 0", "extra !!\nindex 0"),
        PROOF.replace("index 0", "extra AAEC"),
        PROOF.replace("index 0\n", ""),
        PROOF.replace("index 0", "index notanumber"),
        PROOF.replace("index 0", "index -5"),
        PROOF.replace("index 0", "index 05"),
        PROOF.replace("index 0\n", "index 0\n!!\n"),
        PROOF.replace("index 0\n", "index 0\nAAEC\n"),
        PROOF.replace("index 0\n", "index 0\n" + f"{encode_base64(bytes(32))}\n" * 64),
        "c2sp.org/tlog-proof@v1\nindex 0",
        "c2sp.org/tlog-proof@v1",
        "",
        "x" * (2**20 + 1),
    ],
)
def test_malformed_tlog_proofs_are_refused(data):
    with pytest.raises(ProofError):
        TlogProof.parse(data.encode())


def test_the_hash_of_a_manifest_is_that_of_sha256sum(tmp_path):
    lines = manifest_of({"b": b"2", "a": b"1"}).decode().splitlines()
    assert lines == [f"{hashlib.sha256(b'1').hexdigest()}  a", f"{hashlib.sha256(b'2').hexdigest()}  b"]
    with pytest.raises(ProofError, match="newline"):
        manifest_of({"a\nb": b""})


def test_the_identity_point_is_no_key():
    with pytest.raises(KeyFileError, match="small order"):
        VerifyKey(bytes([1]) + bytes(31))
