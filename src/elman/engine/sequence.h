// The driver: a printed cell over sequences, forward and backward, in one or several threads.
//
// A plan (compiler/plan.py, as words by engine/plans.py) says which products, loops and places a step has; a call says
// where the arrays are. Rows of all steps lie one after the other, those of step t from offsets[t] to offsets[t + 1];
// rows are sorted by length, longest first, so that a step's rows are the first ones of the batch.
#pragma once
#include "cell.h"
#include "product.h"
#include "threads.h"

namespace {

typedef void (*UnitLoop)(const Place*, long, long, long, long, long, const Noise*);
typedef void (*NumberLoop)(const Place*, long, long, const long*);

enum Kind { INPUT, OLD, NEW, RECORD, SCRATCH, CHUNK, NUMBER, SAVED, GRAD, FLOW, PARAMETER, SUM, GRAD_INPUT };
const int MOST = 32;         // outputs, terms, sources of a product; states; maps
const int MOST_PLACES = 512, MOST_STAGES = 64;
const int NUMBERS = 3;       // the "size" of numbers, after I, H, O

struct Where { int kind, size, index; };
struct Part { int size, depth; };  // a block of a map's weights: sizes of its rows and of its columns

struct TermPlan {
    int sources, source[MOST], parts, part[MOST];
    long depth;  // values of k
};
struct Product {
    int outputs, output[MOST], map[MOST], ready[MOST], terms, size;
    TermPlan term[MOST];
    long depth, packed, start;  // values of k; where its panels and its biases are among the packed weights
};
struct Stage {
    NumberLoop numbers;
    UnitLoop loop[3];
    int products;
    Product* product;
};
struct GradWeight {
    int source, grads, grad[MOST], part[MOST];
    long depth, packed;
};
struct SumOf { int what, place; };

struct Steps {
    int places, stages, projections, grad_weights, biases, parameters;
    Where* where;
    Stage* stage;
    Product* projection;
    GradWeight* grad_weight;
    SumOf *bias, *parameter;
    long packed;     // numbers of packed weights
    long accumulated;  // of packed gradients
};
struct Plan {
    long units[4], blocks[4];
    int states, state_size[MOST], slots[3], saved, parts, maps, map_size[MOST], parameters, parameter_size[MOST], reduces;
    Part part[4 * MOST];
    Steps forward, backward;
    long parameter_room;
};

// What the caller hands over, a word each.
struct Call {
    long steps, batch, threads, reverse, chunks;
    const long* offsets;        // steps + 1
    const long* bounds;         // chunks + 1: the step each chunk begins with
    const real* x;              // rows x I
    const real* const* first;   // of each state: batch x units
    real* const* sequence;      // of each state: rows x units, or null: not kept
    real* const* final;         // of each state: batch x units
    real* const* record;        // of each size: `record_room` numbers, or null: not kept
    real* saved;                // kept numbers x rows
    const real* const* weight;  // of each part, and the distance of its rows
    const long* weight_row;
    const real* const* bias;    // two of each map, which are added, or null
    const real* const* parameter;
    real* packed;               // the packed weights, or null
    long is_packed;
    unsigned long seed;         // of masks
    const unsigned* rows;       // each row's number in the batch as it was given
    long time;                  // the number of the first step
    long all_steps, all_rows;   // of the whole sequences, where this is a segment of them
    long going;                 // rows that the step before the first one had, in a segment before
    // backward
    const real* const* grad_sequence;  // of each state, or null
    const real* const* grad_final;     // of each state, or null
    real* const* grad_first;           // of each state
    real* grad_x;                      // or null
    real* const* grad_weight;          // of each part, rows as those of the weights
    const long* grad_weight_row;
    real* const* grad_bias;            // two of each map, or null
    real* const* grad_parameter;
    real* accumulated;                 // packed gradients and sums, over several calls
    long is_first, is_last;            // of those calls
};

long wide(const Plan& plan, int size) { return plan.blocks[size] * L; }
long stride_of(const Plan& plan, int size, long rows) { return rows * plan.slots[size] * L + 8 * L; }

// ---- room -----------------------------------------------------------------------------------------------------------

// One block of memory for each calling thread, kept for the next call and given back when the thread ends.
struct Room {
    char* base;
    unsigned long size;
};
pthread_key_t room_key;
pthread_once_t room_once = PTHREAD_ONCE_INIT;
void leave_room(void* given) {
    __builtin_free(((Room*)given)->base);
    __builtin_free(given);
}
void make_room_key() { pthread_key_create(&room_key, leave_room); }

char* room_of(unsigned long size) {
    pthread_once(&room_once, make_room_key);
    Room* room = (Room*)pthread_getspecific(room_key);
    if (!room) {
        room = (Room*)__builtin_calloc(1, sizeof(Room));
        if (!room) return nullptr;
        pthread_setspecific(room_key, room);
    }
    if (room->size < size) {
        __builtin_free(room->base);
        room->size = 0;
        room->base = (char*)__builtin_malloc(size);
        if (room->base) room->size = size;
    }
    return room->base;
}

// Shares a block out: first counted with base = 0, then given.
struct Sharing {
    char* base;
    unsigned long used;
    void* take(unsigned long bytes) {
        char* const at = base ? base + used : nullptr;
        used += (bytes + 127) / 64 * 64;
        return at;
    }
    real* reals(long count) { return (real*)take(count * sizeof(real)); }
};

// ---- one call -------------------------------------------------------------------------------------------------------

struct Team {
    const Plan& plan;
    const Steps& steps;
    const Call& call;
    bool by_rows;   // threads share out the rows of the batch; else the units
    int threads;
    long chunk_rows, chunk_steps;  // of the largest chunk
    Barrier meet;
    real *packed, *parameters, *zeros;
    real* base[MOST_PLACES];      // of scratch, chunk, number, flow, sum places
    long thread_sums;             // numbers of one thread's sums
    real* ring[MOST];             // states that are not kept: three steps of each, as a thread may be a step ahead
    real* record[3];
    bool keeps_record;
    real* grad_input;             // of a chunk, where the caller's rows are not whole vectors
    Term* runs;                   // of each thread

