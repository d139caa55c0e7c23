import base64
import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ledger import KeyFileError, SigningKey, VerifyKey, generate, load_private, load_public
from ledger.keys import PRIVATE_TAG, PUBLIC_TAG, _render, decode_base64

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
PRIME_ORDER = 2**252 + 27742317777372353535851937790883648493


def add(left, right):
    (x1, y1), (x2, y2) = left, right
    product = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def multiply(factor, point):
    result = (0, 1)
    while factor:
        if factor & 1:
            result = add(result, point)
        point = add(point, point)
        factor >>= 1
    return result


def small_order_points():
    """The group of points whose order divides 8: a point of full order, times the prime, generates it."""
    for y in range(2, 200):
        square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        x = pow(square, (P + 3) // 8, P)
        if x * x % P != square:
            x = x * pow(2, (P - 1) // 4, P) % P
        if x * x % P != square:
            continue
        generator = multiply(PRIME_ORDER, (x, y))
        points = {multiply(factor, generator) for factor in range(8)}
        if len(points) == 8:
            return points
    raise AssertionError("no point of full order among the first y")


def test_all_eight_points_of_small_order_are_refused_in_every_encoding():
    points = small_order_points()
    encodings = {y | sign << 255 for _, y in points for sign in (0, 1)}
    encodings |= {y + P | sign << 255 for _, y in points if y + P < 2**255 for sign in (0, 1)}
    assert {y | (x & 1) << 255 for x, y in points} <= encodings
    for encoding in encodings:
        with pytest.raises(KeyFileError, match=r"small order|above 2\*\*255"):
            VerifyKey(encoding.to_bytes(32, "little"))


def test_the_refused_identity_would_verify_anything():
    identity = bytes([1]) + bytes(31)
    Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), b"whatever was not signed")


def test_signature_of_the_standard_vector():
    key = SigningKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    assert key.verify_key.raw.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"") == signature
    assert key.verify_key.verifies(signature, b"")
    assert not key.verify_key.verifies(signature, b"x")
    # S + L stands for the same S: accepted by careless verifiers.
    order = int.from_bytes(signature[32:], "little") + PRIME_ORDER
    assert not key.verify_key.verifies(signature[:32] + order.to_bytes(32, "little"), b"")


def test_generated_files_hold_the_pair(tmp_path):
    key = generate(tmp_path / "key", tmp_path / "key.pub")
    assert load_private(tmp_path / "key").verify_key == load_public(tmp_path / "key.pub") == key.verify_key
    assert hash(load_public(tmp_path / "key.pub")) == hash(key.verify_key)
    assert key.verify_key != key.verify_key.raw
    assert stat.S_IMODE(os.stat(tmp_path / "key").st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["key", "key.pub"]


def test_the_secret_is_not_in_any_text_form(tmp_path):
    key = generate(tmp_path / "key", tmp_path / "key.pub")
    secret = (tmp_path / "key").read_text().split()[2]
    assert repr(key) == f"SigningKey({key.verify_key.key_id})"
    assert repr(key.verify_key) == f"VerifyKey({key.verify_key.key_id})"
    assert secret not in (tmp_path / "key.pub").read_text()


@pytest.mark.parametrize("taken", ["key", "key.pub"])
def test_generate_overwrites_nothing_and_leaves_no_half_pair(tmp_path, taken):
    (tmp_path / taken).write_text("precious")
    with pytest.raises(KeyFileError, match=f"{taken} exists, a key file is never overwritten"):
        generate(tmp_path / "key", tmp_path / "key.pub")
    assert os.listdir(tmp_path) == [taken]
    assert (tmp_path / taken).read_text() == "precious"


def test_generate_says_what_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileError, match=r"cannot write .*file/key: Not a directory"):
        generate(tmp_path / "file" / "key", tmp_path / "key.pub")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_private_key_that_others_may_open_is_refused(tmp_path, mode):
    generate(tmp_path / "key", tmp_path / "key.pub")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(KeyFileError, match=rf"mode 0{mode:o}, must be its owner's alone: chmod 600 .*key"):
        load_private(tmp_path / "key")
    (tmp_path / "key").chmod(0o400)
    load_private(tmp_path / "key")


@pytest.mark.parametrize("load", [load_private, load_public])
def test_a_key_that_cannot_be_read_is_a_key_file_error(tmp_path, load):
    with pytest.raises(KeyFileError, match="No such file"):
        load(tmp_path / "absent")
    with pytest.raises(KeyFileError, match="Is a directory"):
        load(tmp_path)


def damage(text):
    tag, key_id, payload = text.split()
    yield "", "is not a key file"
    yield text * 2, "is not a key file"
    yield text.replace("-v1", "-v2"), "is not a key file, must begin with"
    yield text.replace(" ", "  "), "is not a key file"
    yield text.replace(tag[:4], "λ"), "is not a key file"
    yield text.rstrip("\n"), "is malformed"
    yield text + "\n", "is malformed"
    yield text.replace(key_id, key_id.upper() + "0"), "is malformed"
    yield text.replace(payload, payload[:-1]), "not canonical base64"
    yield text.replace(payload, payload[:8] + "*" + payload[8:]), "not canonical base64"
    yield text.replace(payload, payload[:-1] + "é"), "not canonical base64"
    yield text.replace(payload, base64.b64encode(bytes(31)).decode()), "holds a key of 31 bytes, must have 32"
    yield f"{tag} {key_id} {base64.b64encode(b'x' * 2000).decode()}\n", "key"


