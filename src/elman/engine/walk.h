// A step, as one thread takes it: where its values lie, its products, and the loops over what they leave.
#pragma once
#include "team.h"

namespace {

struct Walk {
    Team& team;
    int me;
    Place place[MOST_PLACES];
    Noise noise;
    Ahead ahead;
    long parity = 0;  // of the scratch vectors
    struct Share { long first, last, group, groups; } share[MOST_STAGES][3];  // this thread's blocks, in groups
    long first_row, last_row;  // this thread's

    Walk(Team& team, int me) : team(team), me(me), noise() {
        noise.low = (unsigned)team.call.seed;
        noise.high = (unsigned)(team.call.seed >> 32);
        noise.rows = team.call.rows;
        const Plan& plan = team.plan;
        first_row = team.by_rows ? team.call.batch * me / team.threads : 0;
        last_row = team.by_rows ? team.call.batch * (me + 1) / team.threads : team.call.batch;
        for (int s = 0; s < team.steps.stages; s++)
            for (int size = 0; size < 3; size++) {
                const Stage& stage = team.steps.stage[s];
                bool any = stage.loop[size] != nullptr;
                for (int k = 0; k < stage.products; k++) any |= stage.product[k].size == size;
                Share& own = share[s][size];
                own.groups = 0;
                if (!any) continue;
                own.group = group_of(stage, size, team.typical_rows);
                team.range(size, me, own.first, own.last);
                own.groups = (own.last - own.first + own.group - 1) / own.group;
            }
        for (int k = 0; k < team.steps.places; k++) {
            const Where& where = team.steps.where[k];
            const long units = plan.units[where.size], padded = wide(plan, where.size);
            switch (where.kind) {
                case INPUT: case OLD: case NEW: case GRAD: place[k] = {nullptr, units, L}; break;
                case RECORD:
                    place[k] = {nullptr, plan.slots[where.size] * L,
                                stride_of(plan, where.size, team.keeps_record ? all_rows() : team.chunk_rows)};
                    break;
                case SCRATCH: case CHUNK: case FLOW: place[k] = {team.base[k], padded, L}; break;
                case NUMBER: place[k] = {team.base[k], 1, 0}; break;
                case SAVED: place[k] = {nullptr, 1, 0}; break;
                case PARAMETER: place[k] = {team.base[k], 0, L}; break;
                case SUM: place[k] = {team.base[k] + me * team.thread_sums, 0, L}; break;
                case GRAD_INPUT: place[k] = {nullptr, team.grad_input ? padded : units, L}; break;
            }
        }
    }
    long all_rows() const { return team.call.offsets[team.call.steps] - team.call.offsets[0]; }

    // Places that do not depend on what came before the step.
    void go_to(long t, long chunk) {
        const Call& call = team.call;
        const Plan& plan = team.plan;
        const long row = call.offsets[t] - call.offsets[0], in_chunk = call.offsets[t] - call.offsets[call.bounds[chunk]];
        noise.time = (unsigned)(call.time + t);
        for (int k = 0; k < team.steps.places; k++) {
            const Where& where = team.steps.where[k];
            const long units = plan.units[where.size];
            switch (where.kind) {
                case INPUT: place[k].at = (real*)call.x + row * units; break;
                case NEW: place[k].at = state(where.index, t); break;
                case RECORD:
                    place[k].at = team.record[where.size] + ((team.keeps_record ? row : in_chunk) * plan.slots[where.size] + where.index) * L;
                    break;
                case SCRATCH: place[k].at = team.base[k] + parity * call.batch * wide(plan, where.size); break;
                case CHUNK: place[k].at = team.base[k] + in_chunk * wide(plan, where.size); break;
                case SAVED: place[k].at = call.saved ? call.saved + where.index * all_rows() + row : team.base[k] + in_chunk; break;
                case GRAD:
                    place[k].at = call.grad_sequence[where.index] ? (real*)call.grad_sequence[where.index] + row * units : nullptr;
                    break;
                case GRAD_INPUT: place[k].at = team.grad_input ? team.grad_input + in_chunk * place[k].row : call.grad_x + row * units; break;
            }
        }
    }
    // The rows of state k that step t leaves.
    real* state(int k, long t) const {
        const Call& call = team.call;
        const long units = team.plan.units[team.plan.state_size[k]];
        if (call.sequence[k]) return call.sequence[k] + (call.offsets[t] - call.offsets[0]) * units;
        return team.ring[k] + t % 3 * call.batch * units;
    }
    // Where step t finds state k: rows that the step before had (before >= 0), or that begin here.
    real* old(int k, long before) const { return before < 0 ? (real*)team.call.first[k] : state(k, before); }
    void come_from(long before) {
        for (int k = 0; k < team.steps.places; k++)
            if (team.steps.where[k].kind == OLD) place[k].at = old(team.steps.where[k].index, before);
    }
    // The step before t in the order of the recursion, and how many rows it had.
    long before(long t, long& rows) const {
        const long step = team.call.reverse ? t + 1 : t - 1;
        const bool none = step < 0 || step >= team.call.steps;
        rows = none ? team.call.going : team.rows_at(step);
        if (rows > team.rows_at(t)) rows = team.rows_at(t);
        return none ? -1 : step;
    }
    void my_rows(long& from, long& to) const {
        if (from < first_row) from = first_row;
        if (to > last_row) to = last_row;
        if (to < from) to = from;
    }