    void range(int size, int owner, long& from, long& to) const {
        const long blocks = plan.blocks[size], owners = by_rows ? 1 : threads;
        from = by_rows ? 0 : blocks * owner / owners;
        to = by_rows ? blocks : blocks * (owner + 1) / owners;
    }
    long rows_at(long t) const { return call.offsets[t + 1] - call.offsets[t]; }
    long typical_rows() const { return by_rows ? (call.batch + threads - 1) / threads : call.batch; }
};

// More threads than one, if the machine gives them.
int threads_at_hand(int wanted) {
    pthread_mutex_lock(&pool.busy);
    const int found = gather(wanted);
    pthread_mutex_unlock(&pool.busy);
    return found;
}

// Additions and multiplications of a call and of a step, and rows of a thread, for which another thread pays.
#ifndef LEAST_WORK
#define LEAST_WORK 4e6
#define LEAST_STEP 4e5
#define LEAST_ROWS 8
#endif

// Which way the work is shared: rows if there are many and the weights fit beside them, else units; one thread for
// what is done before another has woken.
void share_out(Team& team) {
    const Plan& plan = team.plan;
    const Call& call = team.call;
    double weights = 0;
    for (int k = 0; k < plan.parts; k++) weights += (double)plan.units[plan.part[k].size] * plan.units[plan.part[k].depth];
    const long rows = call.all_rows;  // a segment is shared out as the whole is, so that its sums are the same
    const bool ragged = rows != call.all_steps * call.batch;
    const double step = 2 * weights * call.batch;
    team.by_rows = true;
    team.threads = 1;
    if (call.threads < 2 || 2 * weights * rows < (rows == 1 ? LEAST_WORK / 8 : LEAST_WORK)) return;
    const int threads = threads_at_hand(call.threads < MOST_THREADS ? (int)call.threads : MOST_THREADS);
    if (!ragged && call.batch >= LEAST_ROWS * threads && weights * sizeof(real) <= (2 << 20)) team.threads = threads;
    else if (!plan.reduces && step > LEAST_STEP) {
        team.by_rows = false;
        team.threads = threads;
    } else if (!ragged && call.batch >= 2 * threads) team.threads = threads;
    else if (plan.reduces && call.batch > 1) team.threads = call.batch < threads ? (int)call.batch : threads;
}

// Where the values of a step lie, for one thread.
struct Walk {
    Team& team;
    int me;
    Place place[MOST_PLACES];
    Noise noise;
    long parity = 0;  // of the scratch vectors
    struct Share { long first, last, group; } share[MOST_STAGES][3];  // this thread's blocks; group 0: nothing to do

