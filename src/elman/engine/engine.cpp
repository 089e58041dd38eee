// The engine's entry points: plans made of words, calls. Compiled once for each instruction set and number type.
#include "backward.h"
#include "forward.h"
#include "room.h"

namespace {

struct Words {
    const long* at;
    long next() { return *at++; }
    int list(int* to) {
        const int count = (int)next();
        for (int k = 0; k < count; k++) to[k] = (int)next();
        return count;
    }
};

template <typename T> T* several(long count) { return (T*)__builtin_calloc(count ? count : 1, sizeof(T)); }

// `room`: numbers of packed weights so far.
void read_product(Words& words, Product& product, const Plan& plan, const Where* where, bool transposed, long& room) {
    product.outputs = words.list(product.output);
    words.list(product.map);
    words.list(product.ready);
    product.terms = (int)words.next();
    product.size = where[product.output[0]].size;
    for (int t = 0; t < product.terms; t++) {
        TermPlan& term = product.term[t];
        term.sources = words.list(term.source);
        term.parts = words.list(term.part);
        const int size = where[term.source[0]].size;
        term.depth = transposed ? plan.blocks[size] * term.sources * L : plan.units[size];
        product.depth += term.depth;
    }
    const long columns = product.outputs * plan.blocks[product.size] * L;
    product.packed = room;
    product.start = room + columns * product.depth;
    room = product.start + columns;
}

void read_steps(Words& words, Steps& steps, const Plan& plan, bool transposed) {
    steps.places = (int)words.next();
    steps.where = several<Where>(steps.places);
    for (int k = 0; k < steps.places; k++) {
        steps.where[k].kind = (int)words.next();
        steps.where[k].size = (int)words.next();
        steps.where[k].index = (int)words.next();
    }
    steps.stages = (int)words.next();
    steps.stage = several<Stage>(steps.stages);
    for (int s = 0; s < steps.stages; s++) {
        Stage& stage = steps.stage[s];
        stage.numbers = (NumberLoop)words.next();
        for (int size = 0; size < 3; size++) stage.loop[size] = (UnitLoop)words.next();
        stage.products = (int)words.next();
        stage.product = several<Product>(stage.products);
        for (int k = 0; k < stage.products; k++)
            read_product(words, stage.product[k], plan, steps.where, transposed, steps.packed);
    }
    steps.projections = (int)words.next();
    steps.projection = several<Product>(steps.projections);
    for (int k = 0; k < steps.projections; k++)
        read_product(words, steps.projection[k], plan, steps.where, transposed, steps.packed);
    steps.grad_weights = (int)words.next();
    steps.grad_weight = several<GradWeight>(steps.grad_weights);
    for (int k = 0; k < steps.grad_weights; k++) {
        GradWeight& job = steps.grad_weight[k];
        job.source = (int)words.next();
        job.grads = words.list(job.grad);
        words.list(job.part);
        job.depth = plan.units[steps.where[job.source].size];
        job.packed = steps.accumulated;
        steps.accumulated += job.depth * job.grads * plan.blocks[steps.where[job.grad[0]].size] * L;
    }
    for (int parameters = 0; parameters < 2; parameters++) {
        int& count = parameters ? steps.parameters : steps.biases;
        SumOf*& sums = parameters ? steps.parameter : steps.bias;
        count = (int)words.next();
        sums = several<SumOf>(count);
        for (int k = 0; k < count; k++) {
            sums[k].what = (int)words.next();
            sums[k].place = (int)words.next();
        }
    }
}

long sums_of(const Plan& plan, const Steps& steps) {
    long sums = 0;
    for (int k = 0; k < steps.places; k++)
        if (steps.where[k].kind == SUM) sums += wide(plan, steps.where[k].size);
    return sums;
}

// Room for a call: `sharing` gives it, or counts it where it has none to give.
void settle(Team& team, Sharing& sharing) {
    const Plan& plan = team.plan;
    const Call& call = team.call;
    team.zeros = sharing.reals(L);
    long sums = 0;
    for (int k = 0; k < team.steps.places; k++) {
        const Where& where = team.steps.where[k];
        const long padded = where.size < NUMBERS ? wide(plan, where.size) : 1;
        switch (where.kind) {
            case SCRATCH: team.base[k] = sharing.reals(2 * call.batch * padded); break;
            case CHUNK: team.base[k] = sharing.reals(team.chunk_rows * padded); break;
            case NUMBER: team.base[k] = sharing.reals(call.batch); break;
            case SAVED: team.base[k] = call.saved ? nullptr : sharing.reals(team.chunk_rows); break;
            case FLOW: team.base[k] = sharing.reals(call.batch * padded); break;
            case PARAMETER: team.base[k] = sharing.reals(padded); break;
            case SUM:
                team.base[k] = call.accumulated + team.steps.accumulated + team.thread_sums + sums;
                sums += padded;
                break;
        }
    }
    for (int k = 0; k < plan.states; k++)
        team.ring[k] = call.sequence[k] ? nullptr : sharing.reals(3 * call.batch * plan.units[plan.state_size[k]]);
    team.keeps_record = call.record != nullptr;
    for (int size = 0; size < 3; size++)
        team.record[size] = call.record ? call.record[size]
                            : sharing.reals(plan.slots[size] ? plan.blocks[size] * stride_of(plan, size, team.chunk_rows) : 0);
    team.packed = call.packed ? call.packed : sharing.reals(team.steps.packed);
    const bool backward = team.backward();
    team.grad_input = backward && (!call.grad_x || plan.units[0] % L) ? sharing.reals(team.chunk_rows * wide(plan, 0)) : nullptr;
    team.runs = backward ? (Term*)sharing.take(team.threads * (2 * team.chunk_steps + 1) * sizeof(Term)) : nullptr;
}

void prepare(Team& team) {
    const Call& call = team.call;
    share_out(team);
    team.typical_rows = team.by_rows ? (call.batch + team.threads - 1) / team.threads : call.batch;
    team.chunk_rows = team.chunk_steps = 0;
    for (long c = 0; c < call.chunks; c++) {
        const long steps = call.bounds[c + 1] - call.bounds[c];
        const long rows = call.offsets[call.bounds[c + 1]] - call.offsets[call.bounds[c]];
        if (steps > team.chunk_steps) team.chunk_steps = steps;
        if (rows > team.chunk_rows) team.chunk_rows = rows;
    }
    team.thread_sums = sums_of(team.plan, team.steps);
}

void run_forward(void* given, int me) { Forward(*(Team*)given, me).forward(); }
void run_backward(void* given, int me) { Backward(*(Team*)given, me).backward(); }

int run(const Plan* plan, const Steps& steps, const Call* call, void (*work)(void*, int)) {
    Team team{*plan, steps, *call, true, 1};
    prepare(team);
    Sharing counting{nullptr, 0};
    settle(team, counting);
    char* const room = room_of(counting.used + 64);
    if (!room) return 1;
    Sharing giving{room + (64 - (unsigned long)room % 64) % 64, 0};
    settle(team, giving);
    for (int i = 0; i < L; i++) team.zeros[i] = 0;
    for (int k = 0; k < steps.places; k++)
        if (steps.where[k].kind == PARAMETER) {
            const long units = plan->units[steps.where[k].size], padded = wide(*plan, steps.where[k].size);
            for (long u = 0; u < padded; u++) team.base[k][u] = u < units ? call->parameter[steps.where[k].index][u] : 0;
        }
    in_parallel(team.threads, (int)call->threads, work, &team, team.meet, team.threads);
    return 0;
}

}  // namespace