    // ---- products ----

    // Columns first to last of a product (a column: one output of one block) for some rows.
    void multiply(const Product& product, long first, long last, int width, long from, long to) {
        const Plan& plan = team.plan;
        const Place& out = place[product.output[0]];
        const bool transposed = team.backward();
        Term term[MOST];
        for (long q = first; q < last; q += width) {
            const int now = (int)(last - q < width ? last - q : width);
            Columns at;
            long block = q / product.outputs, k = q % product.outputs;  // divisions take as long as many products
            for (int w = 0; w < now; w++) {
                at.c[w] = place[product.output[k]].at - out.at + block * out.block;
                at.start[w] = product.ready[k] ? nullptr
                              : product.map[k] < 0 ? team.zeros : team.packed + product.start + (k * plan.blocks[product.size] + block) * L;
                if (++k == product.outputs) k = 0, block++;
            }
            const real* p = team.packed + product.packed + q * product.depth * L;
            for (int t = 0; t < product.terms; t++) {
                const TermPlan& of = product.term[t];
                const Place& source = place[of.source[0]];
                const int size = team.steps.where[of.source[0]].size;
                term[t] = transposed ? Term{source.at, source.row, 1, plan.blocks[size], source.block, of.sources * L, p, 0}
                                     : Term{source.at, source.row, 1, 1, 0, of.depth, p, 0};
                p += of.depth * now * L;
            }
            tiles(term, product.terms, out.at, out.row, at, now, true, from, to, ahead);
        }
    }
    // Blocks of a unit of work: as many as fill whole panels.
    static long group(int outputs, int width) {
        long blocks = 1;
        while (blocks * outputs % width && blocks < 12) blocks++;
        return blocks;
    }
    static long group_of(const Stage& stage, int size, long rows) {
        long blocks = 1;
        for (int k = 0; k < stage.products; k++)
            if (stage.product[k].size == size) {
                const long own = group(stage.product[k].outputs, width_for(rows, stage.product[k].outputs));
                if (own > blocks) blocks = own;
            }
        return blocks;
    }

    void step(int number, long from, long to, bool backwards) {
        const Plan& plan = team.plan;
        const Stage& stage = team.steps.stage[number];
        if (stage.products && !team.by_rows) team.meet.wait();
        if (from >= to) return;
        if (stage.numbers) stage.numbers(place, from, to, plan.units);
        for (int size = 0; size < 3; size++) {
            const Share& own = share[number][size];
            for (long g = 0; g < own.groups; g++) {
                // On every other step from the last to the first: what was used last is still in the cache.
                const long begin = own.first + (backwards ? own.groups - 1 - g : g) * own.group;
                const long end = begin + own.group < own.last ? begin + own.group : own.last;
                for (int k = 0; k < stage.products; k++) {
                    const Product& product = stage.product[k];
                    if (product.size != size) continue;
                    const int width = width_for(team.typical_rows, product.outputs);
                    multiply(product, begin * product.outputs, end * product.outputs, width, from, to);
                }
                if (stage.loop[size]) stage.loop[size](place, from, to, begin, end, plan.units[size], &noise);
            }
        }
    }
    void all_stages(long from, long to, bool backwards) {
        my_rows(from, to);
        for (int s = 0; s < team.steps.stages; s++) step(s, from, to, backwards);
    }
    // What the loops of step t will find in no cache: the products of the step before it fetch that.
    void look_ahead(long t) {
        const Call& call = team.call;
        const Plan& plan = team.plan;
        const bool back = team.backward();
        const long row = call.offsets[t] - call.offsets[0];
        long from = 0, to = team.rows_at(t), going;
        my_rows(from, to);
        ahead.pieces = 0;
        if (to - from < FETCHING) return;
        const long held = back ? before(t, going) : t;
        for (int k = 0; k < plan.states && team.by_rows; k++) {
            const long units = plan.units[plan.state_size[k]], count = (to - from) * units;
            if (back && call.grad_sequence[k]) ahead.add(call.grad_sequence[k] + (row + from) * units, count);
            if (call.sequence[k] && held >= 0) ahead.add(state(k, held) + from * units, count);
        }
        for (int size = 0; size < 3 && team.keeps_record; size++) {
            const long slots = plan.slots[size] * L, stride = stride_of(plan, size, all_rows());
            long first, last;
            team.range(size, me, first, last);
            for (long b = first; b < last && slots; b++)
                ahead.add(team.record[size] + b * stride + (row + from) * slots, (to - from) * slots);
        }
    }
    // One step, in one or two pieces: rows that go on, and rows that begin.
    void whole_step(long t, long chunk) {
        long going;
        const long prior = before(t, going), rows = team.rows_at(t);
        const bool backwards = t & 1;
        if (going) {
            parity ^= 1;
            go_to(t, chunk);
            come_from(prior);  // a segment's first rows are taken in the same pieces as they would be without it
            all_stages(0, going, backwards);
        }
        if (going < rows) {
            parity ^= 1;
            go_to(t, chunk);
            come_from(-1);
            all_stages(going, rows, backwards);
        }
    }
};

}  // namespace
