/* Huffman's codes. */
typedef struct { int counts[16]; uint16_t *symbols; } huffman_t;
typedef struct { const uint8_t *at, *end; int left; } bits_t;

static huffman_t read_lengths(reader_t *r, int size)
{
    huffman_t h = {{0}, take(r, size, 2)};
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

static ONCE int symbol(reader_t *r, const huffman_t *h, bits_t *b)
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

static void read_huffman(reader_t *r, PACKED_INT *out, int64_t size)
{
    int count = number(r), bits = count ? number(r) : 1, at = 0;
    int64_t low = count ? number(r) : 0;
    int kinds = count ? number(r) : 1;
    huffman_t gaps, values;
    bits_t first = {0, 0, 0}, second = {0, 0, 0};
    low = low % 2 ? -(low + 1) / 2 : low / 2;
    need(r, bits > 0 && bits < 11 && kinds > 0 && kinds <= 1 << 15 && count <= size, 0);
    if (!count || r->bad)
        return;
    gaps = read_lengths(r, 1 << bits);
    values = read_lengths(r, kinds);
    bits = number(r);
    r->at += need(r, bits <= r->end - r->at, bits);
    first.at = r->at - bits, first.end = second.at = r->at, second.end = r->end;
    for (int i = 0; i < count && !r->bad; i++) {
        int gap = symbol(r, &gaps, &first);
        int64_t value = symbol(r, &values, &second) + low;
        at += (int)need(r, (gap || !i) && at + gap < size, gap);
        need(r, value == (PACKED_INT)value, 0);
        if (!r->bad)
            out[at] = (PACKED_INT)value;
    }
    need(r, first.at == first.end && second.at == second.end, 0);
    if (!r->bad)        /* What fills the last bytes is zero. */
        need(r, !(first.at[-1] & ((1 << first.left) - 1)), 0);
    if (!r->bad)
        need(r, !(second.at[-1] & ((1 << second.left) - 1)), 0);
    r->at = r->end;
}
