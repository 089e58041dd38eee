// The small vocabulary that printed cells speak: vectors of 16 floats, per-unit functions, a matrix-vector product.
// Plain GCC/Clang vector extensions, so that one text serves every instruction set; no headers of the library.
namespace {

typedef float V __attribute__((vector_size(64), aligned(64)));
typedef float U __attribute__((vector_size(64), aligned(4), may_alias));  // the same at any address
typedef int M __attribute__((vector_size(64), aligned(64)));
const int L = 16;  // floats in a vector

inline V all(float x) { return x - V{}; }
inline V pick(M mask, V a, V b) { return (V)((mask & (M)a) | (~mask & (M)b)); }
inline V absolute(V x) { return (V)((M)x & 0x7fffffff); }
// NaN in either comes out, as in numpy: a broken sensor must not look like a number.
inline V least(V a, V b) { return pick((a < b) | (a != a), a, b); }
inline V most(V a, V b) { return pick((a > b) | (a != a), a, b); }
// The same where a bound is a number: NaN in x comes out.
inline V at_most(V x, float bound) { return pick(x > bound, all(bound), x); }
inline V at_least(V x, float bound) { return pick(x < bound, all(bound), x); }

// exp: x = n·ln 2 + r with |r| <= ln 2 / 2, a polynomial of degree 6 for exp(r) - 1, and 2^n put into the exponent.
// expm1_part gives exp(r) - 1 and 2^n apart, because tanh must not lose what is left near 0.
inline void split_exp(V x, V& minus_one, V& power) {
    V t = x * 1.44269504f + 12582912.0f;  // adding 1.5·2^23 rounds to a whole number
    V n = t - 12582912.0f;
    V r = x - n * 0.693359375f + n * 2.12194440e-4f;
    V p = 1.3888889e-3f * r + 8.3333333e-3f;
    p = p * r + 4.1666667e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    minus_one = p * r * r + r;
    power = (V)(((M)t - 0x4b400000 + 127) << 23);
}
inline V exponential(V x) {
    V inside = at_most(at_least(x, -86.9f), 88.72283f), m, power;
    split_exp(inside, m, power);
    V half = (V)((M)power - (1 << 23));  // 2^(n - 1): 2^128 is no float, but 2^127 is
    V y = half + half * m;
    y = pick(x > 88.72283f, all(__builtin_inff()), y + y);
    return pick(x < -86.9f, V{}, y);
}
inline V sigmoid(V x) { return 1.0f / (1.0f + exponential(-x)); }
inline V tanh_(V x) {  // expm1(2|x|) / (expm1(2|x|) + 2), with the sign of x
    V a = at_most(absolute(x), 10.0f), m, power;
    split_exp(2.0f * a, m, power);
    V e = power * m + (power - 1.0f);
    V y = e / (e + 2.0f);
    return (V)((M)y | ((M)x & (int)0x80000000));
}
inline V root(V x) {
    V y;
    for (int i = 0; i < L; i++) y[i] = __builtin_sqrtf(x[i]);
    return y;
}
inline V logarithm(V x) {
    V y;
    for (int i = 0; i < L; i++) y[i] = __builtin_logf(x[i]);
    return y;
}
inline V rectify(V x) { return at_least(x, 0.0f); }
inline V softplus(V x) { return rectify(x) + logarithm(1.0f + exponential(-absolute(x))); }
inline V sign(V x) { return pick(x > 0.0f, all(1.0f), pick(x < 0.0f, all(-1.0f), x)); }
inline V step(V x) { return pick(x > 0.0f, all(1.0f), V{}); }

inline V load(const float* p) { return *(const U*)p; }
inline void store(float* p, V x) { *(U*)p = x; }

// y[N vectors] (+)= packed panel [rows][N vectors] times x[rows]: N independent sums hide the latency of the FMA.
template <int N>
void panel(const float* w, const float* x, long rows, float* y) {
    V s[N];
    for (int n = 0; n < N; n++) s[n] = load(y + n * L);
    for (long k = 0; k < rows; k++, w += N * L)
        for (int n = 0; n < N; n++) s[n] += load(w + n * L) * x[k];
    for (int n = 0; n < N; n++) store(y + n * L, s[n]);
}
// y[vectors·L] += W x, W packed in panels of at most 8 vectors: [panel][rows][vectors of the panel][L]
void product(const float* w, const float* x, long rows, float* y, long vectors) {
    for (; vectors >= 8; vectors -= 8, w += rows * 8 * L, y += 8 * L) panel<8>(w, x, rows, y);
    switch (vectors) {
        case 7: return panel<7>(w, x, rows, y);
        case 6: return panel<6>(w, x, rows, y);
        case 5: return panel<5>(w, x, rows, y);
        case 4: return panel<4>(w, x, rows, y);
        case 3: return panel<3>(w, x, rows, y);
        case 2: return panel<2>(w, x, rows, y);
        case 1: return panel<1>(w, x, rows, y);
    }
}
float total(const float* x, long units) {
    float s = 0;
    for (long i = 0; i < units; i++) s += x[i];
    return s;
}

}  // namespace
