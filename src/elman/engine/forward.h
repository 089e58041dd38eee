// Sequences forward: projections of a chunk of steps at once, then its steps.
#pragma once
#include "pack.h"

namespace {

struct Forward : Packing {
    using Packing::Packing;

    // The part of the maps that does not recur, for a whole chunk of steps.
    void project(long chunk) {
        const Call& call = team.call;
        const long begin = call.bounds[chunk], end = call.bounds[chunk + 1];
        for (int k = 0; k < team.steps.projections; k++) {
            const Product& product = team.steps.projection[k];
            const int width = width_for(projected_rows(), product.outputs);
            long first, last;
            team.range(product.size, me, first, last);
            const long group = Walk::group(product.outputs, width);
            for (long b = first; b < last; b += group) {
                const long from = b * product.outputs, to = (b + group < last ? b + group : last) * product.outputs;
                if (!team.by_rows || team.threads == 1) {
                    go_to(begin, chunk);
                    multiply(product, from, to, width, 0, call.offsets[end] - call.offsets[begin]);
                } else
                    for (long t = begin; t < end; t++) {
                        long r0 = 0, r1 = team.rows_at(t);
                        my_rows(r0, r1);
                        go_to(t, chunk);
                        multiply(product, from, to, width, r0, r1);
                    }
            }
        }
    }
    // Rows whose last step this was leave their states to the caller.
    void hand_over(long t) {
        const Call& call = team.call;
        long from = 0, to = team.rows_at(t);
        const long next = call.reverse ? t - 1 : t + 1;
        if (next >= 0 && next < call.steps) from = team.rows_at(next);
        if (from < to) copy_states(t, from, to);
    }
    void copy_states(long t, long from, long to) {  // t < 0: rows without a step
        const Call& call = team.call;
        my_rows(from, to);
        for (int k = 0; k < team.plan.states; k++) {
            const int size = team.plan.state_size[k];
            const long units = team.plan.units[size];
            long first, last;
            team.range(size, me, first, last);
            first *= L;
            last = last * L < units ? last * L : units;
            const real* source = old(k, t);
            for (long r = from; r < to; r++)
                for (long u = first; u < last; u++) call.final[k][r * units + u] = source[r * units + u];
        }
    }
    void forward() {
        const Call& call = team.call;
        if (!call.is_packed) {
            pack();
            team.meet.wait();
        }
        for (long c = 0; c < call.chunks; c++) {
            const long chunk = call.reverse ? call.chunks - 1 - c : c, begin = call.bounds[chunk], end = call.bounds[chunk + 1];
            // Rows of different steps may lie in the same place of two chunks' records.
            if (c && !team.keeps_record) team.meet.wait();
            project(chunk);
            for (long i = begin; i < end; i++) {
                const long t = call.reverse ? begin + end - 1 - i : i;
                if (i + 1 < end) look_ahead(call.reverse ? t - 1 : t + 1);
                whole_step(t, chunk);
                hand_over(t);
            }
        }
        copy_states(-1, call.steps ? most_rows() : 0, call.batch);
    }
    long most_rows() const { return team.rows_at(0); }
};

}  // namespace