@pytest.mark.parametrize(("name", "load"), [("key", load_private), ("key.pub", load_public)])
def test_damaged_files_are_refused(tmp_path, name, load):
    generate(tmp_path / "key", tmp_path / "key.pub")
    original = (tmp_path / name).read_text()
    for text, message in damage(original):
        (tmp_path / name).write_text(text)
        with pytest.raises(KeyFileError, match=message):
            load(tmp_path / name)


def test_one_changed_bit_of_the_secret_is_noticed_when_it_is_read(tmp_path):
    generate(tmp_path / "key", tmp_path / "key.pub")
    tag, key_id, payload = (tmp_path / "key").read_text().split()
    seed = bytearray(base64.b64decode(payload))
    seed[5] ^= 1
    (tmp_path / "key").write_text(f"{tag} {key_id} {base64.b64encode(seed).decode()}\n")
    with pytest.raises(KeyFileError, match="its key id or its line end does not fit its key"):
        load_private(tmp_path / "key")


def test_private_and_public_files_are_not_taken_for_each_other(tmp_path):
    generate(tmp_path / "key", tmp_path / "key.pub")
    (tmp_path / "key.pub").chmod(0o600)
    with pytest.raises(KeyFileError, match="is not a key file"):
        load_private(tmp_path / "key.pub")
    with pytest.raises(KeyFileError, match="is not a key file"):
        load_public(tmp_path / "key")


def test_a_small_order_key_in_a_file_is_refused_with_the_file_named(tmp_path):
    payload = base64.b64encode(bytes([1]) + bytes(31)).decode()
    (tmp_path / "bad.pub").write_text(f"lambda-attunement-public-key-v1 {'0' * 16} {payload}\n")
    with pytest.raises(KeyFileError, match=r"bad\.pub: public key is a point of small order"):
        load_public(tmp_path / "bad.pub")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_wrong_lengths_are_refused(length):
    with pytest.raises(KeyFileError, match=f"private key has {length} bytes, must have 32"):
        SigningKey(bytes(length))
    with pytest.raises(KeyFileError, match=f"public key has {length} bytes, must have 32"):
        VerifyKey(bytes(length))


@pytest.mark.parametrize("text", ["QR==", "QQ", "QQ==\n", " QQ==", "Q Q=", "QQ==QQ==", "-_8=", "é"])
def test_base64_has_one_spelling(text):
    assert decode_base64("QQ==") == b"A"
    assert decode_base64(text) is None


PRINTED = ["9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", bytes(range(32)).hex()]


@pytest.mark.parametrize("seed", PRINTED)
def test_a_key_whose_secret_is_in_print_is_not_read(tmp_path, seed):
    key = SigningKey(bytes.fromhex(seed))
    private, public = tmp_path / "key", tmp_path / "key.pub"
    private.write_bytes(_render(PRIVATE_TAG, key.verify_key, bytes.fromhex(seed)))
    private.chmod(0o600)
    public.write_bytes(_render(PUBLIC_TAG, key.verify_key, key.verify_key.raw))
    for load, path in ((load_private, private), (load_public, public)):
        with pytest.raises(KeyFileError, match="holds a test key: its secret was published"):
            load(path)


@pytest.mark.parametrize(
    "committed",
    [
        "734f3ac00db9a81bedfb13f67e35a1b401a12657a319cc2e66bfa0ca895c611d",
        "84d5a82ef758e84be010a336beb70f15c1b763df7bf02cba60060d1c26c4205d",
    ],
)
def test_a_key_whose_secret_is_in_this_projects_history_is_not_read(tmp_path, committed):
    key, public = VerifyKey(bytes.fromhex(committed)), tmp_path / "key.pub"
    public.write_bytes(_render(PUBLIC_TAG, key, key.raw))
    with pytest.raises(KeyFileError, match="holds a test key: its secret was published"):
        load_public(public)


def test_another_implementation_agrees_with_our_signatures():
    key, message = SigningKey(os.urandom(32)), os.urandom(100)
    signature = key.sign(message)
    Ed25519PublicKey.from_public_bytes(key.verify_key.raw).verify(signature, message)
    assert key.verify_key.verifies(signature, message)
    assert not key.verify_key.verifies(signature, message + b"x")
    assert not key.verify_key.verifies(signature[:-1], message)
    # The same point with the group's order added to the scalar: RFC 8032 demands that it is refused.
    scalar = int.from_bytes(signature[32:], "little") + PRIME_ORDER
    malleated = signature[:32] + scalar.to_bytes(32, "little")
    assert not key.verify_key.verifies(malleated, message)
