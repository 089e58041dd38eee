// What a cell's step consists of, as words from engine/plans.py say it, and what a call is given.
//
// A plan (compiler/plan.py) says which products, loops and places a step has; a call says where the arrays are. Rows of
// all steps lie one after the other, those of step t from offsets[t] to offsets[t + 1]; rows are sorted by length,
// longest first, so that a step's rows are the first ones of the batch.
#pragma once
#include "cell.h"

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

}  // namespace
