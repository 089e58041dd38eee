// Memory that the next step will want, in pieces of neighbouring lines. A product waits for little and fetches it on its
// way; the loops, which are short of arithmetic, would wait for it.
#pragma once
#include "vector.h"

namespace {

struct Ahead {
    static const long LINE = 64, MOST_PIECES = 256;
    struct Piece { const char* at; long lines; } piece[MOST_PIECES];
    int pieces = 0;
    void add(const real* at, long count) {
        if (pieces < MOST_PIECES) piece[pieces++] = {(const char*)at, (long)(count * sizeof(real) + LINE - 1) / LINE};
    }
    // Where the next lines are; `otherwise` where none are wanted.
    const char* take(long lines, const real* otherwise) {
        if (!pieces) return (const char*)otherwise;
        Piece& last = piece[pieces - 1];
        const char* const at = last.at;
        last.at += lines * LINE;
        last.lines -= lines;
        if (last.lines <= 0) pieces--;
        return at;
    }
};
const long STRIP = 64;  // values of k for which lines are taken at once
const int FETCHING = 3; // rows of a tile that has time for it

}  // namespace
