"""Sums over the rows of a batch: gradients of biases, and of layers of few units.

It knows pointers and strides, nothing of layers.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from glassprop.core.jit import PANEL_BYTES
from glassprop.core.vectors import VECTOR_BYTES, fma_of, index, load, loop, store_first, vector_of


@intrinsic
def sum_rows(typingctx, source, source_panel, units, weights, weights_panel, count, panels, target, target_row):
    """target[o, u] = Σ over panels and rows of source[u] times weights[o], for `units` and `count` units of panels of P.

    As many units at a time as a vector has lanes: the vertical sums of all of them, which are then transposed and added in one
    go; where registers suffice for two weights, two at a time, since sums of one would wait for themselves. Panels lie
    `source_panel` and `weights_panel` elements apart, rows of the target `target_row`; `source` is read up to a whole number of
    vectors.
    """
    size = types.int64
    signature = types.void(source, size, size, source, size, size, size, source, size)

    def codegen(context, builder, sig, args):
        source, source_panel, units, weights, weights_panel, count, panels, target, target_row = args
        vector, lanes = vector_of(sig.args[0])
        vectors, align = PANEL_BYTES // VECTOR_BYTES, sig.args[0].dtype.bitwidth // 8
        at_a_time = 2 if 2 * lanes <= VECTOR_BYTES // 4 else 1  # AVX-512 has 32 registers, others 16
        fma = fma_of(builder, vector)

        def some_units(step, _):
            start = builder.mul(step, index(lanes))
            lines = builder.gep(source, [builder.mul(start, index(vectors * lanes))])
            left = builder.sub(units, start)

            def some_weights(first, number):
                line = builder.gep(weights, [builder.mul(first, index(vectors * lanes))])

                def one_panel(p, sums):
                    panel, sums = builder.gep(lines, [builder.mul(p, source_panel)]), list(sums)
                    weight = builder.gep(line, [builder.mul(p, weights_panel)])
                    for v in range(vectors):
                        ws = [load(builder, weight, index((o * vectors + v) * lanes), vector, align) for o in range(number)]
                        for u in range(lanes):
                            x = load(builder, panel, index((u * vectors + v) * lanes), vector, align)
                            for o, w in enumerate(ws):
                                sums[o * lanes + u] = fma(x, w, sums[o * lanes + u])
                    return sums

                sums = loop(builder, panels, [ir.Constant(vector, None)] * (number * lanes), one_panel)
                for o in range(number):
                    place = builder.add(builder.mul(builder.add(first, index(o)), target_row), start)
                    total = transpose_and_add(builder, sums[o * lanes : (o + 1) * lanes])
                    store_first(builder, [total], [builder.gep(target, [place])], left, align)
                return []

            whole = builder.sdiv(count, index(at_a_time))
            with builder.if_then(builder.icmp_signed(">", whole, index(0))):
                loop(builder, whole, [], lambda i, _: some_weights(builder.mul(i, index(at_a_time)), at_a_time))
            if at_a_time > 1:
                done = builder.mul(whole, index(at_a_time))
                with builder.if_then(builder.icmp_signed("<", done, count)):
                    some_weights(done, 1)
            return []

        loop(builder, builder.sdiv(builder.add(units, index(lanes - 1)), index(lanes)), [], some_units)
        return context.get_dummy_value()

    return signature, codegen


def transpose_and_add(builder, sums):
    """A vector of the sum over all lanes of each of `sums`, as many as a vector has lanes."""
    lanes = step = len(sums)
    while step := step // 2:  # lanes with this bit go on with the sums of vectors with this bit
        own = [lane if not lane & step else lanes + lane for lane in range(lanes)]
        other = [i ^ step for i in own]
        sums = [add_shuffled(builder, sums[i], sums[i + step], own, other) for i in range(step)]
    return sums[0]


def add_shuffled(builder, a, b, first, second):
    """The sum of two choices of lanes from those of `a` and `b`, which count from 0 on."""
    parts = [
        builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), [ir.IntType(32)(i) for i in lanes]))
        for lanes in (first, second)
    ]
    return builder.fadd(*parts)
