// The small vocabulary of the engine and of printed cells: vectors as wide as the machine's registers, per-unit
// functions on them, loads and stores of whole and of part vectors. GCC/Clang vector extensions, so that one text serves
// every instruction set and both float and double (-DREAL=double); no headers of the C++ library.
#pragma once
#ifndef REAL
#define REAL float
#endif

namespace {

typedef REAL real;
#if defined(__AVX512F__)
const int BYTES = 64, REGISTERS = 32;
#elif defined(__AVX__)
const int BYTES = 32, REGISTERS = 16;
#elif defined(__aarch64__)
const int BYTES = 16, REGISTERS = 32;
#else
const int BYTES = 16, REGISTERS = 16;
#endif
const int L = BYTES / sizeof(real);  // lanes of a vector
const bool DOUBLE = sizeof(real) == 8;

template <int size> struct Whole { typedef int type; typedef unsigned bits; };
template <> struct Whole<8> { typedef long long type; typedef unsigned long long bits; };
typedef Whole<sizeof(real)>::type whole;
typedef Whole<sizeof(real)>::bits bits;

typedef real V __attribute__((vector_size(BYTES)));
typedef real U __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));  // the same at any address
typedef whole M __attribute__((vector_size(BYTES)));
const whole SIGN = (whole)((bits)1 << (8 * sizeof(real) - 1));

#define ALWAYS inline __attribute__((always_inline))

ALWAYS V all(real x) { return x - V{}; }
ALWAYS V pick(M mask, V a, V b) { return mask ? a : b; }
ALWAYS V absolute(V x) { return (V)((M)x & ~SIGN); }
// NaN in either comes out, as in numpy: a broken sensor must not look like a number.
ALWAYS V least(V a, V b) { return pick((a < b) | (a != a), a, b); }
ALWAYS V most(V a, V b) { return pick((a > b) | (a != a), a, b); }
// The same where a bound is a number: NaN in x comes out. (In x86's instructions the second of two is what NaN leaves.)
#if defined(__AVX__)
#define NEARER(name, instruction, worse)                                                                  \
    ALWAYS V name(V x, real bound) {                                                                      \
        V y;                                                                                              \
        if (DOUBLE) asm(instruction "pd %2, %1, %0" : "=v"(y) : "v"(all(bound)), "v"(x));                 \
        else asm(instruction "ps %2, %1, %0" : "=v"(y) : "v"(all(bound)), "v"(x));                        \
        return y;                                                                                         \
    }
#else
#define NEARER(name, instruction, worse) \
    ALWAYS V name(V x, real bound) { return pick(x worse bound, all(bound), x); }
#endif
NEARER(at_most, "vmin", >)
NEARER(at_least, "vmax", <)

// exp: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial for exp(r), and 2^n put into the exponent.
const real MAGIC = DOUBLE ? (real)6755399441055744.0 : (real)12582912.0;  // adding 1.5 2^(mantissa bits) rounds
const int MANTISSA = DOUBLE ? 52 : 23, BIAS = DOUBLE ? 1023 : 127;
const real LARGEST = DOUBLE ? (real)709.782712893384 : (real)88.72283;  // exp of more is infinite
const real SMALLEST = DOUBLE ? (real)-708.04 : (real)-86.9;             // exp of less is taken for 0

