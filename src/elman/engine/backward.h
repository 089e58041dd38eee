// Sequences backward: the steps of a chunk, then the gradients of its input and of the weights at once.
#pragma once
#include "pack.h"

namespace {

struct Backward : Packing {
    using Packing::Packing;

    void flow(bool in) {
        const Call& call = team.call;
        for (int p = 0; p < team.steps.places; p++) {
            const Where& where = team.steps.where[p];
            if (where.kind != FLOW) continue;
            const long units = team.plan.units[where.size], padded = wide(team.plan, where.size);
            long from = 0, to = call.batch, first, last;
            my_rows(from, to);
            team.range(where.size, me, first, last);
            const real* given = call.grad_final[where.index];
            for (long r = from; r < to; r++)
                for (long u = first * L; u < last * L; u++)
                    if (in) place[p].at[r * padded + u] = given && u < units ? given[r * units + u] : 0;
                    else if (u < units) call.grad_first[where.index][r * units + u] = place[p].at[r * padded + u];
        }
    }
    // The rows of a vector beside those of the chunk's records, as runs of neighbours.
    int runs_of(int source, long chunk, Term* run) {
        const Call& call = team.call;
        const Where& where = team.steps.where[source];
        const long units = team.plan.units[where.size], begin = call.bounds[chunk], end = call.bounds[chunk + 1];
        if (where.kind != OLD) {
            go_to(begin, chunk);
            run[0] = {place[source].at, 1, place[source].row, 1, 0, call.offsets[end] - call.offsets[begin], nullptr, 0};
            return 1;
        }
        int count = 0;
        for (long t = begin; t < end; t++) {
            long going;
            const long prior = before(t, going), rows = team.rows_at(t);
            for (int piece = 0; piece < 2; piece++) {
                const long from = piece ? going : 0, length = (piece ? rows : going) - from;
                if (length <= 0) continue;
                const real* at = old(where.index, piece ? -1 : prior) + from * units;
                if (count && run[count - 1].a + run[count - 1].length * units == at) run[count - 1].length += length;
                else run[count++] = {at, 1, units, 1, 0, length, nullptr, 0};
            }
        }
        return count;
    }
    void add_grad_weights(long chunk) {
        const Plan& plan = team.plan;
        for (int j = 0; j < team.steps.grad_weights; j++) {
            const GradWeight& job = team.steps.grad_weight[j];
            Term* const run = team.runs + me * (2 * team.chunk_steps + 1);
            const int runs = runs_of(job.source, chunk, run), size = team.steps.where[job.grad[0]].size;
            go_to(team.call.bounds[chunk], chunk);
            const Place& grads = place[job.grad[0]];
            const real* p = grads.at;
            for (int k = 0; k < runs; k++) {
                run[k].p = p;
                run[k].p_k = grads.row;
                p += run[k].length * grads.row;
            }
            // Shared out by the blocks of the gradients where there are enough, else by the rows of the weights.
            const long blocks = plan.blocks[size];
            const bool split = blocks >= 2 * team.threads;
            const long first = split ? blocks * me / team.threads : 0, last = split ? blocks * (me + 1) / team.threads : blocks;
            const long from = split ? 0 : job.depth * me / team.threads, to = split ? job.depth : job.depth * (me + 1) / team.threads;
            const int width = width_for(job.depth < 6 ? job.depth : 6, job.grads);
            for (long q = first * job.grads; q < last * job.grads; q += width) {
                const int now = (int)(last * job.grads - q < width ? last * job.grads - q : width);
                Columns at;
                for (int w = 0; w < now; w++) {
                    at.start[w] = nullptr;
                    const long block = (q + w) / job.grads;
                    at.p[w] = place[job.grad[(q + w) % job.grads]].at - grads.at + block * grads.block;
                    // [column][row][lane]: wherever panels begin, the columns are at the same place
                    at.c[w] = (q + w) * job.depth * L;
                }
                tiles(run, runs, team.call.accumulated + job.packed, L, at, now, false, from, to, ahead);
            }
        }
    }
    void grad_of_input(long chunk) {
        const Call& call = team.call;
        if (!call.grad_x) return;
        const long begin = call.bounds[chunk], rows = call.offsets[call.bounds[chunk + 1]] - call.offsets[begin];
        const long from = rows * me / team.threads, to = rows * (me + 1) / team.threads;
        go_to(begin, chunk);
        for (int k = 0; k < team.steps.projections; k++) {
            const Product& product = team.steps.projection[k];
            multiply(product, 0, team.plan.blocks[product.size], width_for(team.chunk_rows, 1), from, to);
        }
        if (!team.grad_input) return;
        const long units = team.plan.units[0], padded = wide(team.plan, 0);
        real* out = call.grad_x + (call.offsets[begin] - call.offsets[0]) * units;
        for (long r = from; r < to; r++)
            for (long u = 0; u < units; u++) out[r * units + u] = team.grad_input[r * padded + u];
    }
    // A chunk's sums are added up apart, so that a long sequence's do not drown small numbers.
    void fold_sums() {
        real* const total = team.call.accumulated + team.steps.accumulated + me * 2 * team.thread_sums;
        real* const now = total + team.thread_sums;
        for (long k = 0; k < team.thread_sums; k++) {
            total[k] += now[k];
            now[k] = 0;
        }
    }
    void backward() {
        const Call& call = team.call;
        pack();
        if (call.is_first) {
            const long each = (team.steps.accumulated + team.threads - 1) / team.threads;
            const long last = (me + 1) * each < team.steps.accumulated ? (me + 1) * each : team.steps.accumulated;
            for (long k = me * each; k < last; k++) call.accumulated[k] = 0;
            real* const sums = call.accumulated + team.steps.accumulated;
            for (long k = 0; !me && k < 2 * call.threads * team.thread_sums; k++) sums[k] = 0;
        }
        flow(true);
        team.meet.wait();
        for (long c = 0; c < call.chunks; c++) {
            const long chunk = call.reverse ? c : call.chunks - 1 - c, begin = call.bounds[chunk], end = call.bounds[chunk + 1];
            for (long i = begin; i < end; i++) {
                const long t = call.reverse ? i : begin + end - 1 - i;
                if (i + 1 < end) look_ahead(call.reverse ? t + 1 : t - 1);
                whole_step(t, chunk);
            }
            fold_sums();
            team.meet.wait();
            grad_of_input(chunk);
            add_grad_weights(chunk);
            team.meet.wait();
        }
        flow(false);
        if (call.is_last) unpack();
    }
    void unpack() {
        const Plan& plan = team.plan;
        const Call& call = team.call;
        int turn = 0;
        for (int j = 0; j < team.steps.grad_weights; j++) {
            const GradWeight& job = team.steps.grad_weight[j];
            const int size = team.steps.where[job.grad[0]].size;
            for (long q = 0; q < plan.blocks[size] * job.grads; q++) {
                if (turn++ % team.threads != me) continue;
                const long block = q / job.grads, left = plan.units[size] - block * L;
                const int part = job.part[q % job.grads];
                if (call.grad_weight[part])
                    unpack_column(call.grad_weight[part] + block * L * call.grad_weight_row[part], call.grad_weight_row[part],
                                  left < L ? left : L, job.depth, call.accumulated + job.packed + q * job.depth * L, L);
            }
        }
        if (me) return;
        for (int k = 0; k < team.steps.biases; k++)
            for (int which = 0; which < 2; which++) sum_up(team.steps.bias[k], call.grad_bias[2 * team.steps.bias[k].what + which]);
        for (int k = 0; k < team.steps.parameters; k++)
            sum_up(team.steps.parameter[k], call.grad_parameter[team.steps.parameter[k].what]);
    }
    void sum_up(const SumOf& sum, real* to) const {
        if (!to) return;
        const long units = team.plan.units[team.steps.where[sum.place].size];
        const real* from = team.base[sum.place] - team.thread_sums;
        for (long u = 0; u < units; u++) {
            to[u] = 0;
            for (int thread = 0; thread < team.call.threads; thread++) to[u] += from[thread * 2 * team.thread_sums + u];
        }
    }
};

}  // namespace
