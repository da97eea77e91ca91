/* The sum of two branches. Both are first brought to one fine scale, 2^−20 of the coarser one's. */
static void add(const stage_t *first, const stage_t *second, const stage_t *stage, int count,
                int zero_a, int zero_b, const net_t *a, const net_t *b, net_t *out)
{
    for (int i = 0; i < count; i++) {
        int64_t fine = times((int64_t)(a[i] - zero_a) * (1 << 20), *first->multiplier,
                             *first->exponent, first->twice)
                     + times((int64_t)(b[i] - zero_b) * (1 << 20), *second->multiplier,
                             *second->exponent, second->twice);
        int32_t sum = (int32_t)fine;    /* Below 2^29: the fine scale is chosen so. */
        requantize(stage, 0, &sum, 1, out + i);
    }
}
