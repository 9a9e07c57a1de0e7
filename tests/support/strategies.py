"""Hypothesis strategies for the things of a log, and for what is nearly one of them."""

from __future__ import annotations

from hypothesis import strategies as st

from ipfs_log_handlers.format.cid import CODECS, RAW, Cid

codecs = st.sampled_from(sorted(CODECS))
blocks = st.binary(max_size=200)
cids = st.builds(Cid.of, codecs, blocks)
named_blocks = blocks.map(lambda block: (Cid.of(RAW, block), block))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ints = st.one_of(st.integers(-300, 300), st.integers(-(2**64), 2**64 - 1))
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(st.none(), st.booleans(), ints, floats, texts, blocks, cids)

dag_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(texts, inner, max_size=5)),
    max_leaves=25,
)
"""Whatever DAG-CBOR can hold."""

pieces = st.lists(st.binary(max_size=50), max_size=12)
"""A stream, in pieces of any size."""