template <int terms> ALWAYS V polynomial(const real (&c)[terms], V x) {  // the highest power first
    V p = all(c[0]);
#pragma GCC unroll 16
    for (int k = 1; k < terms; k++) p = p * x + c[k];
    return p;
}
// (exp(r) - 1) / r
ALWAYS V slope(V r) {
    // Taylor: the rest after r^13 is under 1e-17. In float the best polynomial of its degree, off by 3e-9.
    const real fine[] = {(real)(1 / 6227020800.0), (real)(1 / 479001600.0), (real)(1 / 39916800.0), (real)(1 / 3628800.0),
                         (real)(1 / 362880.0), (real)(1 / 40320.0), (real)(1 / 5040.0), (real)(1 / 720.0),
                         (real)(1 / 120.0), (real)(1 / 24.0), (real)(1 / 6.0), (real)0.5, 1};
    const real coarse[] = {(real)1.38186989e-3, (real)8.36871564e-3, (real)4.16682921e-2, (real)1.66665211e-1,
                           (real)0.49999994, 1};
    return DOUBLE ? polynomial(fine, r) : polynomial(coarse, r);
}
ALWAYS void split_exp(V x, V& r, V& power) {
    const V t = x * (real)1.44269504088896341 + MAGIC, n = t - MAGIC, magic = all(MAGIC);
    r = DOUBLE ? x - n * (real)0.693147180369123816490 - n * (real)1.90821492927058770002e-10
               : x - n * (real)0.693359375 + n * (real)2.12194440e-4;
    power = (V)(((M)t - (M)magic + BIAS) << MANTISSA);
}
ALWAYS V exponential(V x) {
    V r, power;
    split_exp(at_most(at_least(x, SMALLEST), LARGEST), r, power);
    const V half = (V)((M)power - ((whole)1 << MANTISSA));  // 2^(n - 1): 2^128 is no float, but 2^127 is
    const V y = half * (slope(r) * r + (real)1);
    return pick(x < SMALLEST, V{}, pick(x > LARGEST, all(__builtin_inf()), y + y));
}
// a / b for b between 1 and 1e38: an estimate and a step of Newton's is quicker than a division.
ALWAYS V quotient(V a, V b) {
#if defined(__AVX512F__)
    if (!DOUBLE) {
        V y;
        asm("vrcp14ps %1, %0" : "=v"(y) : "v"(b));
        const V q = a * y;
        return q + y * (a - b * q);
    }
#endif
    return a / b;
}
ALWAYS V sigmoid(V x) {  // 0 below -86 (in double -708): within 1e-37 of the truth
    V r, power;
    split_exp(-at_most(x, -SMALLEST), r, power);  // what becomes of x below -86 is not used
    return pick(x < (real)(DOUBLE ? -708 : -86), V{}, quotient(all(1), power * (slope(r) * r + (real)1) + (real)1));
}
ALWAYS V tanh_(V x) {
    V y;
    if (DOUBLE) {  // expm1(2|x|) / (expm1(2|x|) + 2)
        V r, power;
        split_exp((real)2 * at_most(absolute(x), 20), r, power);
        const V e = power * (slope(r) * r) + (power - (real)1);
        y = e / (e + (real)2);
    } else {  // the best quotient of polynomials in x^2 of their degrees, off by 2.3e-8; tanh(9.02) is 1
        const real above[] = {(real)1.33893794e-8, (real)2.06376626e-5, (real)3.49748693e-3, (real)1.33826867e-1, 1};
        const real below[] = {(real)7.79180311e-7, (real)3.28862283e-4, (real)2.58843917e-2, (real)4.67160076e-1, 1};
        const V a = at_most(absolute(x), (real)9.02), square = a * a;
        y = at_most(quotient(a * polynomial(above, square), polynomial(below, square)), 1);
    }
    return (V)((M)y | ((M)x & SIGN));
}
ALWAYS V root(V x) {
    V y;
    for (int i = 0; i < L; i++) y[i] = DOUBLE ? __builtin_sqrt(x[i]) : __builtin_sqrtf(x[i]);
    return y;
}
ALWAYS V logarithm(V x) {
    V y;
    for (int i = 0; i < L; i++) y[i] = DOUBLE ? __builtin_log(x[i]) : __builtin_logf(x[i]);
    return y;
}
ALWAYS V rectify(V x) { return at_least(x, 0); }
// log(1 + exp(-|x|)) by log1p's trick: log(u) (u - 1) is what rounding u = 1 + e took from e
ALWAYS V softplus(V x) {
    V e = exponential(-absolute(x)), u = (real)1 + e, d = u - (real)1;
    V l = pick(d == (real)0, e, logarithm(u) * e / pick(d == (real)0, all(1), d));
    return rectify(x) + l;
}
ALWAYS V sign(V x) { return pick(x > (real)0, all(1), pick(x < (real)0, all(-1), x)); }
ALWAYS V step(V x) { return pick(x > (real)0, all(1), V{}); }

ALWAYS V load(const real* p) { return *(const U*)p; }
ALWAYS void store(real* p, V x) { *(U*)p = x; }
// Part vectors: `lanes` of them are there; the others read as 0 and are not written.
ALWAYS V load_part(const real* p, long lanes) {
    V x{};
    for (int i = 0; i < L; i++)
        if (i < lanes) x[i] = p[i];
    return x;
}
ALWAYS void store_part(real* p, V x, long lanes) {
    for (int i = 0; i < L; i++)
        if (i < lanes) p[i] = x[i];
}
ALWAYS V first_lanes(V x, long lanes) {
    for (int i = 0; i < L; i++)
        if (i >= lanes) x[i] = 0;
    return x;
}
ALWAYS real total(V x) {
    real s = 0;
    for (int i = 0; i < L; i++) s += x[i];
    return s;
}

}  // namespace
