/* What is computed beside matrix products, on a CPU: bf16 in and out, fp32 between.

   Each function takes one pass over what it reads, where PyTorch's operations take several, each with threads to wake.
   Compiled at first use (kernels.py). Plain C: the compiler makes vectors of the loops. Shapes as in
   models/architecture.py; `group` is the query heads that share a key-value head. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

#define INLINED static inline __attribute__((always_inline))

enum {
    TILE = 64,    /* tokens whose keys are read, then their values */
    TOGETHER = 4, /* values that are added at a time */
    LINE = 32,    /* bf16 in a line of the cache */
    SMALL = 8192, /* elements that one thread is done with before it has woken another */
};

INLINED float wide(bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* To the nearest, ties to even; what is no number stays none. */
INLINED bf16 narrow(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (bf16)((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

/* e^x by a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes, expf); what is no number stays none. */
INLINED float exponential(float x) {
    float within = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float whole = rintf(within * 1.44269504f);
    float rest = within - whole * 0.693359375f + whole * 2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    int32_t bits;
    memcpy(&bits, &sum, sizeof bits);
    bits += (int32_t)whole << 23;
    memcpy(&sum, &bits, sizeof sum);
    return x != x ? x : sum;
}

/* Products of each query with `count` keys, to weights [group, TILE]. What is read next is fetched meanwhile. */
INLINED void multiply_keys(const float *queries, const bf16 *keys, const bf16 *values, float *weights, int count,
                           int group, int width) {
    for (int j = 0; j < count; j++) {
        const bf16 *key = keys + (ptrdiff_t)j * width, *value = values + (ptrdiff_t)j * width;
        for (int i = 0; i < width; i += LINE) {
            __builtin_prefetch(value + i);
            __builtin_prefetch(key + TILE * width + i);
        }
        float row[width];
        for (int i = 0; i < width; i++) row[i] = wide(key[i]);
        for (int g = 0; g < group; g++) {
            float product = 0.0f;
#pragma omp simd reduction(+ : product)
            for (int i = 0; i < width; i++) product += queries[g * width + i] * row[i];
            weights[g * TILE + j] = product;
        }
    }
}

/* Adds `count` values, each times its weight, to what each query has found, [group, width]. */
INLINED void add_values(const bf16 *values, float *weights, float *found, int count, int group, int width) {
    for (int g = 0; g < group; g++)
        for (int j = count; j % TOGETHER; j++) weights[g * TILE + j] = 0.0f;
    for (int j = 0; j < count; j += TOGETHER) {
        float rows[TOGETHER * width];
        for (int k = 0; k < TOGETHER; k++) {
            const bf16 *value = values + (ptrdiff_t)(j + k < count ? j + k : j) * width;
            for (int i = 0; i < width; i++) rows[k * width + i] = wide(value[i]);
        }
        for (int g = 0; g < group; g++) {
            const float *w = weights + g * TILE + j;
            for (int i = 0; i < width; i++)
                found[g * width + i] += w[0] * rows[i] + w[1] * rows[width + i] + w[2] * rows[2 * width + i] +
                                        w[3] * rows[3 * width + i];
        }
    }
}

/* Queries of one row and key-value head, [group, width], over `seen` keys and values, [seen, width] each: softmax as
   the tiles come (Milakov and Gimelshein 2018, algorithm 3). */
INLINED void attend(const bf16 *query, const bf16 *keys, const bf16 *values, bf16 *out, int seen, int group, int width,
                    float scale) {
    float queries[group * width], found[group * width], weights[group * TILE], highest[group], total[group];
    for (int i = 0; i < group * width; i++) queries[i] = wide(query[i]) * scale;
    memset(found, 0, sizeof found);
    for (int g = 0; g < group; g++) {
        highest[g] = -INFINITY;
        total[g] = 0.0f;
    }
    for (int start = 0; start < seen; start += TILE) {
        ptrdiff_t offset = (ptrdiff_t)start * width;
        int count = seen - start < TILE ? seen - start : TILE;
        multiply_keys(queries, keys + offset, values + offset, weights, count, group, width);
        for (int g = 0; g < group; g++) {
            float *weight = weights + g * TILE, top = highest[g], added = 0.0f;
            for (int j = 0; j < count; j++) top = weight[j] > top ? weight[j] : top;
            float kept = exponential(highest[g] - top);
#pragma omp simd reduction(+ : added)
            for (int j = 0; j < count; j++) {
                weight[j] = exponential(weight[j] - top);
                added += weight[j];
            }
            highest[g] = top;
            total[g] = total[g] * kept + added;
            for (int i = 0; i < width; i++) found[g * width + i] *= kept;
        }
        add_values(values + offset, weights, found, count, group, width);
    }
    for (int g = 0; g < group; g++)
        for (int i = 0; i < width; i++) out[g * width + i] = narrow(found[g * width + i] / total[g]);
}

/* One new token of each row: its key and value [K, D] are written to the row's slot, and its queries [H, D] attend to
   all that the slot holds. Keys and values lie as [slots, K, capacity, D], `lengths` are of what was there before; rows
   of query, key and value are a stride apart, those of `out` follow one another. */
void attend_step(const bf16 *query, int64_t query_stride, const bf16 *key, int64_t key_stride, const bf16 *value,
                 int64_t value_stride, bf16 *keys, bf16 *values, const int64_t *lengths, bf16 *out, int rows,
                 int kv_heads, int group, int width, int capacity, float scale, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int task = 0; task < rows * kv_heads; task++) {
        ptrdiff_t row = task / kv_heads, head = task % kv_heads, queries = group * (ptrdiff_t)width;
        bf16 *its_keys = keys + task * (ptrdiff_t)capacity * width, *its_values = values + (its_keys - keys);
        int held = (int)lengths[row];
        memcpy(its_keys + held * (ptrdiff_t)width, key + row * key_stride + head * width, sizeof(bf16) * width);
        memcpy(its_values + held * (ptrdiff_t)width, value + row * value_stride + head * width, sizeof(bf16) * width);
        const bf16 *asked = query + row * query_stride + head * queries;
        bf16 *answer = out + task * queries;
        if (width == 64) /* the usual widths, known to the compiler */
            attend(asked, its_keys, its_values, answer, held + 1, group, 64, scale);
        else if (width == 128)
            attend(asked, its_keys, its_values, answer, held + 1, group, 128, scale);
        else
            attend(asked, its_keys, its_values, answer, held + 1, group, width, scale);
    }
}

/* Root mean square norm of rows that are a stride apart; rounded before the weight, as modules do. */
void rms_norm(const bf16 *x, int64_t stride, const bf16 *weight, bf16 *out, int rows, int width, float epsilon,
              int threads) {
#pragma omp parallel for num_threads((int64_t)rows * width < SMALL ? 1 : threads)
    for (int row = 0; row < rows; row++) {
        const bf16 *in = x + row * stride;
        bf16 *to = out + (ptrdiff_t)row * width;
        float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
        for (int i = 0; i < width; i++) squares += wide(in[i]) * wide(in[i]);
        float scale = 1.0f / sqrtf(squares / width + epsilon);
        for (int i = 0; i < width; i++) to[i] = narrow(wide(narrow(wide(in[i]) * scale)) * wide(weight[i]));
    }
}

/* The norm's gradient by x, and by the weight in as many parts as there are threads, [threads, width]. */
void rms_norm_backward(const bf16 *x, const bf16 *weight, const bf16 *gradient, bf16 *by_x, float *by_weight, int rows,
                       int width, float epsilon, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int part = 0; part < threads; part++) {
        float *its_share = by_weight + (ptrdiff_t)part * width;
        memset(its_share, 0, sizeof(float) * width);
        for (int64_t row = (int64_t)rows * part / threads; row < (int64_t)rows * (part + 1) / threads; row++) {
            const bf16 *in = x + row * width, *g = gradient + row * width;
            bf16 *to = by_x + row * width;
            float squares = 0.0f, along = 0.0f;
#pragma omp simd reduction(+ : squares)
            for (int i = 0; i < width; i++) squares += wide(in[i]) * wide(in[i]);
            float scale = 1.0f / sqrtf(squares / width + epsilon);
#pragma omp simd reduction(+ : along)
            for (int i = 0; i < width; i++) along += wide(g[i]) * wide(weight[i]) * wide(in[i]);
            along *= scale / width;
            for (int i = 0; i < width; i++) {
                float normed = wide(in[i]) * scale;
                its_share[i] += wide(g[i]) * normed;
                to[i] = narrow(scale * (wide(g[i]) * wide(weight[i]) - normed * along));
            }
        }
    }
}

/* SiLU of the first half of a row's channels, rounded, times the second half: [rows, 2 width] to [rows, width]. */
void swiglu(const bf16 *gate_up, bf16 *out, int rows, int width, int threads) {
#pragma omp parallel for num_threads((int64_t)rows * width < SMALL ? 1 : threads)
    for (int row = 0; row < rows; row++) {
        const bf16 *gate = gate_up + (ptrdiff_t)row * 2 * width, *up = gate + width;
        bf16 *to = out + (ptrdiff_t)row * width;
        for (int i = 0; i < width; i++) {
            float x = wide(gate[i]);
            to[i] = narrow(wide(narrow(x / (1.0f + exponential(-x)))) * wide(up[i]));
        }
    }
}

/* Its gradient by both halves, [rows, 2 width], with what is rounded on the way rounded as PyTorch does. */
void swiglu_backward(const bf16 *gate_up, const bf16 *gradient, bf16 *out, int rows, int width, int threads) {
#pragma omp parallel for num_threads((int64_t)rows * width < SMALL ? 1 : threads)
    for (int row = 0; row < rows; row++) {
        const bf16 *gate = gate_up + (ptrdiff_t)row * 2 * width, *up = gate + width;
        const bf16 *g = gradient + (ptrdiff_t)row * width;
        bf16 *by_gate = out + (ptrdiff_t)row * 2 * width, *by_up = by_gate + width;
#pragma omp simd
        for (int i = 0; i < width; i++) {
            float x = wide(gate[i]), sigmoid = 1.0f / (1.0f + exponential(-x));
            by_up[i] = narrow(wide(g[i]) * wide(narrow(x * sigmoid)));
            by_gate[i] = narrow(wide(narrow(wide(g[i]) * wide(up[i]))) * sigmoid * (1.0f + x * (1.0f - sigmoid)));
        }
    }
}

/* Rotary embedding of the first `heads` heads of rows that are a stride apart, on half-split channels, to
   [rows, heads, width]; angles are [rows, width]. */
void rotate(const bf16 *x, int64_t stride, const bf16 *cosine, const bf16 *sine, bf16 *out, int rows, int heads,
            int width, int threads) {
    int half = width / 2;
#pragma omp parallel for num_threads((int64_t)rows * heads * width < SMALL ? 1 : threads)
    for (int row = 0; row < rows; row++) {
        const bf16 *cos = cosine + (ptrdiff_t)row * width, *sin = sine + (ptrdiff_t)row * width;
        const bf16 *cos_high = cos + half, *sin_high = sin + half;
        for (int head = 0; head < heads; head++) {
            const bf16 *low = x + row * stride + (ptrdiff_t)head * width, *high = low + half;
            bf16 *to_low = out + ((ptrdiff_t)row * heads + head) * width, *to_high = to_low + half;
#pragma omp simd
            for (int i = 0; i < half; i++)
                to_low[i] = narrow(wide(narrow(wide(low[i]) * wide(cos[i]))) - wide(high[i]) * wide(sin[i]));
#pragma omp simd
            for (int i = 0; i < half; i++)
                to_high[i] = narrow(wide(narrow(wide(high[i]) * wide(cos_high[i]))) + wide(low[i]) * wide(sin_high[i]));
        }
    }
}

/* Of each row of logits, the log of the sum of their exponentials. */
void log_sum_exp(const bf16 *logits, float *out, int rows, int width, int threads) {
#pragma omp parallel for num_threads((int64_t)rows * width < SMALL ? 1 : threads)
    for (int row = 0; row < rows; row++) {
        const bf16 *in = logits + (ptrdiff_t)row * width;
        float top = -INFINITY, sum = 0.0f;
#pragma omp simd reduction(max : top)
        for (int i = 0; i < width; i++) top = wide(in[i]) > top ? wide(in[i]) : top;
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < width; i++) sum += exponential(wide(in[i]) - top);
        out[row] = top + logf(sum);
    }
}

/* The gradient of weight * log p(target) by each row's logits, in their place: weight * (onehot - p). */
void by_logits(bf16 *logits, const float *normalisers, const int64_t *targets, const float *weights, int rows, int width,
               int threads) {
#pragma omp parallel for num_threads((int64_t)rows * width < SMALL ? 1 : threads)
    for (int row = 0; row < rows; row++) {
        bf16 *its = logits + (ptrdiff_t)row * width;
        float normaliser = normalisers[row], weight = weights[row];
        float chosen = exponential(wide(its[targets[row]]) - normaliser);
        for (int i = 0; i < width; i++) its[i] = narrow(-weight * exponential(wide(its[i]) - normaliser));
        its[targets[row]] = narrow(weight * (1.0f - chosen));
    }
}
