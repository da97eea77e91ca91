/* From a layer's 32-bit sums to its 8-bit outputs: times a real number, in integers.
   real = multiplier · 2^(exponent − 31). Shifts to the right round down, also below zero. */
typedef struct {
    const int32_t *multiplier;      /* one a channel, or one in all */
    const int8_t *exponent;
    int each;                       /* 1: one a channel; 0: one in all */
    int twice;                      /* round once, or twice as on chips without 64-bit products */
    int32_t zero_point, low, high;  /* of the outputs; the ReLU is in `low` */
} stage_t;

static int64_t times(const stage_t *s, int channel, int64_t sum)
{
    int64_t multiplier = s->multiplier[channel * s->each];
    int exponent = s->exponent[channel * s->each];
    if (!s->twice)
        return (sum * multiplier + ((int64_t)1 << (30 - exponent))) >> (31 - exponent);
    int shift = exponent < 0 ? -exponent : 0;
    int64_t product = sum * ((int64_t)1 << (exponent > 0 ? exponent : 0)) * multiplier;
    int64_t rounded = (product + ((int64_t)1 << 30)) >> 31;
    if (shift == 0)
        return rounded;
    rounded -= rounded < 0;         /* Halves go away from zero here. */
    return (rounded + ((int64_t)1 << (shift - 1))) >> shift;
}

static net_t requantize(const stage_t *s, int channel, int64_t sum)
{
    int64_t q = times(s, channel, sum) + s->zero_point;
    return (net_t)(q < s->low ? s->low : q > s->high ? s->high : q);
}
