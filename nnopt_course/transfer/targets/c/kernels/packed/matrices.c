/* A matrix. First, what is around an integer: the nearest signs as digits, and all sizes. */
static int look(const packed_t *a, int row, const PACKED_INT *x)
{
    int digits = 0, sizes = 0;
    for (int k = 0; k < (a->above ? 28 : 3); k++) {
        int i = k / 7, j = 3 - k % 7, far = i > j && i > -j ? i : j > 0 ? j : -j;
        int back = i * a->above + j, v = back > 0 && back <= row ? x[-back * a->columns] : 0;
        sizes += (4 - far) * least(v < 0 ? -(int64_t)v : v, 7);
        if (far == 1)
            digits = 3 * digits + (v < 0 ? 2 : v > 0);
    }
    return digits + 256 * sizes;
}

static int read_size(reader_t *r, kind_t *kinds, counter_t *own, int mode, int digits, int near,
                     int negative)
{
    int b = 0, size = 1, context = near + 16 * negative + mode;
    while (b < 30 && ask(r, kinds + SIZE + least(b, 9), 14, own, context, digits, mode))
        b++;
    for (int i = 0; i < b; i++) {
        context = least(size, 15) + 16 * near;
        size = 2 * size + ask(r, kinds + LOWER + least(b, 7), 14, own, context, i + mode, digits);
    }
    return size;
}

static void read_matrix(reader_t *r, kind_t *kinds, const packed_t *a)
{
    const int columns = a->columns, mode = a->rows == 1 ? 64 : a->above ? 128 : 0;
    const int ordered = a->rows > 1 && decode(r, 32768);
    counter_t(*own)[3] = take(r, 6 * (int64_t)columns);
    uint8_t *apart = take(r, columns);          /* a column from the one before it */
    PACKED_INT *x = a->integers;
    for (int row = 0; row < a->rows && !r->bad; row++) {
        int32_t alike[256] = {0};               /* how much earlier rows are like this one */
        int bit = 0, count = 0, back = least(row, 256);
        for (int c = 0; c < columns && !r->bad; c++, x++) {
            if (ordered && c && !apart[c] && !bit)
                continue;
            int around = look(a, row, x), digits = around % 256, sizes = around / 256, was = bit;
            bit = ask(r, kinds + (ordered && !own[c][0].n[1] ? FRESH : PLACE), 16, own[c], digits,
                      least(sizes, 63) + mode, bit + 2 * least(count, 15) + mode);
            apart[c] |= bit != was;
            count += bit;
            if (!bit)
                continue;
            int64_t lean = 0;
            for (int i = 0; i < back; i++)
                lean += alike[i] * sign(x[(i - back) * columns]);
            int negative = ask(r, kinds + SIGN, 14, own[c] + 1, digits,
                               length(lean) + 64 * (lean < 0), mode);
            int size = read_size(r, kinds, own[c] + 2, mode, digits, length(sizes), negative);
            *x = (PACKED_INT)(negative ? -size : size);
            need(r, *x == (negative ? -size : size), 0);
            for (int i = 0; i < back; i++)
                alike[i] += (negative ? -1 : 1) * sign(x[(i - back) * columns]);
        }
    }
}

static void read_integers(reader_t *r, const packed_t *a, int count)
{
    kind_t *kinds = take(r, KINDS * (int)sizeof *kinds);
    for (int i = 0; i < count; i++)
        if (a[i].integers && !r->bad)
            read_matrix(r, kinds, a + i);
}
