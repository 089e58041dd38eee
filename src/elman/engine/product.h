// The blocked matrix product: register tiles of R rows by W vectors, and the packing of weights into panels for them.
//
// Every product of the engine is C[row][column] = start + sum over terms and k of A[row][k] P[k][column], where a column
// is a vector of L units. The order of k is the same for every tile shape, so an element's bits do not depend on it.
#pragma once
#include "ahead.h"

namespace {

// A[row][k] is at a + row*a_row + segment*a_segment + k*a_k for `segments` times `length` values of k;
// P's vectors follow each other by p_k.
struct Term {
    const real* a;
    long a_row, a_k, segments, a_segment, length;
    const real* p;
    long p_k;
};

const int WIDEST = 16;                           // columns of a tile at most
const int TILE = REGISTERS == 32 ? 24 : 12;      // sums held in registers
constexpr int rows_of(int width) { return TILE / width > 8 ? 8 : TILE / width; }  // rows of the tallest tile

struct Columns {
    long c[WIDEST];            // where the columns of C are
    long p[WIDEST];            // and those of P, where they do not simply follow each other
    const real* start[WIDEST]; // what the sums begin with (nullptr: C itself)
};

// `together`: the columns of P follow each other, as in packed weights.
template <int R, int W, bool together>
__attribute__((noinline)) void tile(const Term* term, int terms, long row, real* c, long c_row, const Columns& at,
                                    Ahead& ahead) {
    V sum[R][W];
#pragma GCC unroll 16
    for (int w = 0; w < W; w++) {
        const bool fresh = at.start[w] != nullptr;
        const V x = fresh ? load(at.start[w]) : V{};
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) sum[r][w] = fresh ? x : load(c + r * c_row + at.c[w]);
    }
    for (; terms; terms--, term++) {
        const real* p = term->p;
        const long a_row = term->a_row, a_k = term->a_k, p_k = together ? W * L : term->p_k, length = term->length;
        for (long segment = 0; segment < term->segments; segment++) {
            const real* a = term->a + row * a_row + segment * term->a_segment;
            for (long left = length; left > 0; left -= STRIP) {
                const long strip = left < STRIP ? left : STRIP;
                const char* next = R < FETCHING ? (const char*)p : ahead.take(strip, p);
                const char* const end = next + strip * Ahead::LINE;  // counts the values of k too: registers are scarce
#pragma GCC unroll 1
                for (; next != end; next += Ahead::LINE, a += a_k, p += p_k) {
                    if (R >= FETCHING) __builtin_prefetch(next, 0, 2);
                    V b[W];
#pragma GCC unroll 16
                    for (int w = 0; w < W; w++) b[w] = load(p + (together ? w * L : at.p[w]));
#pragma GCC unroll 16
                    for (int r = 0; r < R; r++) {
                        const V x = all(a[r * a_row]);
#pragma GCC unroll 16
                        for (int w = 0; w < W; w++) sum[r][w] += x * b[w];
                    }
                }
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 16
        for (int w = 0; w < W; w++) store(c + r * c_row + at.c[w], sum[r][w]);
}

typedef void (*Tile)(const Term*, int, long, real*, long, const Columns&, Ahead&);

template <int R, int W> constexpr Tile pick_tile(bool together) {
    if constexpr (R <= rows_of(W)) return together ? tile<R, W, true> : tile<R, W, false>;
    return nullptr;
}
template <int W> Tile tile_of(int rows, bool together) {
    const Tile found[2][8] = {
        {pick_tile<1, W>(false), pick_tile<2, W>(false), pick_tile<3, W>(false), pick_tile<4, W>(false),
         pick_tile<5, W>(false), pick_tile<6, W>(false), pick_tile<7, W>(false), pick_tile<8, W>(false)},
        {pick_tile<1, W>(true), pick_tile<2, W>(true), pick_tile<3, W>(true), pick_tile<4, W>(true),
         pick_tile<5, W>(true), pick_tile<6, W>(true), pick_tile<7, W>(true), pick_tile<8, W>(true)}};
    return found[together][rows - 1];
}
Tile tile_for(int rows, int width, bool together) {
    switch (width) {
        case 1: return tile_of<1>(rows, together);
        case 2: return tile_of<2>(rows, together);
        case 3: return tile_of<3>(rows, together);
        case 4: return tile_of<4>(rows, together);
        case 5: return tile_of<5>(rows, together);
        case 6: return tile_of<6>(rows, together);
        case 7: return tile_of<7>(rows, together);
        case 8: return tile_of<8>(rows, together);
        case 9: return tile_of<9>(rows, together);
        case 10: return tile_of<10>(rows, together);
        case 11: return tile_of<11>(rows, together);
        default: return tile_of<12>(rows, together);
    }
}

// Rows `from` to `to` of one panel, in tiles as even as can be.
void tiles(const Term* term, int terms, real* c, long c_row, const Columns& at, int width, bool together, long from,
           long to, Ahead& ahead) {
    const long most = rows_of(width), rows = to - from, count = (rows + most - 1) / most;
    if (rows <= 0) return;
    const long low = rows / count, taller = rows % count;
    for (long i = 0; i < count; i++) {
        const long now = low + (i < taller);
        tile_for((int)now, width, together)(term, terms, from, c + from * c_row, c_row, at, ahead);
        from += now;
    }
}

// How wide the panels of a product of `rows` rows are: so that as many sums as fit are in registers, and no fewer rows
// share a panel's vectors than are needed to hide their loads.
int width_for(long rows, int outputs) {
    if (REGISTERS < 32) return rows == 1 ? 8 : rows == 2 ? 6 : rows == 3 ? 4 : rows == 4 || outputs == 3 ? 3 : 2;
    if (rows <= 3) return 8;
    if (rows == 4) return 6;
    if (rows <= 6) return 4;
    return rows <= 8 || outputs == 3 ? 3 : 4;
}

// Rows become columns, in place: halves change places at ever smaller distances.
ALWAYS void transpose(V* row) {
#pragma GCC unroll 8
    for (int s = 1; s < L; s *= 2) {
        M low, high;
        for (int i = 0; i < L; i++) {
            low[i] = i & s ? L + i - s : i;
            high[i] = i & s ? L + i : i + s;
        }
#pragma GCC unroll 16
        for (int i = 0; i < L; i++) {
            if (i & s) continue;
            const V a = row[i], b = row[i + s];
#if defined(__clang__)
            for (int k = 0; k < L; k++) {
                row[i][k] = k & s ? b[k - s] : a[k];
                row[i + s][k] = k & s ? b[k] : a[k + s];
            }
#else
            row[i] = __builtin_shuffle(a, b, low);
            row[i + s] = __builtin_shuffle(a, b, high);
#endif
        }
    }
}
// One vector column of packed weights: to[k * step + lane] = weight[lane * row + k], zeros beyond `lanes`.
void pack_column(const real* weight, long row, long lanes, long rows, real* to, long step) {
    for (long k0 = 0; k0 < rows; k0 += L) {
        const long n = rows - k0 < L ? rows - k0 : L;
        V block[L];
#pragma GCC unroll 16
        for (int lane = 0; lane < L; lane++)
            block[lane] = lane >= lanes ? V{} : n == L ? load(weight + lane * row + k0) : load_part(weight + lane * row + k0, n);
        transpose(block);
        if (n == L) {
#pragma GCC unroll 16
            for (int k = 0; k < L; k++) store(to + (k0 + k) * step, block[k]);
        } else
            for (long k = 0; k < n; k++) store(to + (k0 + k) * step, block[k]);
    }
}
// The way back, for gradients: weight[lane * row + k] = from[k * step + lane].
void unpack_column(real* weight, long row, long lanes, long rows, const real* from, long step) {
    for (long k0 = 0; k0 < rows; k0 += L) {
        const long n = rows - k0 < L ? rows - k0 : L;
        V block[L];
#pragma GCC unroll 16
        for (int k = 0; k < L; k++) block[k] = k < n ? load(from + (k0 + k) * step) : V{};
        transpose(block);
        for (int lane = 0; lane < lanes; lane++)
            if (n == L) store(weight + lane * row + k0, block[lane]);
            else store_part(weight + lane * row + k0, block[lane], n);
    }
}

}  // namespace
