/* The frame, and what stands beside the integers. */
static void read_floats(reader_t *r, packed_t *a)
{
    const int counts[8] = {0, 0, 1, a->columns, 0, 0, a->rows * a->columns};
    a->count = counts[a->way];
    if (a->way == TABLE)
        a->negative = number(r);
    if (a->way == TABLE || a->way == SPARSE)
        a->count = a->negative + number(r);
    need(r, a->way <= RAW && (a->way >= STEP || !a->half) && a->count <= MOST, 0);
    a->floats = r->at;
    int64_t bytes = (int64_t)a->count * (a->half ? 2 : 4);
    r->at += need(r, bytes <= r->end - r->at, bytes);
}

/* The body. */
static int read_body(reader_t *r, int coder, int named, packed_t *a, int most)
{
    node_t input = {0, 0, 0, number(r), {0}, {0}}, *nodes;
    const packed_t *before = 0;
    int64_t weights = 0, integers = 0;
    int count = 0, size, line, width = 1;
    if (!need(r, input.axes > 0 && input.axes < 8, 1))
        return 0;
    for (int k = 0; k < input.axes; k++)
        input.shape[k] = number(r);
    size = number(r);
    need(r, size_of(r, &input) && size, 0);
    nodes = take(r, size + 1, sizeof *nodes);
    if (!r->bad)
        nodes[0] = input;
    for (int i = 1; i <= size && !r->bad; i++)
        count += read_node(r, nodes, i, a + count, most - count);
    line = number(r);
    for (int i = 1; i <= size && named && !r->bad; i++)
        for (int left = nodes[i].owner ? 0 : number(r); left; left--)
            byte(r);
    for (int i = 0; i < count && !r->bad; i++) {
        a[i].above = a[i].above < 0 ? line : a[i].above;
        read_floats(r, a + i);
        width = a[i].columns > width ? a[i].columns : width;
        weights += a[i].rows * a[i].columns;
        integers += a[i].way >= STEP && a[i].way <= SPARSE ? a[i].rows * a[i].columns : 0;
    }
    PACKED_INT *x = take(r, need(r, weights <= MOST, integers), sizeof *x);
    if (integers && coder)
        read_huffman(r, x, integers);
    model_t *m = integers && !coder ? begin(r, width) : 0;
    for (int i = 0; i < count && !r->bad; i++)
        if (a[i].way >= STEP && a[i].way <= SPARSE) {
            a[i].integers = x;
            x += a[i].rows * a[i].columns;
            if (m)
                read_matrix(r, m, a + i, &before);
        }
    need(r, r->at == r->end, 0);
    return count;
}

static uint32_t checksum(const uint8_t *data, uint32_t size)
{
    uint32_t crc = ~0u;
    for (uint32_t i = 0; i < 8 * size; i++)
        crc = (i % 8 ? crc : crc ^ data[i / 8]), crc = crc >> 1 ^ (0xedb88320 & (0 - (crc & 1)));
    return ~crc;
}

/* Reads the arrays of a file, kernel and bias of each layer after the other, and tells how many
   there are; -1 if it is damaged, or needs more memory than the bytes that it is given. These start
   at a multiple of 8. */
static int packed_read(const uint8_t *file, uint32_t size, packed_t *arrays, int most, void *memory,
                       uint32_t bytes)
{
    reader_t r = {file + 4, file + size, memory, bytes, 0, 0, 0, size < 10, 0};
    if (r.bad || file[0] != 'N' || file[1] != 'N' || file[2] != 'O' || (file[3] & 207) != 1)
        return -1;
    r.end -= 4;
    uint32_t sum = r.end[0] | r.end[1] << 8 | r.end[2] << 16 | (uint32_t)r.end[3] << 24;
    int length = number(&r);
    if (!need(&r, length == r.end - r.at && checksum(file, size - 4) == sum, 1))
        return -1;
    int count = read_body(&r, file[3] >> 4 & 1, file[3] >> 5, arrays, most);
    return r.bad ? -1 : count;
}
