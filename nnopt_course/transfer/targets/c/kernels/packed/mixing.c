/* The bits of the integers: how probable each is, by context mixing, and arithmetic coding. */
enum { PLACE, FRESH, SIGN, SIZE, LOWER = SIZE + 10, KINDS = LOWER + 8, CODER = 0 };

typedef struct { uint8_t n[2]; } counter_t;
typedef struct { int64_t weights[4]; counter_t counters[3][256]; } kind_t;      /* of questions */

static int sign(int x) { return (x > 0) - (x < 0); }
static int least(int64_t a, int b) { return a < b ? (int)a : b; }

static int length(int64_t x)    /* of a number in bits */
{
    int n = 0;
    for (; x; x /= 2)
        n++;
    return n;
}

static int log_of(int n)        /* to the base of 2, in units of 1/256, and a constant more */
{
    return 256 * length(n) + (512 * n >> length(n));
}

static int decode(reader_t *r, int p)
{
    for (; r->range < 1 << 24; r->range <<= 8)
        r->code = r->code << 8 | (uint32_t)byte(r, 4);
    uint32_t part = (uint32_t)((uint64_t)r->range * (uint32_t)p >> 16);
    int bit = r->code < part;
    r->code -= bit ? 0 : part;
    r->range = bit ? part : r->range - part;
    return bit;
}

static int ask(reader_t *r, kind_t *kind, int rate, counter_t *own, int a, int b, int c)
{
    counter_t(*all)[256] = kind->counters, *at[4] = {own, all[0] + a, all[1] + b, all[2] + c};
    int64_t sum = 0;
    int s[4];
    for (int j = 0; j < 4; j++) {
        s[j] = log_of(2 * at[j]->n[1] + 1) - log_of(2 * at[j]->n[0] + 1);
        sum += (kind->weights[j] + 16000) * s[j];
    }
    sum >>= 16;     /* here and below towards minus infinity, as compilers do */
    int x = least(sum < 0 ? -sum : sum, 3500);
    int q = (1 << 24) / (((256 + x % 256) << x / 256) + 256), p = sum < 0 ? q : 65536 - q;
    int bit = decode(r, p);
    for (int j = 0; j < 4; j++) {
        uint8_t *n = at[j]->n;
        kind->weights[j] += ((bit << 16) - p) * s[j] >> rate;
        if (++n[bit] + n[1 - bit] > 250)
            n[0] /= 2, n[1] /= 2;
    }
    return bit;
}
