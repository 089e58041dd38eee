// Weights packed into panels for the products of a call.
#pragma once
#include "walk.h"

namespace {

struct Packing : Walk {
    using Walk::Walk;

    void pack_panel(const Product& product, long q, int now) {
        const Plan& plan = team.plan;
        const Call& call = team.call;
        real* p = team.packed + product.packed + q * product.depth * L;
        const bool transposed = team.backward();
        for (int t = 0; t < product.terms; t++) {
            const TermPlan& of = product.term[t];
            if (!transposed) {
                for (int w = 0; w < now; w++) {
                    const long block = (q + w) / product.outputs;
                    const int part = of.part[(q + w) % product.outputs];
                    const long left = plan.units[product.size] - block * L, lanes = left < L ? left : L;
                    if (part < 0) pack_column(team.zeros, 0, 0, of.depth, p + w * L, now * L);
                    else pack_column(call.weight[part] + block * L * call.weight_row[part], call.weight_row[part], lanes, of.depth, p + w * L, now * L);
                }
                p += of.depth * now * L;
                continue;
            }
            const int size = team.steps.where[of.source[0]].size;
            const long left = plan.units[product.size] - q * L, columns = left < now * L ? left : now * L;
            for (long block = 0; block < plan.blocks[size]; block++)
                for (int s = 0; s < of.sources; s++)
                    for (long lane = 0; lane < L; lane++, p += now * L) {
                        const long unit = block * L + lane;
                        long i = 0;
                        if (unit < plan.units[size]) {
                            const real* row = call.weight[of.part[s]] + unit * call.weight_row[of.part[s]] + q * L;
                            for (; i < columns; i++) p[i] = row[i];
                        }
                        for (; i < now * L; i++) p[i] = 0;
                    }
        }
    }
    void pack_product(const Product& product, long group, int width, bool whole, int& turn) {
        const Plan& plan = team.plan;
        for (int owner = 0; owner < (whole || team.by_rows ? 1 : team.threads); owner++) {
            long first = 0, last = plan.blocks[product.size];
            if (!whole) team.range(product.size, owner, first, last);
            for (long begin = first; begin < last; begin += group) {
                const long end = begin + group < last ? begin + group : last;
                for (long q = begin * product.outputs; q < end * product.outputs; q += width)
                    if (turn++ % team.threads == me)
                        pack_panel(product, q, (int)(end * product.outputs - q < width ? end * product.outputs - q : width));
            }
        }
        for (int k = 0; k < product.outputs; k++)
            if (product.map[k] >= 0 && !product.ready[k] && turn++ % team.threads == me) {
                real* to = team.packed + product.start + k * wide(plan, product.size);
                const real* const* bias = team.call.bias + 2 * product.map[k];
                for (long u = 0; u < wide(plan, product.size); u++) {
                    const bool inside = u < plan.units[product.size];
                    to[u] = (inside && bias[0] ? bias[0][u] : 0) + (inside && bias[1] ? bias[1][u] : 0);
                }
            }
    }
    // Rows at once of the products with the whole input.
    long projected_rows() const { return team.by_rows && team.threads > 1 ? team.typical_rows : team.chunk_rows; }
    void pack() {
        int turn = 0;
        for (int s = 0; s < team.steps.stages; s++)
            for (int k = 0; k < team.steps.stage[s].products; k++) {
                const Product& product = team.steps.stage[s].product[k];
                const long rows = team.typical_rows;
                pack_product(product, group_of(team.steps.stage[s], product.size, rows), width_for(rows, product.outputs), false, turn);
            }
        const bool back = team.backward();
        for (int k = 0; k < team.steps.projections; k++) {
            const Product& product = team.steps.projection[k];
            const int width = width_for(back ? team.chunk_rows : projected_rows(), product.outputs);
            pack_product(product, group(product.outputs, width), width, back, turn);
        }
    }
};

}  // namespace
