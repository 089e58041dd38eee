// What printed cells speak: the vector vocabulary, the places of values, and the masks of regularisers.
#pragma once
#include "vector.h"

// The value of unit u*L + lane of row r is at[r*row + u*block + lane]; of a number, at[r*row].
struct Place {
    real* at;
    long row, block;
};
struct Noise {
    unsigned low, high;      // the seed
    unsigned time;           // the step
    const unsigned* rows;    // each row's number in the batch as it was given
};

namespace {

template <bool full> ALWAYS V get(const real* at, long lanes) { return full ? load(at) : load_part(at, lanes); }
template <bool full> ALWAYS void put(real* at, V x, long lanes) {
    if (full) store(at, x);
    else store_part(at, x, lanes);
}
// A gradient that the caller may not have given.
template <bool full> ALWAYS V given(const real* base, const real* at, long lanes) {
    return base ? get<full>(at, lanes) : V{};
}

ALWAYS real sum_of_row(const Place& p, long r, long units) {
    if (!p.at) return 0;  // a gradient that the caller has not given
    const real* at = p.at + r * p.row;
    V sum{};
    for (; units >= L; units -= L, at += p.block) sum += load(at);
    if (units) sum += load_part(at, units);
    return total(sum);
}

typedef unsigned H __attribute__((vector_size(4 * L)));
template <typename T> ALWAYS T mix(T h) {  // MurmurHash3's finaliser (Austin Appleby, public domain)
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    return h ^ h >> 16;
}
// 1 where a unit is kept, 0 where it is dropped, as compiler/masks.py defines it.
template <bool fresh> ALWAYS V kept(const Noise* noise, unsigned name, unsigned limit, long r, long u) {
    unsigned key = mix(noise->low ^ mix(noise->high ^ mix(name)));
    key = mix(key ^ (fresh ? noise->time : 0u));
    key = mix(key + 0x9e3779b9u * (noise->rows[r] + 1));
    H unit;
    for (int i = 0; i < L; i++) unit[i] = (unsigned)(u * L + i + 1);
    const H bits = mix(key ^ 0x9e3779b9u * unit);
    V mask;
    for (int i = 0; i < L; i++) mask[i] = (bits[i] >> 8) >= limit ? (real)1 : (real)0;
    return mask;
}

}  // namespace

#define LOOP(name)                                                                                                   \
    extern "C" void name(const Place* p, long from, long to, long first, long last, long units, const Noise* noise) { \
        for (long u = first; u < last; u++) {                                                                         \
            if (units - u * L >= L) name##_unit<true>(p, from, to, u, L, noise, units);                               \
            else name##_unit<false>(p, from, to, u, units - u * L, noise, units);                                     \
        }                                                                                                             \
    }
