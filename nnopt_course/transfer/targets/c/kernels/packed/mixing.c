/* The bits: arithmetic coding. */
static uint32_t bits_byte(reader_t *r)      /* after the end, up to four zeros */
{
    return r->at < r->end ? *r->at++ : (uint32_t)need(r, r->beyond++ < 4, 0);
}

static int decode(reader_t *r, uint32_t p)
{
    uint32_t middle = r->low + (uint32_t)((uint64_t)(r->high - r->low) * p >> 16);
    int bit = r->code <= middle;
    if (bit)
        r->high = middle;
    else
        r->low = middle + 1;
    for (; (r->low ^ r->high) < 1 << 24; r->code = r->code << 8 | bits_byte(r))
        r->low <<= 8, r->high = r->high << 8 | 255;
    return bit;
}

/* The probabilities: mixing. */
typedef struct { uint8_t n[2]; } counter_t;

typedef struct {
    uint16_t squash[2816];
    int16_t logs[61];
    int64_t of_flags[6], of_places[6][6], of_signs[6], of_tops[6], of_lower[6];
    counter_t flags[196], near[128], filled[64], shown[512], alike[16], wide[32], pair[9];
    counter_t lean[3][48], tops[64], by_sizes[2048], by_weight[2048], by_last[512];
    counter_t lower[128], by_value[1024], lower_by_weight[2048], *places, *signs;
} model_t;

static ONCE int answer(reader_t *r, const model_t *m, int64_t *w, int rate, counter_t *const *at,
                  uint32_t *expected)
{
    int64_t sum = 0, p;
    int s[6], bit, count = 0;
    for (; at[count]; count++) {
        s[count] = m->logs[at[count]->n[1]] - m->logs[at[count]->n[0]];
        sum += w[count] * s[count];
    }
    sum >>= 16;     /* here and below towards minus infinity, as compilers do */
    sum = sum < -2815 ? -2815 : sum > 2815 ? 2815 : sum;
    p = sum < 0 ? 65536 - m->squash[-sum] : m->squash[sum];
    bit = decode(r, (uint32_t)p);
    for (int j = 0; j < count; j++) {
        uint8_t *n = at[j]->n;
        w[j] += ((bit << 16) - p) * s[j] >> rate;
        n[bit]++;
        if (n[0] + n[1] > 60)
            n[0] /= 2, n[1] /= 2;
    }
    *expected += *expected < 1 << 29 ? (uint32_t)p : 0;
    return bit;
}

static model_t *begin(reader_t *r, int width)
{
    static const uint16_t first[6] = {26000, 16000, 10000, 10000, 10000, 10000};
    model_t *m = take(r, 1, sizeof *m);
    counter_t *places = take(r, width, 2), *signs = take(r, width, 2);
    uint64_t power = 1 << 24;
    if (r->bad)
        return m;
    m->places = places, m->signs = signs;
    for (int k = 0, n = 0; k < 2816; k++, power += power * 65664 >> 24) {
        for (; n <= 60 && (uint64_t)(2 * n + 1) << 24 <= power; n++)
            m->logs[n] = (int16_t)k;
        uint64_t p = (power << 16) / (power + (1 << 24));
        m->squash[k] = p > 65535 ? 65535 : (uint16_t)p;
    }
    for (int j = 0; j < 6; j++) {
        m->of_flags[j] = 20000, m->of_signs[j] = m->of_tops[j] = m->of_lower[j] = 13000;
        for (int set = 0; set < 6; set++)
            m->of_places[set][j] = first[j];
    }
    r->low = 0, r->high = ~0u;
    for (int i = 0; i < 4; i++)
        r->code = r->code << 8 | bits_byte(r);
    return m;
}