extern "C" long elman_lanes() { return L; }

// From now on calls run on threads of this kind: functions of `Lent`.
extern "C" void elman_lend(void* parallel, void* number, void* count) {
    expect_forks();
    lent.number = (decltype(lent.number))number;
    lent.count = (decltype(lent.count))count;
    __atomic_store_n(&lent.parallel, (decltype(lent.parallel))parallel, __ATOMIC_RELEASE);  // last: others may be calling
}

extern "C" void* elman_plan(const long* given) {
    Words words{given};
    Plan* const plan = several<Plan>(1);
    for (int size = 0; size < 3; size++) {
        plan->units[size] = words.next();
        plan->blocks[size] = (plan->units[size] + L - 1) / L;
    }
    plan->units[NUMBERS] = plan->blocks[NUMBERS] = 1;
    plan->states = words.list(plan->state_size);
    for (int size = 0; size < 3; size++) plan->slots[size] = (int)words.next();
    plan->saved = (int)words.next();
    plan->reduces = (int)words.next();
    plan->maps = words.list(plan->map_size);
    plan->parameters = words.list(plan->parameter_size);
    plan->parts = (int)words.next();
    for (int k = 0; k < plan->parts; k++) {
        plan->part[k].size = (int)words.next();
        plan->part[k].depth = (int)words.next();
    }
    read_steps(words, plan->forward, *plan, false);
    read_steps(words, plan->backward, *plan, true);
    return plan;
}

// Numbers of: packed weights, records of each size for `rows` rows, packed gradients for `threads` threads.
extern "C" void elman_room(const Plan* plan, long rows, long threads, long* room) {
    room[0] = plan->forward.packed;
    for (int size = 0; size < 3; size++)
        room[1 + size] = plan->slots[size] ? plan->blocks[size] * stride_of(*plan, size, rows) : 0;
    room[4] = plan->backward.accumulated + 2 * threads * sums_of(*plan, plan->backward);
}

// How a call would be shared out: what packed weights depend on.
extern "C" long elman_share(const Plan* plan, const Call* call) {
    Team team{*plan, plan->forward, *call, true, 1};
    prepare(team);
    const long rows = team.typical_rows < 9 ? team.typical_rows : 9, chunk = team.chunk_rows < 9 ? team.chunk_rows : 9;
    return ((team.threads * 2 + team.by_rows) * 16 + rows) * 16 + chunk;
}

extern "C" int elman_forward(const Plan* plan, const Call* call) {
    return run(plan, plan->forward, call, run_forward);
}
extern "C" int elman_backward(const Plan* plan, const Call* call) {
    return run(plan, plan->backward, call, run_backward);
}

// Rows of a batch (steps x batch x units) one after the other, without padding; and back, with zeros beyond.
extern "C" void elman_gather(const real* from, real* to, const long* offsets, const long* order, long steps, long batch, long units) {
    for (long t = 0; t < steps; t++)
        for (long r = 0; r < offsets[t + 1] - offsets[t]; r++, to += units)
            __builtin_memcpy(to, from + (t * batch + order[r]) * units, units * sizeof(real));
}
extern "C" void elman_scatter(const real* from, real* to, const long* offsets, const long* order, long steps, long batch, long units) {
    for (long t = 0; t < steps; t++)
        for (long r = 0; r < batch; r++) {
            real* const at = to + (t * batch + order[r]) * units;
            if (r < offsets[t + 1] - offsets[t]) {
                __builtin_memcpy(at, from, units * sizeof(real));
                from += units;
            } else
                __builtin_memset(at, 0, units * sizeof(real));
        }
}