    Walk(Team& team, int me) : team(team), me(me), noise() {
        noise.low = (unsigned)team.call.seed;
        noise.high = (unsigned)(team.call.seed >> 32);
        noise.rows = team.call.rows;
        const Plan& plan = team.plan;
        for (int s = 0; s < team.steps.stages; s++)
            for (int size = 0; size < 3; size++) {
                const Stage& stage = team.steps.stage[s];
                bool any = stage.loop[size] != nullptr;
                for (int k = 0; k < stage.products; k++) any |= stage.product[k].size == size;
                Share& own = share[s][size];
                own.group = any ? group_of(stage, size, team.typical_rows()) : 0;
                team.range(size, me, own.first, own.last);
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
        if (!team.by_rows) return;
        const long first = team.call.batch * me / team.threads, last = team.call.batch * (me + 1) / team.threads;
        if (from < first) from = first;
        if (to > last) to = last;
        if (to < from) to = from;
    }

    // ---- products ----

    // Columns first to last of a product (a column: one output of one block) for some rows.
    void multiply(const Product& product, long first, long last, int width, long from, long to) {
        const Plan& plan = team.plan;
        const Place& out = place[product.output[0]];
        const bool transposed = &team.steps == &plan.backward;
        Term term[MOST];
        for (long q = first; q < last; q += width) {
            const int now = (int)(last - q < width ? last - q : width);
            Columns at;
            for (int w = 0; w < now; w++) {
                const long block = (q + w) / product.outputs, k = (q + w) % product.outputs;
                at.c[w] = place[product.output[k]].at - out.at + block * out.block;
                at.start[w] = product.ready[k] ? nullptr
                              : product.map[k] < 0 ? team.zeros : team.packed + product.start + (k * plan.blocks[product.size] + block) * L;
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
            tiles(term, product.terms, out.at, out.row, at, now, true, from, to);
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
            if (!own.group) continue;
            const long groups = (own.last - own.first + own.group - 1) / own.group;
            for (long g = 0; g < groups; g++) {
                // On every other step from the last to the first: what was used last is still in the cache.
                const long begin = own.first + (backwards ? groups - 1 - g : g) * own.group;
                const long end = begin + own.group < own.last ? begin + own.group : own.last;
                for (int k = 0; k < stage.products; k++) {
                    const Product& product = stage.product[k];
                    if (product.size != size) continue;
                    const int width = width_for(team.typical_rows(), product.outputs);
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

    // ---- packed weights ----

    void pack_panel(const Product& product, long q, int now) {
        const Plan& plan = team.plan;
        const Call& call = team.call;
        real* p = team.packed + product.packed + q * product.depth * L;
        const bool transposed = &team.steps == &plan.backward;
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
    long projected_rows() const { return team.by_rows && team.threads > 1 ? team.typical_rows() : team.chunk_rows; }
    void pack() {
        int turn = 0;
        for (int s = 0; s < team.steps.stages; s++)
            for (int k = 0; k < team.steps.stage[s].products; k++) {
                const Product& product = team.steps.stage[s].product[k];
                const long rows = team.typical_rows();
                pack_product(product, group_of(team.steps.stage[s], product.size, rows), width_for(rows, product.outputs), false, turn);
            }
        const bool back = &team.steps == &team.plan.backward;
        for (int k = 0; k < team.steps.projections; k++) {
            const Product& product = team.steps.projection[k];
            const int width = width_for(back ? team.chunk_rows : projected_rows(), product.outputs);
            pack_product(product, group(product.outputs, width), width, back, turn);
        }
    }

    // ---- forward ----

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
                whole_step(t, chunk);
                hand_over(t);
            }
        }
        copy_states(-1, call.steps ? most_rows() : 0, call.batch);
    }
    long most_rows() const { return team.rows_at(0); }

    // ---- backward ----

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
                tiles(run, runs, team.call.accumulated + job.packed, L, at, now, false, from, to);
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
            for (long i = begin; i < end; i++) whole_step(call.reverse ? i : begin + end - 1 - i, chunk);
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
