"""The Merkle tree of RFC 6962, section 2.1, over SHA-256: its roots, its proofs and their verifiers.

A node is named by its level and its index: node (level, index) is the root of the `2**level` leaves from
`index * 2**level` on.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from ledger.errors import ProofError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

Nodes: TypeAlias = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf that holds `entry`."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\1" + left + right).digest()


class RightEdge:
    """A growing tree, of which only the right edge is held: one hash for each bit of the size."""

    def __init__(self) -> None:
        self.size = 0
        # Roots of the perfect subtrees of the size's binary digits, the largest first.
        self._stack: list[bytes] = []

    def append(self, leaf: bytes) -> list[bytes]:
        """Add a leaf hash, and return the roots of the perfect subtrees that end with it, by their level."""
        size = self.size
        ending = [leaf]
        while size & 1:
            leaf = node_hash(self._stack.pop(), leaf)
            ending.append(leaf)
            size >>= 1
        self._stack.append(leaf)
        self.size += 1
        return ending

    def root(self) -> bytes:
        """Return the root of the tree as it is now."""
        if not self._stack:
            return EMPTY_ROOT
        root = self._stack[-1]
        for left in self._stack[-2::-1]:
            root = node_hash(left, root)
        return root


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [node_hash(*hashes[at : at + 2]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def subtree_root(nodes: Nodes, begin: int, end: int) -> bytes:
    """Return MTH(D[begin:end]), where `begin` is a multiple of a power of two not below the length."""
    edge = [
        nodes(level, (begin >> level) + ((end - begin) >> level) - 1)
        for level in reversed(range((end - begin).bit_length()))
        if (end - begin) >> level & 1
    ]
    root = edge.pop()
    while edge:
        root = node_hash(edge.pop(), root)
    return root


def prove_inclusion(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """Return PATH(index, D[0:size]), the leaf's sibling first.

    Raises:
        ProofError: there is no such leaf in a tree of this size.
    """
    if not 0 <= index < size:
        raise ProofError(f"index is {index}, must lie in [0, {size})")
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(subtree_root(nodes, middle, end))
            end = middle
        else:
            path.append(subtree_root(nodes, begin, middle))
            begin = middle
    return path[::-1]


def prove_consistency(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """Return PROOF(old, D[0:new]); empty if the sizes are equal, or the old one is 0.

    Raises:
        ProofError: the sizes are out of order.
    """
    if not 0 <= old <= new:
        raise ProofError(f"old size is {old}, must lie in [0, {new}]")
    proof: list[bytes] = []
    begin, end, known = 0, new, True
    while old not in (0, end):
        middle = begin + _split(end - begin)
        if old <= middle:
            proof.append(subtree_root(nodes, middle, end))
            end = middle
        else:
            proof.append(subtree_root(nodes, begin, middle))
            begin, known = middle, False
    if old and not known:
        proof.append(subtree_root(nodes, begin, end))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that a leaf hash stands at `index` in the tree of this size and root (RFC 9162, 2.1.3.2).

    Raises:
        ProofError: it is not shown to.
    """
    _check_hashes(leaf, root, *proof)
    if not 0 <= index < size:
        raise ProofError(f"index is {index}, must lie in [0, {size})")
    place, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if place & 1 or place == last:
            computed = node_hash(sibling, computed)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        place, last = place >> 1, last >> 1
    if not (last == 0 and computed == root):
        raise ProofError(f"leaf {index} is not in the tree of size {size} with this root")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that a tree is the beginning of another (RFC 9162, 2.1.4.2).

    The empty tree is the beginning of every tree, as witnesses have it: with the old size 0 the proof must
    be empty and the old root that of no leaves.

    Raises:
        ProofError: it is not shown to be.
    """
    _check_hashes(old_root, new_root, *proof)
    if not 0 <= old <= new:
        raise ProofError(f"old size is {old}, must lie in [0, {new}]")
    if old in (0, new):
        expected = EMPTY_ROOT if old == 0 else new_root
        if not (not proof and old_root == expected and (new > 0 or new_root == EMPTY_ROOT)):
            raise ProofError(f"sizes {old} and {new} need an empty proof and the root that follows from them")
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise ProofError("the consistency proof is empty")
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    of_old = of_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("the consistency proof is too long")
        if place & 1 or place == last:
            of_old, of_new = node_hash(sibling, of_old), node_hash(sibling, of_new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            of_new = node_hash(of_new, sibling)
        place, last = place >> 1, last >> 1
    if not (last == 0 and of_old == old_root and of_new == new_root):
        raise ProofError(f"the tree of size {old} is not the beginning of the tree of size {new}")


def _split(size: int) -> int:
    return int(1 << (size - 1).bit_length() - 1)


def _check_hashes(*hashes: bytes) -> None:
    for value in hashes:
        if not len(value) == HASH_BYTES:
            raise ProofError(f"a hash has {len(value)} bytes, must have {HASH_BYTES}")
