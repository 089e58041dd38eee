// The threads of one call, what they have in common, and how they share the work out.
#pragma once
#include "plan.h"
#include "product.h"
#include "threads.h"

namespace {

struct Team {
    const Plan& plan;
    const Steps& steps;
    const Call& call;
    bool by_rows;   // threads share out the rows of the batch; else the units
    int threads;
    long chunk_rows, chunk_steps;  // of the largest chunk
    long typical_rows;             // of a thread in a step
    Barrier meet;
    real *packed, *parameters, *zeros;
    real* base[MOST_PLACES];      // of scratch, chunk, number, flow, sum places
    long thread_sums;             // numbers of one thread's sums
    real* ring[MOST];             // states that are not kept: three steps of each, as a thread may be a step ahead
    real* record[3];
    bool keeps_record;
    real* grad_input;             // of a chunk, where the caller's rows are not whole vectors
    Term* runs;                   // of each thread

    bool backward() const { return &steps == &plan.backward; }
    void range(int size, int owner, long& from, long& to) const {
        const long blocks = plan.blocks[size], owners = by_rows ? 1 : threads;
        from = by_rows ? 0 : blocks * owner / owners;
        to = by_rows ? blocks : blocks * (owner + 1) / owners;
    }
    long rows_at(long t) const { return call.offsets[t + 1] - call.offsets[t]; }
};

// More threads than one, if the machine gives them.
int threads_at_hand(int wanted) {
    if (are_lent()) return wanted;
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

}  // namespace
