/* The integers by Huffman's codes, in place of context mixing. */
enum { CODER = 1 };

typedef struct { int counts[16]; uint16_t *symbols; } huffman_t;
typedef struct { const uint8_t *at, *end; int left; } bits_t;

static huffman_t read_lengths(reader_t *r, int size)
{
    huffman_t h = {{0}, take(r, 2 * size)};
    const uint8_t *from = r->at;
    int used = 0, space = 1 << 15;
    r->at += need(r, r->end - r->at >= (size + 1) / 2, (size + 1) / 2);
    for (int l = 1; l < 16 && !r->bad; l++)
        for (int s = 0; s < size; s++)
            if ((s % 2 ? from[s / 2] & 15 : from[s / 2] >> 4) == l)
                h.symbols[used++] = (uint16_t)s, h.counts[l]++, space -= 1 << (15 - l);
    need(r, !space || (used == 1 && h.counts[1] == 1), 0);
    need(r, r->bad || size % 2 == 0 || (from[size / 2] & 15) == 0, 0);
    return h;
}

static int symbol(reader_t *r, const huffman_t *h, bits_t *b)
{
    for (int l = 1, code = 0, first = 0, before = 0; l < 16 && !r->bad; l++) {
        if (!b->left)
            b->at += need(r, b->at < b->end, 1), b->left = 8;
        code = 2 * code | (r->bad ? 0 : b->at[-1] >> --b->left & 1);
        if (code - first < h->counts[l])
            return h->symbols[before + code - first];
        before += h->counts[l], first = 2 * (first + h->counts[l]);
    }
    return (int)need(r, 0, 0);
}

static int64_t size_of(const packed_t *a)
{
    return a->integers ? (int64_t)a->rows * a->columns : 0;
}

static void read_integers(reader_t *r, const packed_t *a, int arrays)
{
    int64_t total = 0, begin = 0, at = 0;
    for (int i = 0; i < arrays; i++)
        total += size_of(a + i);
    int count = total ? number(r) : 0, bits = count ? number(r) : 1;
    int64_t low = count ? number(r) : 0;
    int kinds = count ? number(r) : 1;
    low = low % 2 ? -(low + 1) / 2 : low / 2;
    need(r, bits > 0 && bits < 11 && kinds > 0 && kinds <= 1 << 15 && count <= total, 0);
    if (!count || r->bad)
        return;
    huffman_t gaps = read_lengths(r, 1 << bits), values = read_lengths(r, kinds);
    int bytes = number(r);
    r->at += need(r, bytes <= r->end - r->at, bytes);
    bits_t first = {r->at - bytes, r->at, 0}, second = {r->at, r->end, 0};
    for (int i = 0; i < count && !r->bad; i++) {
        int gap = symbol(r, &gaps, &first);
        int64_t value = symbol(r, &values, &second) + low;
        at += need(r, (gap || !i) && at + gap < total && value == (PACKED_INT)value, gap);
        for (; at >= begin + size_of(a); a++)
            begin += size_of(a);
        if (!r->bad)
            a->integers[at - begin] = (PACKED_INT)value;
    }
    need(r, first.at == first.end && second.at == second.end, 0);
    for (int i = 0; i < 2 && !r->bad; i++) {        /* What fills the last bytes is zero. */
        const bits_t *b = i ? &second : &first;
        need(r, !(b->at[-1] & ((1 << b->left) - 1)), 0);
    }
    r->at = r->end;
}
