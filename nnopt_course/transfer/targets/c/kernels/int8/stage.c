/* From a layer's 32-bit sums to its 8-bit outputs: times a real number, in integers.
   real = multiplier · 2^(exponent − 31). Shifts to the right round down, also below zero. */
typedef struct {
    const int32_t *multiplier;      /* one a channel, or one in all */
    const int8_t *exponent;
    int each;                       /* 1: one a channel; 0: one in all */
    int twice;                      /* round once, or twice as on chips without 64-bit products */
    int32_t zero_point, low, high;  /* of the outputs; the ReLU is in `low` */
} stage_t;

static inline int64_t times(int64_t sum, int64_t multiplier, int exponent, int twice)
{
    if (!twice)
        return (sum * multiplier + ((int64_t)1 << (30 - exponent))) >> (31 - exponent);
    int left = exponent > 0 ? exponent : 0, right = exponent < 0 ? -exponent : 0;
    int64_t rounded = (sum * ((int64_t)1 << left) * multiplier + ((int64_t)1 << 30)) >> 31;
    rounded -= (rounded < 0) & (right > 0);     /* Halves go away from zero here. */
    return (rounded + (((int64_t)1 << right) >> 1)) >> right;
}

static void requantize(const stage_t *stage, int channel, const int32_t *restrict sums,
                       int count, net_t *restrict out)
{
    const int each = stage->each, twice = stage->twice;
    const int64_t zero_point = stage->zero_point, low = stage->low, high = stage->high;
    const int32_t *multiplier = stage->multiplier + channel * each;
    const int8_t *exponent = stage->exponent + channel * each;
    for (int i = 0; i < count; i++) {
        int64_t q = times(sums[i], multiplier[i * each], exponent[i * each], twice) + zero_point;
        out[i] = (net_t)(q < low ? low : q > high ? high : q);
    }
}
