"""The Huffman code of HPACK, the half that reads: RFC 7541, section 5.2 and appendix B.

An automaton takes a byte at a time: it knows for each node of the code's tree, and each byte that may follow, the node
after it and the symbols that came out.
"""

from collections.abc import Iterable

END = 256  # a symbol that may not be sent; what its code begins with pads the last byte
# Bits of the code of each symbol, as digits of base 36. The code is canonical: shorter ones come first, and among those
# of one length the smaller symbol.
_BITS = [int(digit, 36) for digit in (
    "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad67777777777777777777777878djde6f565"
    "65666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmnqqkjmnmp"
    "qqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrqu"
)]  # fmt: skip
_DEAD = 256  # the state after what is no code


def _tree() -> list[list[int]]:
    """Of each node the two below it; a symbol stands as its complement."""
    nodes = [[0, 0]]
    code = bits = 0
    for symbol in sorted(range(len(_BITS)), key=lambda symbol: (_BITS[symbol], symbol)):
        code <<= _BITS[symbol] - bits
        bits = _BITS[symbol]
        at = 0
        for place in range(bits - 1, 0, -1):
            side = code >> place & 1
            if not nodes[at][side]:
                nodes[at][side] = len(nodes)
                nodes.append([0, 0])
            at = nodes[at][side]
        nodes[at][code & 1] = ~symbol
        code += 1
    return nodes


_NODES = _tree()


def _step(node: int, bits: Iterable[int]) -> tuple[int, bytes]:
    """The node after some bits, and what came out; _DEAD where that is no code."""
    out = b""
    for bit in bits:
        node = _NODES[node][bit]
        if node < 0:
            if ~node == END:
                return _DEAD, b""
            out += bytes((~node,))
            node = 0
    return node, out


def _automaton() -> tuple[list[list[int]], list[list[bytes]]]:
    """By node and byte: the node after it, and what came out. Two steps of half a byte make a row."""
    quarters = [[number >> place & 1 for place in (3, 2, 1, 0)] for number in range(16)]
    halves = [[_step(node, bits) for bits in quarters] for node in range(len(_NODES))]
    halves.append([(_DEAD, b"")] * 16)
    after, out = [], []
    once: dict[bytes, bytes] = {}  # the same symbols come out at many places
    for firsts in halves:
        pairs = [(node, first + second) for middle, first in firsts for node, second in halves[middle]]
        after.append([node for node, _ in pairs])
        out.append([once.setdefault(symbols, symbols) for _, symbols in pairs])
    return after, out


_AFTER, _OUT = _automaton()
_PADDING = {0, *(_step(0, [1] * bits)[0] for bits in range(1, 8))}  # the nodes at which a text may end


def decoded(text: bytes) -> bytes:
    """A text from its code. Raises ValueError where it is none."""
    node, after, out = 0, _AFTER, _OUT
    pieces = []
    for byte in text:
        pieces.append(out[node][byte])
        node = after[node][byte]
    if node not in _PADDING:
        raise ValueError("a text is not in the code of HPACK")
    return b"".join(pieces)
